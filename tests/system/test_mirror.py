#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
MirrorVirtualDisk and BreakMirrorVirtualDisk: a disk that is in use moves to another file, under load and unnoticed; what is
cancelled, refused or killed in the midst leaves the image as the disk.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys

import served
import testbed
from gi.repository import GLib
from served import MIB, workers
from testbed import DISK, HANDLE, JOB, options

SIZE = 64 * MIB
EXISTING, SKIP_ACTIVATION, HINTS = 1, 2, 4 | 8
PENDING = 997  # ERROR_IO_PENDING
PLACES = tuple(range(0, SIZE, 4 * MIB))


class TestCase(served.TestCase):
    def setUp(self):
        if served.kernel() < served.KERNEL_SENDS_AGAIN:
            self.skipTest("before Linux 6.9 no worker takes over a FUSE disk without an I/O error")
        super().setUp()
        self.target = self.image("target")
        # That a file goes, and how far a job is, is told by no event that wakes bed.wait().
        looks = GLib.timeout_add(20, lambda: True)
        self.addCleanup(GLib.source_remove, looks)

    def attached(self, name="a", **opts):
        """An image with something in it, attached -> path, device"""
        path = self.make(name, SIZE, **opts)
        device = self.attach(path)
        for number, place in enumerate(PLACES):
            self.pwrite(device, place, bytes([number + 1]) * 65536)
        return path, device

    def begin(self, path, target=None, flags=0, client=None, **opts):
        """-> handle, job"""
        client = client or self.root
        handle = client.open(path, 0, version=2)
        return handle, client.operate(handle, "MirrorVirtualDisk", "usu", 1, target or self.target, flags, async_=True, **opts)

    def is_whole(self, handle, client=None):
        status, current, completion = (client or self.root).progress(handle)
        self.assertEqual(status, PENDING, self.bed.daemon_log())
        return current == completion

    def mirrored(self, path, target=None, flags=0, client=None, **opts):
        """Both are alike -> handle, job"""
        handle, job = self.begin(path, target, flags, client, **opts)
        self.bed.wait(lambda: self.is_whole(handle, client), "the mirror to be whole", 60)
        return handle, job

    def break_mirror(self, handle, client=None):
        (client or self.root).operate(handle, "BreakMirrorVirtualDisk", "u", 0, deadline=90)

    def is_broken(self, handle):
        try:
            self.break_mirror(handle)
        except testbed.BusError as error:
            self.assertEqual(error.name, "org.virtdisk1.Error.VhdInvalidState")
            return False
        return True

    def state(self, job):
        return self.root.properties(job, JOB)["State"]

    def assertHolds(self, device, places=PLACES):
        for place in places:
            number = PLACES.index(place)
            self.assertEqual(self.pread(device, place, 65536), bytes([number + 1]) * 65536, f"at {place}")

    def assertIsDisk(self, path, device):
        """This file, and no other, is what the device shows."""
        self.assertEqual(self.root.properties(self.root.disk_for_path(device))["Path"], path)
        self.assertEqual(self.root.properties(self.root.disk_for_path(path))["Device"], device)

    def unmount(self, point):
        """Who made a file there may still be on its way out of the folder."""
        self.bed.wait(lambda: subprocess.run(["umount", point], check=False, stderr=subprocess.DEVNULL).returncode == 0, "the unmount")

    def assertUsable(self, path, device, chain_of_one=True):
        """Alone: its own writes are in it afterwards."""
        self.assertIsDisk(path, device)
        self.pwrite(device, 32 * MIB, b"z" * 65536)
        self._attached.pop(path, None)
        self.root.detach_image(device)
        self._attached = {}
        self.check(path, chain_of_one)
        again = self.attach(path)
        self.assertEqual(self.pread(again, 32 * MIB, 65536), b"z" * 65536)
        self.assertHolds(again, [place for place in PLACES if place != 32 * MIB])
        self.detach(path)


class Mirror(TestCase):
    def test_switched(self):
        path, device = self.attached()
        handle, job = self.mirrored(path)
        self.assertTrue(os.path.exists(self.target))
        self.assertIsDisk(path, device)
        self.pwrite(device, 0, b"\x01" * 65536)
        self.break_mirror(handle)
        self.assertEqual(self.state(job), "done")
        self.assertEqual(self.root.progress(handle)[0], 0)
        before = served.digest(path)
        self.assertIsDisk(self.target, device)
        self.assertHolds(device)
        self.pwrite(device, 8 * MIB, b"\x03" * 65536)
        self.root.close_handle(handle)
        self.assertEqual(served.digest(path), before, "the image that was left is written to")
        self.check(path)
        self.assertUsable(self.target, device)
        device = self.attach(path)
        self.assertHolds(device)

    def test_formats(self):
        for extension, flags in ((".vhd", 0), (".vhd", 1), (".vhdx", 1), (".img", 0)):
            with self.subTest(extension=extension, flags=flags):
                path, target = self.path(f"f{flags}{extension}"), self.path(f"t{flags}{extension}")
                self.root.close_handle(self.root.create(path, SIZE, flags))
                device = self.attach(path)
                for number, place in enumerate(PLACES):
                    self.pwrite(device, place, bytes([number + 1]) * 65536)
                handle, _ = self.mirrored(path, target)
                self.break_mirror(handle)
                self.root.close_handle(handle)
                self.assertEqual(self.root.properties(self.root.disk_for_path(device))["Subtype"],
                                 0 if extension == ".img" else 2 if flags else 3)
                self.assertHolds(device)
                self.root.detach_image(device)
                self._attached.clear()

    def test_differencing(self):
        self.make("p", SIZE)
        device = self.attach(self.image("p"))
        for number, place in enumerate(PLACES[:8]):
            self.pwrite(device, place, bytes([number + 1]) * 65536)
        self.detach(self.image("p"))
        path = self.make("c", parent="p")
        device = self.attach(path)
        for number, place in list(enumerate(PLACES))[8:]:
            self.pwrite(device, place, bytes([number + 1]) * 65536)
        handle, _ = self.mirrored(path)
        self.break_mirror(handle)
        self.root.close_handle(handle)
        self.assertHolds(device)
        self.assertUsable(self.target, device, chain_of_one=False)
        self.assertLess(os.stat(self.target).st_blocks * 512, SIZE)

    def test_under_load(self):
        path = self.make("a", 128 * MIB)
        device = self.attach(path)
        folder = self.path("mnt")
        subprocess.run(["mkfs.ext4", "-q", device], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.mkdir(folder)
        subprocess.run(["mount", device, folder], check=True)
        self.addCleanup(subprocess.run, ["umount", folder], stderr=subprocess.DEVNULL, check=False)
        load = self.load(folder)
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        for source, target in ((path, self.target), (self.target, self.image("third"))):
            handle, _ = self.mirrored(source, target)
            self.break_mirror(handle)
            self.root.close_handle(handle)
            os.unlink(source)  # nobody needs it any more
        self.finish(load)
        subprocess.run(["umount", folder], check=True)
        self.assertEqual(subprocess.run(["e2fsck", "-fn", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        check=False).returncode, 0)
        self.root.detach_image(device)
        self._attached.clear()
        self.check(self.image("third"))

    def test_existing_file(self):
        path, device = self.attached()
        self.root.close_handle(self.root.create(self.target, SIZE))
        other = self.attach(self.target)
        self.pwrite(other, 6 * MIB, b"old" * 1024 + b"\0" * 1024)
        self.detach(self.target)
        handle, _ = self.mirrored(path, flags=EXISTING | HINTS)
        self.break_mirror(handle)
        self.root.close_handle(handle)
        self.assertEqual(self.pread(device, 6 * MIB, 4096), bytes(4096))
        self.assertUsable(self.target, device)

    def test_attached_at_boot(self):
        path = self.make("a", SIZE)
        device = self.attach(path, lifetime="boot")
        handle, _ = self.mirrored(path)
        self.break_mirror(handle)
        self.root.close_handle(handle)
        folder = os.path.join(self.bed.statedir, "boot")
        said = "".join(open(os.path.join(folder, name), encoding="utf-8").read() for name in os.listdir(folder))
        self.assertIn(self.target, said)
        self.assertNotIn(path, said)
        self.root.detach_image(device)
        self._attached.clear()
        self.assertEqual(os.listdir(folder), [])

    def test_record_for_boot_that_cannot_be_written(self):
        path = self.make("a", SIZE)
        device = self.attach(path, lifetime="boot")
        handle, _ = self.mirrored(path)
        folder = os.path.join(self.bed.statedir, "boot")
        before = os.listdir(folder)
        os.chmod(folder, 0o777)  # nothing is written where others may write
        self.assertBusError("IO", self.break_mirror, handle)
        os.chmod(folder, 0o700)
        self.assertEqual(os.listdir(folder), before)
        self.assertIsDisk(path, device)
        self.bed.wait(lambda: self.is_whole(handle), "the mirror to be whole again", 60)
        self.break_mirror(handle)
        self.root.close_handle(handle)
        self.assertIsDisk(self.target, device)
        self.assertNotEqual(os.listdir(folder), before)


class Ends(TestCase):
    """What leaves the image in its place."""

    def assertAsBefore(self, path, device, gone=True):
        self.bed.wait(lambda: os.path.exists(self.target) != gone, "the target to go" if gone else "the target to stay")
        self.assertHolds(device)
        self.assertUsable(path, device)

    def cancelled(self, path, device, how, **opts):
        handle, job = self.mirrored(path, **opts)
        how(handle, job)
        self.bed.wait(lambda: self.state(job) != "running", "the job to end")
        self.assertEqual(self.state(job), "cancelled")
        with contextlib.suppress(testbed.BusError):  # it went with its client
            self.root.close_handle(handle)
        self.assertAsBefore(path, device)

    def test_cancelled(self):
        path, device = self.attached()
        self.cancelled(path, device, lambda handle, job: self.root.cancel_job(job))

    def test_cancelled_at_once(self):
        path, device = self.attached()
        handle, job = self.begin(path)
        self.root.cancel_job(job)
        self.bed.wait(lambda: self.state(job) == "cancelled", "the job to end")
        self.root.close_handle(handle)
        self.assertAsBefore(path, device)

    def test_handle_closed(self):
        path, device = self.attached()
        self.cancelled(path, device, lambda handle, job: self.root.close_handle(handle))

    def test_client_gone(self):
        client = self.connect()
        path, device = self.attached()
        self.cancelled(path, device, lambda handle, job: client.close(), client=client)

    def test_job_that_outlives_its_client(self):
        client = self.connect()
        path, device = self.attached()
        self.mirrored(path, client=client, detach_job=True)
        client.close()
        handle = self.root.open(path, 0, version=2, get_info_only=True)
        self.break_mirror(handle)
        self.root.close_handle(handle)
        self.assertUsable(self.target, device)

    def test_existing_file_stays(self):
        path, device = self.attached()
        self.root.close_handle(self.root.create(self.target, SIZE))
        handle, job = self.mirrored(path, flags=EXISTING)
        self.root.cancel_job(job)
        self.bed.wait(lambda: self.state(job) == "cancelled", "the job to end")
        self.root.close_handle(handle)
        self.check(self.target, chain_of_one=False)  # as after a kill, which others do not mend by themselves
        self.assertAsBefore(path, device, gone=False)

    def test_target_full(self):
        path, device = self.attached()
        point = self.path("small")
        os.mkdir(point)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "virtdisk-test", point], check=True)
        self.addCleanup(subprocess.run, ["umount", point], stderr=subprocess.DEVNULL, check=False)
        for place in PLACES[:8]:
            self.pwrite(device, place + MIB, os.urandom(2 * MIB))
        self.target = point + "/t.vhdx"
        handle, job = self.begin(path)
        self.assertBusError("DiskFull", self.root.wait_job, job, deadline=60)
        self.root.close_handle(handle)
        self.bed.wait(lambda: not os.listdir(point), "the target to go")
        self.unmount(point)
        self.assertHolds(device)
        self.assertUsable(path, device)

    def test_worker_killed_and_begun_anew(self):
        path, device = self.attached()
        handle, _ = self.mirrored(path)
        self.kill_worker(device)
        self.pwrite(device, 0, b"\x01" * 65536)
        # How far it is may be told of a moment ago.
        self.bed.wait(lambda: self.is_whole(handle) and self.is_broken(handle), "the mirror to be whole again", 60)
        self.root.close_handle(handle)
        self.assertUsable(self.target, device)

    def test_worker_killed_again_and_again(self):
        path, device = self.attached()
        handle, job = self.begin(path)
        # Before, it is the mirror that cannot be begun.
        self.bed.wait(lambda: self.root.progress(handle)[1] > 0, "the mirror to run", 60)
        for _ in range(2):
            self.bed.wait(workers, "a worker")
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
            self.pread(device, 0, 4096)
        self.bed.wait(lambda: self.is_whole(handle), "the mirror to be whole", 60)
        self.root.cancel_job(job)
        self.bed.wait(lambda: self.state(job) == "cancelled", "the job to end")
        self.root.close_handle(handle)
        self.assertAsBefore(path, device)

    def test_daemon_killed(self):
        for name in ("stop_daemon", "kill_daemon"):
            with self.subTest(name):
                path, device = self.attached(name)
                handle, job = self.mirrored(path, job="restart" + name[:4])
                before, = workers()
                getattr(self.bed, name)()
                self.bed.start_daemon()
                self.bed.wait(lambda: workers() and before not in workers(), "a worker without mirror")
                self.assertEqual(self.state(job), "failed")
                self.assertEqual(self.root.properties(job, JOB)["ErrorName"], "org.virtdisk1.Error.OperationAborted")
                self.root.close_handle(handle)
                self.assertAsBefore(path, device)

    def test_daemon_killed_at_the_switch(self):
        """Whichever of the two is the disk afterwards, it has everything, and it is the only one."""
        for wait in range(0, 60, 12):
            with self.subTest(wait=wait):
                path, device = self.attached(f"a{wait}")
                self.target = self.image(f"t{wait}")
                handle, _ = self.mirrored(path)
                pending = self.root.begin(handle, HANDLE, "BreakMirrorVirtualDisk", "(ua{sv})", 0, options())
                # At any moment of it; none of them has a name.
                loop = GLib.MainLoop()
                GLib.timeout_add(wait, loop.quit)
                loop.run()
                self.bed.kill_daemon()
                self.bed.start_daemon()
                del pending
                error, _ = self.io("write", device, 0, 65536, b"\x01" * 65536)
                self.root.close_handle(handle)
                if error:  # neither service nor worker was there to keep the connection to the kernel
                    self.assertEqual(error, 5)
                    self.root.detach_image(device, force=True)
                    self._attached.clear()
                    self.assertUsable(path, self.attach(path))
                    continue
                where = self.root.properties(self.root.disk_for_path(device))["Path"]
                self.assertIn(where, (path, self.target))
                self.assertHolds(device)
                self.assertUsable(where, device)

    def test_device_taken_away(self):
        path, device = self.attached()
        handle, job = self.mirrored(path)
        subprocess.run(["losetup", "-d", device], check=True)
        self.bed.wait(lambda: self.state(job) != "running", "the job to end")
        self.assertEqual(self.state(job), "failed")
        self._attached.clear()
        self.root.close_handle(handle)
        self.bed.wait(lambda: not os.path.exists(self.target), "the target to go")
        self.check(path)


class Refused(TestCase):
    def refused(self, name, path, target=None, flags=0):
        handle = self.root.open(path, 0, version=2)
        try:
            return self.assertBusError(name, self.root.operate, handle, "MirrorVirtualDisk", "usu", 1, target or self.target, flags)
        finally:
            self.root.close_handle(handle)

    def test_while_it_is_mirrored(self):
        path, device = self.attached()
        handle, job = self.begin(path)
        other = self.root.open(path, 0, version=2, get_info_only=True)
        self.assertBusError("VhdInvalidState", self.root.detach_image, device, force=True)
        self.assertBusError("VhdInvalidState", self.root.operate, handle, "MirrorVirtualDisk", "usu", 1, self.image("b"), 0)
        self.assertBusError("VhdInvalidState", self.root.resize, handle, 2 * SIZE)
        self.bed.wait(lambda: self.is_whole(handle), "the mirror to be whole", 60)
        for opts in ({}, {"get_info_only": True}):
            self.assertBusError("SharingViolation", self.root.open, self.target, 0, version=2, **opts)
        stranger = self.connect("vd-first")
        os.chmod(path, 0o666)
        theirs = stranger.open(path, 0, version=2, get_info_only=True)
        self.assertBusError("AccessDenied", self.break_mirror, theirs, stranger)
        self.break_mirror(other)
        self.assertEqual(self.state(job), "done")
        self.assertBusError("VhdInvalidState", self.break_mirror, handle)
        stranger.close_handle(theirs)
        for one in (handle, other):
            self.root.close_handle(one)
        self.assertUsable(self.target, device)

    def test_not_attached_or_not_by_a_worker(self):
        path = self.make("a", SIZE)
        self.refused("VhdInvalidState", path)
        raw = self.path("a.img")
        with open(raw, "wb") as file:
            file.truncate(SIZE)
        self._attached[raw] = self.root.attach_image(raw)[1]
        self.assertIn("route ublk or fuse", self.refused("NotSupported", raw, self.path("b.img")))
        self.detach(raw)
        self.attach(path, read_only=True)
        handle = self.root.open(path, 0, version=2, read_only=True)
        self.assertBusError("AccessDenied", self.root.operate, handle, "MirrorVirtualDisk", "usu", 1, self.target, 0)
        self.root.close_handle(handle)
        self.assertFalse(os.path.exists(self.target))

    def test_targets(self):
        path, device = self.attached()
        small, child, parent, own = self.make("small", SIZE // 2), self.image("child"), self.make("parent", SIZE), self.path("mnt")
        self.make("child", parent="parent")
        self.refused("FileExists", path, small)
        self.refused("FileNotFound", path, flags=EXISTING)
        self.refused("VhdInvalidSize", path, small, EXISTING)
        self.refused("VhdInvalidType", path, child, EXISTING)
        self.refused("SharingViolation", path, path, EXISTING)
        self.refused("InvalidParameter", path, "target.vhdx")
        self.refused("InvalidParameter", path, flags=1 << 4)
        self.refused("NotSupported", path, flags=SKIP_ACTIVATION)
        self.refused("PathNotFound", path, self.path("no/target.vhdx"))
        with open(self.path("junk.vhdx"), "wb") as file:
            file.write(os.urandom(MIB))
        handle = self.root.open(path, 0, version=2)
        self.assertRaises(testbed.BusError, self.root.operate, handle, "MirrorVirtualDisk", "usu", 1, self.path("junk.vhdx"), EXISTING)
        self.root.close_handle(handle)
        opened = self.root.open(parent, 0, version=2)
        self.refused("SharingViolation", path, parent, EXISTING)
        self.root.close_handle(opened)
        subprocess.run(["mkfs.ext4", "-q", device], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.mkdir(own)
        subprocess.run(["mount", device, own], check=True)
        self.addCleanup(subprocess.run, ["umount", own], stderr=subprocess.DEVNULL, check=False)
        self.refused("VhdDifferencingChainCycleDetected", path, own + "/t.vhdx")
        self.bed.wait(lambda: os.listdir(own) == ["lost+found"], "the target to go")
        self.unmount(own)
        self.assertEqual(self.root.properties(self.root.disk_for_path(path), DISK)["Device"], device)

    def test_of_another_user(self):
        path, device = self.attached()
        os.chown(path, 0, 0)
        os.chmod(path, 0o666)
        user = self.connect("vd-first")
        handle = user.open(path, 0, version=2)
        self.assertBusError("AccessDenied", user.operate, handle, "MirrorVirtualDisk", "usu", 1, self.path("t.vhdx"), 0)
        user.close_handle(handle)
        self.assertHolds(device)


class Command(TestCase):
    def test_mirror_and_break(self):
        path, device = self.attached()
        done = self.bed.virtdisk("mirror", "--break", path, self.target)
        self.assertIn("copied", done.stdout)
        self.assertUsable(self.target, device)

    def test_break_of_one_that_goes_on(self):
        path, device = self.attached()
        self.bed.virtdisk("mirror", "--detach-job", path, self.target)
        handle = self.root.open(path, 0, version=2, get_info_only=True)
        said = self.bed.virtdisk("break-mirror", path, check=False)
        while "not complete" in said.stderr:
            said = self.bed.virtdisk("break-mirror", path, check=False)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.root.close_handle(handle)
        self.assertUsable(self.target, device)



if __name__ == "__main__":
    if not shutil.which("mkfs.ext4"):
        sys.exit("mkfs.ext4 is missing")
    sys.exit(testbed.main())
