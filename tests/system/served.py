# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of images that a worker serves share: the workers, their death, load, and what an image looks like outside."""
import hashlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys

import testbed
from testbed import loops, processes, read

MIB = 1 << 20
ATTACH_RO, ATTACH_RW, DETACH, GET_INFO, METAOPS = 0x10000, 0x20000, 0x40000, 0x80000, 0x200000
READ = ATTACH_RO | DETACH | GET_INFO
READ_ONLY, FIXED, NO_PARENTS, CUSTOM_DIFF_CHAIN = 1, 1, 1, 0x10
LEAKS = 8  # exit status of "check": space that a killed worker had made ready belongs to nothing, which harms nobody
KERNEL_SENDS_AGAIN = (6, 9)  # FUSE requests that a worker left unanswered
IO_DEADLINE = 30  # seconds for one read or write, also when a worker is replaced meanwhile
HOST_MOUNTS = "VIRTDISK_TEST_HOST_MOUNTS"

# Reads or writes past the page cache, in a process that can be given up: python3 -c ... read|write DEVICE OFFSET LENGTH
DIRECT_IO = """
import mmap, os, sys
what, device, offset, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
buffer = mmap.mmap(-1, length)
fd = os.open(device, os.O_DIRECT | (os.O_RDONLY if what == "read" else os.O_RDWR))
try:
    if what == "read":
        done = os.preadv(fd, [buffer], offset)
        sys.stdout.buffer.write(buffer[:done])
    else:
        buffer.write(sys.stdin.buffer.read())
        if os.pwritev(fd, [buffer], offset) != length:
            sys.exit(5)
        os.fsync(fd)
except OSError as error:
    sys.exit(error.errno)
"""


def kernel():
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def keep_host_mounts():
    """To be called before testbed.main() goes into namespaces of its own: the machine's mounts can be read afterwards."""
    if testbed.INSIDE not in os.environ:
        fd = os.open("/proc/self/mountinfo", os.O_RDONLY)
        os.set_inheritable(fd, True)
        os.environ[HOST_MOUNTS] = str(fd)


def host_mounts():
    fd, text = os.dup(int(os.environ[HOST_MOUNTS])), b""
    os.lseek(fd, 0, os.SEEK_SET)
    while data := os.read(fd, 65536):
        text += data
    os.close(fd)
    return text.decode(errors="replace")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if sys.version_info >= (3, 11) else hashlib.sha256(
            file.read()).hexdigest()


def workers():
    """Pids of the workers that serve."""
    return [pid for pid, command in processes() if command.startswith("virtdisk-worke")
            and "--serve" in read(f"/proc/{pid}/cmdline").split("\0")]


def vhdx_headers(path):
    """[(sequence number, FileWriteGuid, DataWriteGuid, LogGuid)] of the current header first."""
    found = []
    with open(path, "rb") as file:
        for offset in (64 << 10, 128 << 10):
            file.seek(offset)
            data = file.read(80)
            if data[:4] == b"head":
                found.append((struct.unpack_from("<Q", data, 8)[0], data[16:32], data[32:48], data[48:64]))
    return sorted(found, reverse=True)


def has_log(path):
    return vhdx_headers(path)[0][3] != bytes(16)


class TestCase(testbed.TestCase):
    extension, kind = ".vhdx", "vhdx"  # of new images; what qemu-img calls it

    def setUp(self):
        super().setUp()
        self._attached = {}
        self.addCleanup(self._detach_all)

    def _detach_all(self):
        """Of a test that failed: its loop devices are over files that no one can look for afterwards."""
        for device in self._attached.values():
            if self.bed.daemon is None:
                self.bed.start_daemon()
            try:
                self.root.detach_image(device, force=True)
            except testbed.BusError:
                pass  # it was detached

    def image(self, name):
        return self.path(name + self.extension)

    def make(self, name, size=256 * MIB, flags=0, parent=None, client=None, **opts):
        """An image that the service creates -> its path."""
        path, client = self.image(name), client or self.root
        if parent:
            size, opts["parent_path"] = 0, self.image(parent)
        client.close_handle(client.create(path, size, flags, **opts))
        return path

    def attach(self, path, client=None, **opts):
        """By the route that every kernel has -> the device."""
        opts.setdefault("route", "fuse")
        self._attached[path] = (client or self.root).attach_image(path, **opts)[1]
        return self._attached[path]

    def detach(self, path):
        self.root.detach_image(path)
        self._attached.pop(path)

    def properties(self, path):
        return self.root.properties(self.root.disk_for_path(path))

    # -- I/O

    def io(self, what, device, offset, length, data=None, user="root"):
        """-> (errno or 0, what was read)"""
        done = subprocess.run(self.bed.as_user([sys.executable, "-c", DIRECT_IO, what, device, str(offset), str(length)], user),
                              input=data, stdin=None if data is not None else subprocess.DEVNULL, capture_output=True,
                              timeout=IO_DEADLINE, check=False)
        return done.returncode, done.stdout

    def pread(self, device, offset, length):
        error, data = self.io("read", device, offset, length)
        self.assertEqual((error, len(data)), (0, length), f"reading {device} at {offset}: {os.strerror(error)}")
        return data

    def pwrite(self, device, offset, data):
        error, _ = self.io("write", device, offset, len(data), data)
        self.assertEqual(error, 0, f"writing {device} at {offset}: {os.strerror(error)}")

    def load(self, folder, name="load", size="48m", rate="12m"):
        """fio, which verifies what it has written, for some seconds."""
        if not shutil.which("fio"):
            self.skipTest("fio is not installed")
        return subprocess.Popen(
            ["fio", f"--name={name}", f"--directory={folder}", f"--size={size}", f"--rate=,{rate}", "--rw=randwrite", "--bs=4k-64k",
             "--bs_unaligned=0", "--ioengine=libaio", "--iodepth=16", "--direct=1", "--fsync=64", "--verify=crc32c",
             "--verify_fatal=1", "--do_verify=1", "--output-format=terse"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)

    def finish(self, load):
        output = load.communicate(timeout=120)[0]
        self.assertEqual(load.returncode, 0, output)
        self.assertNotIn("verify:", output)

    # -- workers

    def kill_worker(self, device):
        """Waits, by a read, until another serves -> its pid."""
        before, = workers()
        os.kill(before, signal.SIGKILL)
        self.pread(device, 0, 4096)
        after, = workers()
        self.assertNotEqual(after, before)
        return after

    # -- the image from outside

    def check(self, path, chain_of_one=True):
        """Neither our checker nor another finds damage."""
        if self.kind == "vhdx" and chain_of_one and shutil.which("qemu-img"):
            self.bed.run(["qemu-img", "check", "-q", "-f", "vhdx", path])
        said = self.bed.virtdisk("check", path, check=False)
        if "no verb" not in said.stderr:
            self.assertIn(said.returncode, (0, LEAKS), said.stdout + said.stderr)

    def assertNoMountsSeen(self):
        """The file system between worker and loop device is in no tree of mounts."""
        for who, text in [("the service", read(f"/proc/{self.bed.daemon.pid}/mountinfo")), ("the machine", host_mounts()),
                          ("this test", read("/proc/self/mountinfo")),
                          *((f"worker {pid}", read(f"/proc/{pid}/mountinfo")) for pid in workers())]:
            seen = [line for line in text.splitlines() if " - fuse" in line and "virtdisk" in line.split(" - ")[1]]
            self.assertEqual(seen, [], f"seen by {who}")

    def assertNothingServes(self):
        self.bed.wait(lambda: not workers(), "the worker to end")
        self.assertEqual(os.listdir(f"{testbed.RUNDIR}/workers"), [])
