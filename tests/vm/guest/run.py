# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Runs the tests of this boot in the guest, one after the other, each as a unit of its own with its deadline, and tells the
host what happens: one JSON object a line through a virtio port.

A script that asks for it (lib.sh, vm_reboot) is run again after a reboot, with VM_BOOT one higher.
"""
import base64
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

TOP = "/opt/virtdisk-vm"
PORT = "/dev/virtio-ports/virtdisk.events"
STATE = "/var/lib/virtdisk-vm"
KEPT_CEILING = 2 << 20  # bytes of a file that a test has kept
GRACE = 10  # seconds between the request to end and the kill
KERNEL_FAULT = re.compile(r"BUG:|Oops|general protection fault|blocked for more than|refcount_t:|KASAN|stack guard page")


def output(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          errors="replace", check=False).stdout


class Port:
    def __init__(self):
        self._file = os.open(PORT, os.O_WRONLY)
        self._lock = threading.Lock()

    def send(self, event, **fields):
        data = (json.dumps({"event": event, **fields}) + "\n").encode()
        with self._lock:
            while data:
                data = data[os.write(self._file, data):]


def things():
    """What a test could leave behind."""
    found = set()
    for name in os.listdir("/sys/block"):
        with open(f"/sys/block/{name}/size") as file:
            if file.read().strip() != "0":
                found.add(f"block device {name}")
    with open("/proc/self/mountinfo") as file:
        for line in file:
            point = line.split()[4]
            if not point.startswith(("/run/user/", "/run/credentials/", "/proc/", "/sys/", "/dev/")):
                found.add(f"mount {point}")
    return found


def forward(port, name, pipe):
    while True:
        data = os.read(pipe, 65536)
        if not data:
            return
        port.send("output", test=name, text=data.decode(errors="replace"))


def execute(port, test, boot):
    """-> (exit status, True if its deadline passed)."""
    unit = f"vm-{test['name']}.service"
    work = f"/var/tmp/vm-{test['name']}"
    kept = f"/var/tmp/vm-kept-{test['name']}"
    os.makedirs(work, exist_ok=True)
    os.makedirs(kept, exist_ok=True)
    environment = {"VM_TESTS": f"{TOP}/tests", "VM_LIB": f"{TOP}/tests/vm/lib.sh", "VM_BUILD": f"{TOP}/build", "VM_BOOT": boot,
                   "VM_STATE": STATE, "VM_KEEP": kept, "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
                   "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    reading, writing = os.pipe()
    reader = threading.Thread(target=forward, args=(port, test["name"], reading), daemon=True)
    reader.start()
    code = subprocess.run(
        ["systemd-run", "--quiet", "--wait", "--pipe", f"--unit={unit}", f"--property=RuntimeMaxSec={test['deadline']}",
         f"--property=TimeoutStopSec={GRACE}", "--property=KillMode=control-group", f"--working-directory={work}",
         *(f"--setenv={key}={value}" for key, value in environment.items()), *test["command"]],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, check=False).returncode
    os.close(writing)
    reader.join(5)  # something outside the unit may hold the pipe
    late = output("systemctl", "show", "-P", "Result", unit).strip() == "timeout"
    subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, check=False)
    for path in sorted(glob.glob(f"{kept}/*")):
        with open(path, "rb") as file:
            data = file.read(KEPT_CEILING)
        port.send("file", test=test["name"], name=os.path.basename(path), data=base64.b64encode(data).decode())
    shutil.rmtree(kept, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)
    return code, late


def one(port, number, test, boot):
    """Runs a test and tells all about it."""
    with open(f"{STATE}/current", "w") as file:
        json.dump([number, boot], file)
    cursor = output("journalctl", "-n0", "--show-cursor").rpartition("cursor: ")[2].strip()
    before, began = things(), time.monotonic()
    port.send("begin", test=test["name"], deadline=test["deadline"])
    code, late = execute(port, test, boot)
    if os.path.exists(f"{STATE}/reboot"):
        signal.pause()  # the machine goes down
    seconds = time.monotonic() - began
    output("udevadm", "settle", "--timeout=30")
    output("journalctl", "--sync")
    journal = output("journalctl", "--no-pager", "-o", "short-monotonic", *([f"--after-cursor={cursor}"] if cursor else ["-b"]))
    faults = [line for line in journal.splitlines() if " kernel: " in line and KERNEL_FAULT.search(line)]
    port.send("end", test=test["name"], status=code, late=late, seconds=round(seconds, 2), journal=journal[-(1 << 20):],
              left=sorted(things() - before), faults=faults[:5])


def resume():
    """-> (number of the first test to run, which boot it is for that test). guest/init lets no other restart pass."""
    if not os.path.exists(f"{STATE}/reboot"):
        return 0, 1
    os.unlink(f"{STATE}/reboot")
    with open(f"{STATE}/current") as file:
        number, boot = json.load(file)
    return number, boot + 1


def main():
    subprocess.run(["udevadm", "settle", "--timeout=60"], check=False)
    with open(f"{TOP}/plan.json") as file:
        tests = json.load(file)
    port = Port()
    port.send("ready", kernel=os.uname().release, uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
    first, boot = resume()
    for number in range(first, len(tests)):
        one(port, number, tests[number], boot)
        boot = 1
    port.send("done")


main()
