# SPDX-License-Identifier: LGPL-2.1-or-later
"""One boot of the guest: what it is given, QEMU, and what it says. Nothing of it stays: the disks are snapshots."""
import contextlib
import glob
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import cache
import image

HERE = os.path.dirname(os.path.realpath(__file__))
SOURCE = os.path.realpath(os.path.join(HERE, "..", ".."))
QEMU = "qemu-system-x86_64"
BOOT_DEADLINE = 300  # seconds until the guest can run tests; it takes fifteen where nothing else runs
PROBE_DEADLINE = 15
SLACK = 120  # seconds beyond a test's own deadline, which the guest keeps, until the guest is taken for dead
PASSES = 3  # boots of one test at most
TESTS = ("bench", "images", "system", "vm", "tap.py")  # of tests/, what the guest gets to see
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
          "fstrim.timer", "getty@tty1.service", "systemd-timesyncd.service", "systemd-networkd.service", "man-db.timer",
          "systemd-firstboot.service", "nbd-client.service", "mdmonitor.service", "exim4.service")
# Under emulation: with cx16 the kernel faults, with la57 each walk of the page tables is longer.
TCG = ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-la57,-svm"]
KVM = ["-accel", "kvm", "-cpu", "host"]


COMMAND_LINE = ("console=ttyS0 panic=-1 quiet mitigations=off init_on_alloc=0 cryptomgr.notests 8250.nr_uarts=1 "
                "systemd.show_status=no systemd.unit=multi-user.target")


class Dead(Exception):
    """The guest did not boot, or stopped answering."""


# -- what the guest is given


def link(target, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def copy(source, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copy(source, path)


def merge_usr(tree):
    """On the guest /lib and its like are links to /usr; a folder of that name could not be copied over."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.isdir(os.path.join(tree, name)):
            shutil.copytree(os.path.join(tree, name), os.path.join(tree, "usr", name), symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(os.path.join(tree, name))


def guest_files(tree):
    """Our own unit, and what need not run, below the tree that is laid over the guest's root."""
    units = os.path.join(tree, "etc/systemd/system")
    copy(os.path.join(HERE, "guest/virtdisk-vm.service"), os.path.join(units, "virtdisk-vm.service"))
    link("../virtdisk-vm.service", os.path.join(units, "multi-user.target.wants/virtdisk-vm.service"))
    copy(os.path.join(HERE, "guest/shell.conf"), os.path.join(units, "serial-getty@ttyS0.service.d/shell.conf"))
    for unit in MASKED:
        link("/dev/null", os.path.join(units, unit))
    with open(os.path.join(tree, "etc/hostname"), "w") as file:
        file.write("virtdisk-vm\n")
    with open(os.path.join(tree, "etc/fstab"), "w") as file:
        file.write("/dev/vda / ext4 defaults 0 0\n")


def make_data(folder, tree, scripts, build):
    """The second disk: the tree under test, the tests, and the plan -> its path."""
    top = os.path.join(folder, "data")
    install = os.path.join(top, "install")
    shutil.copytree(tree, install, symlinks=True)
    merge_usr(install)
    guest_files(install)
    shutil.copytree(os.path.join(HERE, "guest"), os.path.join(top, "guest"))
    for name in TESTS:
        source, target = os.path.join(SOURCE, "tests", name), os.path.join(top, "tests", name)
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif os.path.exists(source):
            copy(source, target)
    copy(os.path.join(SOURCE, "data", "demo.sh"), os.path.join(top, "data", "demo.sh"))
    plan = []
    for number, script in enumerate(scripts):
        path = f"scripts/{number}/{os.path.basename(script.path)}"
        copy(script.path, os.path.join(top, path))
        os.chmod(os.path.join(top, path), 0o755)
        plan.append({"name": script.name, "deadline": script.deadline, "command": [f"/opt/virtdisk-vm/{path}"]})
        for name in script.build:
            if not os.path.exists(os.path.join(build, name)):
                raise FileNotFoundError(f"{script.path} asks for {name}, which is not in {build}")
            copy(os.path.join(build, name), os.path.join(top, "build", name))
    with open(os.path.join(top, "plan.json"), "w") as file:
        json.dump(plan, file)
    size = int(image.run(["du", "-sm", top], "du").split()[0])
    disk = os.path.join(folder, "data.img")
    image.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", top, disk, f"{size * 3 // 2 + 32}M"], "mkfs.ext4")
    return disk


def make_initrd(folder, kernel):
    top = os.path.join(folder, "initrd")
    for name in ("bin", "dev", "proc", "sys", "new", "data", "early"):
        os.makedirs(os.path.join(top, name))
    shutil.copy(shutil.which("busybox"), os.path.join(top, "bin/busybox"))
    copy(os.path.join(HERE, "guest/init"), os.path.join(top, "init"))
    os.chmod(os.path.join(top, "init"), 0o755)
    for name in os.listdir(os.path.join(kernel, "early")):
        shutil.copy(os.path.join(kernel, "early", name), os.path.join(top, "early", name))
    path = os.path.join(folder, "initrd.img")
    image.run(["sh", "-c", 'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 >"$2"', "sh", top, path], "cpio")
    return path


# -- QEMU


def arguments(kernel, initrd, command_line, accelerator, memory):
    return [QEMU, "-name", "virtdisk-vm,process=virtdisk-vm", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none",
            *accelerator, "-smp", "2", "-m", str(memory), "-kernel", os.path.join(kernel, "vmlinuz"), "-initrd", initrd,
            "-append", f"{COMMAND_LINE} {command_line}"]


def drives(root, data, kernel):
    modules = os.path.join(kernel, "modules.img")
    return ["-drive", f"file={root},if=virtio,format=raw,snapshot=on,cache=unsafe",
            "-drive", f"file={data},if=virtio,format=raw,readonly=on,cache=unsafe",
            "-drive", f"file={modules},if=virtio,format=raw,readonly=on,cache=unsafe"]


@contextlib.contextmanager
def qemu(argv, **more):
    """Runs it; it is gone afterwards, also when this program is killed."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], **more)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def kvm_works(folder, kernel, initrd):
    """/dev/kvm may be there and run nothing, so a guest tries."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    console = os.path.join(folder, "probe.log")
    argv = [*arguments(kernel, initrd, "virtdisk.probe", KVM, 256), "-no-reboot", "-serial", f"file:{console}"]
    with qemu(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(PROBE_DEADLINE)
        except subprocess.TimeoutExpired:
            return False
    try:
        with open(console, errors="replace") as file:
            return "virtdisk-probe-ok" in file.read()
    except OSError:
        return False


class Events:
    """The lines that the guest sends."""

    def __init__(self, connection, process):
        self._connection, self._process, self._buffer = connection, process, b""

    def next(self, deadline, what):
        """The next event -> dict; Dead when the guest is gone, or at deadline (monotonic)."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Dead(f"{what} did not come in time")
            if not select.select([self._connection], [], [], left)[0]:
                continue
            data = self._connection.recv(1 << 20)
            if not data:
                raise Dead(f"the guest ended, and {what} had not come (QEMU: {self._process.poll()})")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


class Guest:
    """Makes what boots of one build need. tree: an installation of it (DESTDIR); logs: where consoles are written."""

    def __init__(self, build, tree, logs, say):
        self.build, self.tree, self.logs, self.say = build, tree, logs, say
        self._accelerator = {}

    def accelerator(self, folder, kernel, initrd):
        if "chosen" not in self._accelerator:
            self._accelerator["chosen"] = KVM if kvm_works(folder, kernel, initrd) else TCG
        return self._accelerator["chosen"]

    @contextlib.contextmanager
    def prepared(self, scripts):
        """Everything but QEMU itself: one at a time on this machine, for two make each other late."""
        root, kernel = image.root(scripts[0].image), image.kernel(scripts[0].kernel)
        with contextlib.ExitStack() as stack:
            stack.enter_context(cache.locked(shutil.which(QEMU), lambda: self.say("waiting for another guest to end")))
            for old in glob.glob(os.path.join(self.logs, "guest.*")):  # of one that was killed
                shutil.rmtree(old, ignore_errors=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="guest.", dir=self.logs))
            initrd = make_initrd(folder, kernel)
            data = make_data(folder, self.tree, scripts, self.build)
            accelerator = self.accelerator(folder, kernel, initrd)
            yield kernel, initrd, [*drives(root, data, kernel)], accelerator

    def boot(self, scripts, on_event, console):
        """Boots once and runs the scripts. Each event goes to on_event; Dead names what the guest owed."""
        with self.prepared(scripts) as (kernel, initrd, disks, accelerator):
            ours, theirs = socket.socketpair()
            argv = [*arguments(kernel, initrd, "", accelerator, scripts[0].memory), *disks,
                    "-serial", f"file:{console}", "-device", "virtio-serial-pci",
                    "-chardev", f"socket,id=events,fd={theirs.fileno()}",
                    "-device", "virtserialport,chardev=events,name=virtdisk.events"]
            with ours, open(f"{console}.qemu", "w") as complaints, qemu(
                    argv, stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, pass_fds=[theirs.fileno()]) as process:
                theirs.close()
                self.follow(Events(ours, process), scripts, on_event)
        os.unlink(f"{console}.qemu")

    def follow(self, events, scripts, on_event):
        deadlines = {script.name: script.deadline for script in scripts}
        deadline, what = time.monotonic() + BOOT_DEADLINE, "the guest's first word"
        while True:
            event = events.next(deadline, what)
            on_event(event)
            kind = event["event"]
            if kind == "done":
                return
            if kind == "begin":
                deadline = time.monotonic() + (deadlines[event["test"]] + SLACK) * PASSES
                what = f"the end of {event['test']}"
            elif kind in ("ready", "end"):
                deadline, what = time.monotonic() + SLACK, "the next test"

    def shell(self, script):
        """The serial console on this terminal; the guest goes when the shell does, or with Ctrl-A X."""
        with self.prepared([script]) as (kernel, initrd, disks, accelerator):
            argv = [*arguments(kernel, initrd, "virtdisk.shell", accelerator, script.memory), *disks, "-no-reboot",
                    "-serial", "mon:stdio"]
            with qemu(argv, stdin=sys.stdin) as process:
                return process.wait()
