# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A world of its own for the service: a system bus at its usual address, real polkitd, second users, a log-in manager when
asked for, all within private mount and pid namespaces, so that whatever a test leaves behind ends with it. Loop devices,
udev and /run/virtdisk are the machine's: udevd must see what the service writes there. Therefore one test bed at a time
(a lock on /dev/loop-control) and none beside an installed service that runs. tests/README.md says how to write a test.
"""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

import images  # noqa: F401  (tests use testbed.images)
from bed import GROUP_VIRTDISK, PASSWORD, RUNDIR, SOURCE, USERS, WORKER, Bed, udevd_answers  # noqa: F401
from client import (DISK, HANDLE, JOB, MANAGER, NAME, PROPERTIES, ROOT, BusError, Client, Pending,  # noqa: F401
                    Terminal, options)
import tap  # noqa: E402
from machine import (CALL_DEADLINE, EVENT_DEADLINE, Expired, end_process, files, loops, texts,  # noqa: F401
                     mounts, processes, program, read, spawner_of)

INSIDE = "VIRTDISK_TESTBED_INSIDE"

_bed = None
_build = None


def bed():
    """The world of this process, made when it is first asked for."""
    global _bed
    if _bed is None:
        _bed = Bed(_build)
    return _bed


class TestCase(unittest.TestCase):
    """
    Each test has a fresh service (daemon = False: none, the test starts it) and an empty folder self.dir for images,
    readable by everybody. At its end: clients leave the bus, and nothing may be left; what is, fails the test by name.
    """
    daemon = True
    maxDiff = None

    def setUp(self):
        self.bed = bed()
        self.dir = tempfile.mkdtemp(prefix="t", dir=self.bed.dir)
        os.chmod(self.dir, 0o755)
        self.bed.polkit()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.bed.path("answers/asked"))
        for name in ("virtdiskd.log",):
            self.bed._write(name, "")
        if self.bed.polkitd is None or self.bed.polkitd.poll() is not None:
            self.bed.start_polkit()
        self._before = self.bed.snapshot()
        self.addCleanup(self._end)
        if self.daemon:
            self.bed.start_daemon()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    @property
    def root(self):
        return self.bed.root

    def connect(self, user="root"):
        return self.bed.connect(user)

    def assertBusError(self, name, function, *arguments, **how):
        """The call fails with org.virtdisk1.Error.NAME (or the full name) -> the message."""
        full = name if "." in name else f"{NAME}.Error.{name}"
        with self.assertRaises(BusError) as caught:
            function(*arguments, **how)
        self.assertEqual(caught.exception.name, full, caught.exception.message)
        return caught.exception.message

    def _end(self):
        bed_ = self.bed
        try:
            for client in bed_.clients:
                client.close()
            bed_.clients.clear()
            while bed_.actors:
                bed_.actors.pop().stop()
            for process in bed_.processes:
                end_process(process, signal.SIGKILL)
            bed_.processes.clear()
            crashed = bed_.daemon is not None and bed_.daemon.poll()
            if crashed:
                self.fail(f"virtdiskd ended by itself ({bed_.daemon.returncode}):\n{bed_.daemon_log()}")
            self._assert_nothing_left()
            code = bed_.stop_daemon()
            self.assertIn(code, (None, 0), f"virtdiskd ended with {code}:\n{bed_.daemon_log()}")
        finally:
            bed_.kill_daemon() if bed_.daemon else None
            bed_.clean()
            shutil.rmtree(self.dir, ignore_errors=True)

    def _assert_nothing_left(self):
        def difference():
            after = self.bed.snapshot()
            ours = {self.bed.daemon.pid, spawner_of(self.bed.daemon.pid)} if self.bed.daemon else set()
            left = []
            for kind, before in self._before.items():
                for item in after[kind]:
                    if item not in before and not (kind == "processes" and item[0] in ours):
                        left.append(f"{kind}: {item}")
            return left

        try:
            self.bed.wait(lambda: not difference(), "nothing left behind", 10)
        except Expired:
            self.fail("left behind: " + "; ".join(difference()) + "\nvirtdiskd said:\n" + self.bed.daemon_log())


def start_udevd():
    """udevd is the machine's, so it is started outside our namespaces and goes on afterwards."""
    if udevd_answers():
        return
    for path in ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"):
        if os.path.exists(path):
            subprocess.run([path, "--daemon"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return


def installed_service_runs():
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = read(name).split("\0")
            if os.path.basename(argv[0]) == "virtdiskd" and not any(word.startswith("--rundir") for word in argv):
                return True
    return False


def why_not():
    """The reason why nothing can run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/loop-control"):
        return "no loop devices: /dev/loop-control is missing"
    for name in ("dbus-daemon", "unshare", "setpriv", "losetup"):
        if not shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            return f"{name} is missing"
    if installed_service_runs():
        return "an installed virtdiskd runs on this machine; end it first (systemctl stop virtdiskd)"
    return None


def main(level="system"):
    """What a test file calls at its end in place of unittest.main()."""
    global _build
    arguments = tap.parse()
    reason = why_not()
    if INSIDE not in os.environ and reason is None:
        start_udevd()
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation",
                              "private", "--", sys.executable, *sys.argv])
    _build = tap.build_dir
    try:
        return tap.run(level, arguments, reason, bed)
    finally:
        if _bed:
            _bed.close()
