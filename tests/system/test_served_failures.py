#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What goes wrong under a disk that a worker serves: an image that is cut short, overwritten or has no space left, other users,
and parents that their child ought not to name. Each an error in time: no crash, no hang, no file opened for who may not.
"""
import ctypes
import errno
import os
import socket
import stat
import subprocess
import sys

import served
import testbed
from served import FIXED, MIB, READ
from testbed import USERS, images


class Changed(served.TestCase):
    """The image is changed under the worker. Whoever reads gets an error, or what was there before."""

    sizes = {"block_size": MIB}

    def filled(self, parent=None):
        path = self.make("child" if parent else "disk", 128 * MIB, parent=parent, **self.sizes)
        device = self.attach(path)
        for offset in range(0, 64 * MIB, 8 * MIB):
            self.pwrite(device, offset, b"x" * 65536)
        return path, device

    def still_serves(self, path):
        """The service, and for another image."""
        other = self.make("other", 64 * MIB)
        device = self.attach(other)
        self.pwrite(device, 0, b"o" * 4096)
        self.detach(other)
        self.detach(path)
        self.assertNothingServes()

    def test_cut_short(self):
        path, device = self.filled()
        os.truncate(path, 5 * MIB)
        outcomes = {self.io("read", device, offset, 65536)[0] for offset in range(0, 64 * MIB, 8 * MIB)}
        self.assertIn(errno.EIO, outcomes)
        self.assertLessEqual(outcomes, {0, errno.EIO})
        self.assertIn(self.io("write", device, 100 * MIB, 65536, b"y" * 65536)[0], (0, errno.EIO, errno.ENOSPC))
        self.still_serves(path)

    def test_parent_cut_short(self):
        path, _ = self.filled()
        self.detach(path)
        child, device = self.filled("disk")
        os.truncate(path, 5 * MIB)
        outcomes = {self.io("read", device, offset, 65536)[0] for offset in range(0, 64 * MIB, 8 * MIB)}
        self.assertEqual(outcomes, {0}, "what the child has itself")
        outcomes = {self.io("read", device, offset + 65536, 65536)[0] for offset in range(0, 64 * MIB, 8 * MIB)}
        self.assertIn(errno.EIO, outcomes)
        self.assertLessEqual(outcomes, {0, errno.EIO})
        self.still_serves(child)

    def test_emptied(self):
        path, device = self.filled()
        os.truncate(path, 0)
        self.assertEqual(self.io("read", device, 8 * MIB, 65536)[0], errno.EIO)
        self.io("write", device, 100 * MIB, 65536, b"y" * 65536)
        self.still_serves(path)

    def test_overwritten(self):
        path, device = self.filled()
        with open(path, "r+b") as file:
            file.write(os.urandom(os.stat(path).st_size))
        for what, data in (("read", None), ("write", b"y" * 65536)):
            for offset in range(0, 128 * MIB, 16 * MIB):
                self.assertIn(self.io(what, device, offset, 65536, data)[0], (0, errno.EIO))
        self.still_serves(path)

    def test_overwritten_then_worker_killed(self):
        """Its successor finds no image: those who wait get errors, and the disk goes."""
        path, device = self.filled()
        with open(path, "r+b") as file:
            file.write(bytes(5 * MIB))
        before, = served.workers()
        os.kill(before, 9)
        self.assertNotEqual(self.io("read", device, 8 * MIB, 65536)[0], 0)
        self.bed.wait(lambda: device not in self.root.all_paths(), "the disk to be given up", 30)
        self._attached.pop(path)
        self.assertNothingServes()

    def test_removed(self):
        """Who has it open keeps it, as any file."""
        path, device = self.filled()
        os.unlink(path)
        self.pwrite(device, 100 * MIB, b"y" * 65536)
        self.assertEqual(self.pread(device, 100 * MIB, 65536), b"y" * 65536)
        self.root.detach_image(device)
        self._attached.pop(path)
        self.assertNothingServes()


class VhdChanged(Changed):
    extension, kind = ".vhd", "vpc"
    sizes = {}


class FixedChanged(served.TestCase):
    def test_cut_short(self):
        """The kernel alone reads it."""
        path = self.make("fixed", 64 * MIB, FIXED)
        device = self.attach(path, route="loop")
        self.pwrite(device, 60 * MIB, b"x" * 65536)
        os.truncate(path, 32 * MIB)
        self.assertEqual(self.io("read", device, 60 * MIB, 65536)[0], errno.EIO)
        self.assertEqual(self.pread(device, MIB, 65536), bytes(65536))
        self.root.detach_image(device)
        self._attached.pop(path)


class Full(served.TestCase):
    def small_file_system(self):
        host = images.raw(self.path("host.img"), 64 * MIB, "ext4")
        point = self.path("small")
        os.mkdir(point)
        self.bed.run(["mount", "-o", "loop", host, point])
        self.addCleanup(self.bed.run, ["umount", "-l", point], check=False)
        return point

    def image(self, name):
        return self.path("small", name + self.extension)

    def test_no_space_on_the_host(self):
        point = self.small_file_system()
        path = self.make("disk", 256 * MIB, **({"block_size": MIB} if self.kind == "vhdx" else {}))
        device = self.attach(path)
        self.pwrite(device, 0, b"first" + bytes(4091))
        with open(f"{point}/ballast", "wb") as file:
            file.write(bytes(20 * MIB))
        written, failed = [], None
        for number in range(1, 64):
            offset, data = number * 4 * MIB, bytes([number]) * MIB
            failed = self.io("write", device, offset, len(data), data)[0]
            if failed:
                break
            written.append((offset, data))
        self.assertIn(failed, (errno.ENOSPC, errno.EIO), "the host has no space for all of it")
        self.assertTrue(written)
        for offset, data in written:
            self.assertEqual(self.pread(device, offset, len(data)), data)
        self.pwrite(device, 0, b"again" + bytes(4091))
        os.unlink(f"{point}/ballast")
        for number in range(40, 44):
            offset, data = number * 4 * MIB, bytes([number]) * MIB
            self.pwrite(device, offset, data)
            written.append((offset, data))
        self.detach(path)
        self.check(path)
        device = self.attach(path, read_only=True)
        for offset, data in [(0, b"again" + bytes(4091)), *written]:
            self.assertEqual(self.pread(device, offset, len(data)), data)
        self.detach(path)
        self.bed.wait(lambda: subprocess.run(["umount", point], check=False).returncode == 0, "the unmount", 10)


class VhdFull(Full):
    extension, kind = ".vhd", "vpc"


class OtherUsers(served.TestCase):
    def test_second_user_cannot_reach(self):
        self.bed.polkit(manage_volume="yes", attach_read_only="yes")
        first, second = self.connect("vd-first"), self.connect("vd-second")
        os.mkdir(self.path("own"), 0o700)
        os.chown(self.path("own"), *USERS["vd-first"][:2])
        path = self.make("own/disk", client=first)
        device = self.attach(path, first)
        status = os.stat(device)
        self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode) & 0o007), (USERS["vd-first"][0], 0))
        self.assertEqual(self.io("write", device, 0, 4096, bytes(4096), user="vd-first")[0], 0)
        self.assertEqual(self.io("read", device, 0, 4096, user="vd-second")[0], 1, "a traceback: it cannot be opened")
        with self.bed.rights_of("vd-second"), self.assertRaises(PermissionError):
            os.open(device, os.O_RDONLY)
        self.bed.polkit(manage_volume="yes", attach_read_only="yes", manage_others="no")
        for what in (device, path):
            with self.assertRaises(testbed.BusError):
                second.detach_image(what)
        with self.assertRaises(testbed.BusError):
            second.open(path, READ)
        worker, = served.workers()
        name, = (path for path in testbed.files(f"{testbed.RUNDIR}/workers") if path.endswith(".sock"))
        with self.bed.rights_of("vd-second"):
            with self.assertRaises(PermissionError):
                os.kill(worker, 9)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line, self.assertRaises(OSError):
                line.connect(name)
            with self.assertRaises(PermissionError):
                os.listdir(f"{testbed.RUNDIR}/workers")
        first.detach_image(path)
        self._attached.pop(path)

    def test_worker_has_no_rights(self):
        path = self.make("disk")
        self.attach(path)
        worker, = served.workers()
        said = dict(line.split(":\t", 1) for line in testbed.read(f"/proc/{worker}/status").splitlines() if ":\t" in line)
        self.assertEqual({said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {"0" * 16})
        self.assertEqual(set(said["Uid"].split()), {str(testbed.WORKER[1])})
        self.assertEqual((said["NoNewPrivs"], said["Seccomp"]), ("1", "2"))
        self.assertEqual(len(testbed.read(f"/proc/{worker}/mountinfo").splitlines()), 1)
        self.detach(path)


class HostileParents(served.TestCase):
    """A child that names as its parent what its reader may not see, or what is no image, is refused by name, in time."""

    def child_of(self, replace, name="child"):
        """A child of vd-first's whose parent was replaced."""
        user = self.connect("vd-first")
        for each in (self.make("parent", 64 * MIB), self.make(name, parent="parent")):
            os.chown(each, *USERS["vd-first"][:2])
        os.unlink(self.image("parent"))
        replace(self.image("parent"))
        return user, self.image(name)

    def refused(self, user, child, *names):
        for access in (0x80000, READ):
            with self.assertRaises(testbed.BusError) as caught:
                user.open(child, access)
            self.assertIn(caught.exception.name.rpartition(".")[2], names, caught.exception.message)
        return caught.exception.message

    def redirect(self, child, path):
        """In the child: what leads to ./parent leads to path, which is as long as its name is made to be."""
        encoding = "utf-16-le"
        old = ".\\" + os.path.basename(self.image("parent"))
        new = path.replace("/", "\\")
        with open(child, "r+b") as file:
            data = file.read()
            self.assertIn(old.encode(encoding), data)
            self.assertEqual(len(old), len(new))
            file.seek(0)
            file.write(data.replace(old.encode(encoding), new.encode(encoding)))

    def test_secret_file_by_link(self):
        secret = self.path("secret")
        with open(secret, "wb") as file:
            file.write(b"root:secret\n" * 10000)
        os.chmod(secret, 0o600)
        user, child = self.child_of(lambda path: os.symlink(secret, path))
        there = self.refused(user, child, "VhdParentVhdNotFound", "VhdParentVhdAccessDenied")
        os.unlink(secret)
        self.assertEqual(self.refused(user, child, "VhdParentVhdNotFound", "VhdParentVhdAccessDenied"), there,
                         "that there is such a file is not told")

    def test_secret_file_by_name(self):
        depth = self.dir.count("/")
        target, old = "../" * depth + "etc/gshadow", self.image
        name = "p" * (len(target) - len(".\\") - len(self.extension))
        self.image = lambda each: old(name if each == "parent" else each)
        user, child = self.child_of(lambda path: None)
        before = served.digest(child)
        self.redirect(child, target)
        self.assertNotEqual(served.digest(child), before)
        message = self.refused(user, child, "VhdParentVhdNotFound", "VhdParentVhdAccessDenied")
        self.assertNotIn("root:", message)

    def test_no_images(self):
        def special(kind, device=0):
            return lambda path: os.mknod(path, kind | 0o666, device)

        for what, replace in (("fifo", special(stat.S_IFIFO)), ("device", special(stat.S_IFCHR, os.makedev(1, 5))),
                              ("folder", os.mkdir), ("link to a device", lambda path: os.symlink("/dev/zero", path)),
                              ("link to itself", lambda path: os.symlink(path, path)),
                              ("empty file", lambda path: open(path, "wb").close()),
                              ("proc", lambda path: os.symlink("/proc/self/mem", path)),
                              ("endless", lambda path: os.symlink("/proc/self/fd/0", path))):
            with self.subTest(what):
                user, child = self.child_of(replace, "child-" + what.replace(" ", "-"))
                self.refused(user, child, "VhdParentVhdNotFound", "VhdParentVhdAccessDenied",
                             "VhdDifferencingChainErrorInParent")
                if os.path.isdir(self.image("parent")):
                    os.rmdir(self.image("parent"))
                else:
                    os.unlink(self.image("parent"))

    def test_cycle_of_two(self):
        """one is a child of two, which is one again under another name."""
        user, child = self.child_of(lambda path: None)
        os.link(child, self.image("parent"))
        os.chown(child, *USERS["vd-first"][:2])
        self.refused(user, child, "VhdDifferencingChainCycleDetected")
        os.unlink(self.image("parent"))
        with open(child, "rb") as source, open(self.image("parent"), "wb") as copy:
            copy.write(source.read())
        self.refused(user, child, "VhdDifferencingChainCycleDetected", "VhdChildParentIdMismatch",
                     "VhdDifferencingChainErrorInParent")


class VhdHostileParents(HostileParents):
    extension, kind = ".vhd", "vpc"


class Opened:
    """Whether anybody opens or reads a file, from now on."""

    OPEN_OR_ACCESS = 0x21

    def __init__(self, *paths):
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in paths:
            if libc.inotify_add_watch(self._fd, os.fsencode(path), self.OPEN_OR_ACCESS) < 0:
                raise OSError(ctypes.get_errno(), path)

    def __call__(self):
        try:
            return bool(os.read(self._fd, 65536))
        except BlockingIOError:
            return False

    def close(self):
        os.close(self._fd)


class ParentsElsewhere(served.TestCase):
    """A VHD whose locators lead to what its reader may not open, by each way to say where: it is never opened."""

    extension, kind, daemon = ".vhd", "vpc", False

    def setUp(self):
        super().setUp()
        with open(self.path("paths"), "w") as file:
            file.write(f"[drives]\nC={self.path('drive')}\n[shares]\nserver/share={self.path('drive')}\n")
        os.mkdir(self.path("drive"))
        self.bed.start_daemon(f"--paths={self.path('paths')}")
        for name in ("secret", "drive/hidden"):
            with open(self.path(name), "wb") as file:
                file.write(b"root:secret\n" * 1000)
            os.chmod(self.path(name), 0o600)
        self.user = self.connect("vd-first")
        self.make("parent", 64 * MIB)
        self.child = self.make("child", parent="parent")
        os.chown(self.child, *USERS["vd-first"][:2])
        os.unlink(self.image("parent"))

    def assertNotOpened(self, rows, *names):
        opened = Opened("/etc/shadow", self.path("secret"), self.path("drive/hidden"))
        self.addCleanup(opened.close)
        with open(self.path("secret"), "rb"):
            self.assertTrue(opened(), "the watch itself")
        for code, text in rows:
            with self.subTest(text):
                images.vhd_parent_place(self.child, code, text if isinstance(text, bytes) else text.encode("utf-16-le"))
                for access in (0x80000, READ):
                    with self.assertRaises(testbed.BusError) as caught:
                        self.user.open(self.child, access)
                    self.assertIn(caught.exception.name.rpartition(".")[2], names, caught.exception.message)
                    self.assertNotIn("root:", caught.exception.message)
                self.assertFalse(opened())

    def test_places_of_unix(self):
        secret = os.fsencode(self.path("secret"))
        self.assertNotOpened([(b"MacX", text) for text in (
            b"file:///etc/shadow", b"file://localhost/etc/shadow", b"file:///%65tc/%73hadow", b"file:///dev/../etc/shadow",
            b"file://server/etc/shadow", b"file://" + secret, b"file:///proc/self/root" + secret, b"file:///etc/shadow%00.vhd")],
            "VhdParentVhdNotFound", "VhdParentVhdAccessDenied", "VhdSparseHeaderCorrupt")

    def test_places_of_windows(self):
        self.assertNotOpened([(b"W2ku", text) for text in (
            "C:\\hidden", "c:/hidden", "C:\\..\\secret", "C:\\..\\..\\..\\..\\etc\\shadow", "C:\\.\\.\\..\\secret",
            "\\\\?\\C:\\..\\secret", "\\\\server\\share\\..\\secret", "\\\\server\\share\\hidden", "\\\\.\\PhysicalDrive0",
            "\\\\?\\GLOBALROOT\\etc\\shadow", "\\\\?\\UNC\\server\\share\\..\\secret", "/etc/shadow", "D:\\secret")]
            + [(b"W2ru", text) for text in (".\\secret", "secret", ".\\drive\\hidden", "..\\..\\..\\..\\etc\\shadow")],
            "VhdParentVhdNotFound", "VhdParentVhdAccessDenied", "VhdSparseHeaderCorrupt")

    def test_what_is_no_file(self):
        os.mkfifo(self.path("fifo"), 0o666)
        os.chmod(self.path("fifo"), 0o666)
        os.symlink("circle", self.path("circle"))
        self.assertNotOpened([(b"MacX", b"file://" + os.fsencode(path)) for path in (
            self.path("fifo"), self.path("circle"), "/dev/zero", "/dev/loop-control", "/proc/self/mem", "/proc/kmsg", "/",
            "/dev/ptmx", "/proc/self/fd/0")],
            "VhdParentVhdNotFound", "VhdParentVhdAccessDenied", "VhdDifferencingChainErrorInParent")


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
