# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the machine says: files, loop devices, mounts, processes; and how to end a process."""
import contextlib
import glob
import os
import signal
import subprocess
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

from tap import Expired  # noqa: E402

# Named deadlines, in seconds.
START_DEADLINE = 15
CALL_DEADLINE = 30
EVENT_DEADLINE = 15
LOCK_DEADLINE = 600


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


def loops(prefix):
    """[(name, backing file)] of the loop devices over files below prefix."""
    found = []
    for backing in glob.glob("/sys/block/loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            path = read(backing).rstrip("\n")
            if path.startswith(prefix):
                found.append((backing.split("/")[3], path))
    return sorted(found)


def mounts():
    return [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()]


def processes():
    """[(pid, command)] of our pid namespace, without the dead and ourselves."""
    found = []
    for directory in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            stat = read(f"{directory}/stat")
            command, state = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2]
            if state not in "ZX" and int(directory[6:]) != os.getpid():
                found.append((int(directory[6:]), command))
    return sorted(found)


def spawner_of(pid):
    """Of the service with this pid: the process that starts its processes, and ends with it; or None."""
    for other, command in processes():
        with contextlib.suppress(OSError):
            if command == "virtdisk-spawn" and read(f"/proc/{other}/stat").rpartition(")")[2].split()[1] == str(pid):
                return other
    return None


def files(directory):
    return sorted(os.path.join(top, name) for top, _, names in os.walk(directory) for name in names)


def texts(directory):
    """Of the files below it. One that is replaced while we look is gone under its old name: left out, not an error."""
    found = []
    for path in files(directory):
        with contextlib.suppress(FileNotFoundError):
            found.append(read(path))
    return found


def program(build, name):
    """The executable of that name in the build tree, or None."""
    for top, directories, names in os.walk(build):
        directories[:] = [d for d in directories if d != "vm" and not d.endswith(".p") and not d.startswith("meson-")]
        if name in names and os.access(os.path.join(top, name), os.X_OK):
            return os.path.join(top, name)
    return None


def end_process(process, with_signal=signal.SIGTERM, deadline=EVENT_DEADLINE):
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Expired(f"{process.args[0]} did not end within {deadline} s") from None
    return process.returncode
