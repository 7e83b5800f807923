#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Dynamic and differencing images through a worker and FUSE, end to end: file systems on them, workers and the service killed
under load, chains, routes, and what a read-only attach leaves alone.
"""
import os
import shutil
import sys

import served
import testbed
from served import ATTACH_RW, CUSTOM_DIFF_CHAIN, FIXED, METAOPS, MIB, NO_PARENTS, READ, READ_ONLY
from testbed import USERS, images

RESTRICTED_RANGE, SINGLE_PARTITION = 0x80, 0x100


class FileSystems(served.TestCase):
    """A file system is made, written under load while workers die, and found whole when the image is attached again."""

    def fsck(self, fs, device):
        self.bed.run(["e2fsck", "-fn", device] if fs == "ext4" else ["xfs_repair", "-n", device])

    def survives(self, fs):
        if not shutil.which(f"mkfs.{fs}"):
            self.skipTest(f"mkfs.{fs} is not installed")
        path = self.make("disk", 512 * MIB)
        device = self.attach(path)
        images.make_fs(device, fs)
        point = self.bed.mount(device)
        with open(f"{point}/kept", "wb") as file:
            file.write(os.urandom(8 * MIB))
            os.fsync(file.fileno())
        before = served.digest(f"{point}/kept")
        load = self.load(point)
        for _ in range(3):
            self.kill_worker(device)
        self.assertIsNone(load.poll(), "the load ended before the workers")
        self.assertNoMountsSeen()
        self.finish(load)
        loaded = served.digest(f"{point}/load.0.0")
        self.bed.unmount(point)
        self.fsck(fs, device)
        self.detach(path)
        self.assertNothingServes()
        self.check(path)
        device = self.attach(path)
        self.fsck(fs, device)
        point = self.bed.mount(device)
        self.assertEqual((served.digest(f"{point}/kept"), served.digest(f"{point}/load.0.0")), (before, loaded))
        self.bed.unmount(point)
        self.detach(path)

    def test_ext4(self):
        self.survives("ext4")

    def test_xfs(self):
        self.survives("xfs")


class VhdFileSystems(FileSystems):
    extension, kind = ".vhd", "vpc"


class Restarts(served.TestCase):
    def test_service_restarted_and_killed_under_load(self):
        path = self.make("disk")
        device = self.attach(path)
        images.make_fs(device)
        point = self.bed.mount(device)
        load = self.load(point)
        before = served.workers()
        self.bed.stop_daemon()
        self.assertEqual(served.workers(), before)
        self.bed.start_daemon()
        seen = self.properties(path)
        self.assertEqual((seen["Device"], seen["Route"], seen["Format"]), (device, "fuse", "vhdx"))
        self.bed.kill_daemon()
        self.assertIsNone(load.poll())
        self.bed.start_daemon()
        self.assertEqual(self.properties(path)["Device"], device)
        self.assertEqual(served.workers(), before, "the worker goes on")
        self.kill_worker(device)
        self.finish(load)
        self.assertNoMountsSeen()
        self.bed.unmount(point)
        self.bed.run(["e2fsck", "-fn", device])
        self.detach(path)
        self.assertNothingServes()
        self.assertFalse(served.has_log(path))
        self.check(path)

    def test_locks_go_on(self):
        """Whoever serves, and whether a service runs or not: nobody else gets to write to the image or to its parent."""
        parent, child = self.make("parent"), self.make("child", parent="parent")
        self.attach(child)

        def refused():
            for path in (child, parent) if shutil.which("qemu-io") else ():
                said = self.bed.run(["qemu-io", "-f", "raw", "-c", "write 0 512", path], check=False)
                self.assertNotEqual(said.returncode, 0)
                self.assertIn("lock", said.stderr)

        for end in (self.bed.stop_daemon, self.bed.kill_daemon):
            refused()
            end()
            refused()
            self.bed.start_daemon()
            refused()
            for path in (child, parent):
                self.assertBusError("SharingViolation", self.root.attach_image, path, route="fuse")
            for access in (ATTACH_RW, METAOPS):
                self.assertBusError("SharingViolation", self.root.open, parent, access)
        self.detach(child)
        self.root.close_handle(self.root.open(parent, ATTACH_RW))

    def test_worker_killed_while_no_service_runs(self):
        path = self.make("disk")
        device = self.attach(path)
        self.pwrite(device, 5 * MIB, b"before" + bytes(4090))
        self.bed.kill_daemon()
        os.kill(served.workers()[0], 9)
        self.bed.start_daemon()
        self.root.detach_image(path)
        self._attached.pop(path)
        self.assertNothingServes()
        self.assertTrue(served.has_log(path), "nobody could have emptied it")
        device = self.attach(path, read_only=True)
        self.assertEqual(self.pread(device, 5 * MIB, 4096)[:6], b"before")
        self.detach(path)


class ReadOnly(served.TestCase):
    def dirty(self):
        """An image whose log has entries: who wrote it was killed -> (path, what was acknowledged by offset)."""
        path = self.make("dirty", 512 * MIB, block_size=MIB)
        device = self.attach(path)
        written = {number * 7 * MIB: os.urandom(4096) for number in range(20)}
        for offset, data in written.items():
            self.pwrite(device, offset, data)
        self.bed.kill_daemon()
        os.kill(served.workers()[0], 9)
        self.bed.start_daemon()
        self.detach(path)
        self.assertTrue(served.has_log(path))
        return path, written

    def test_dirty_log_is_replayed_in_memory(self):
        path, written = self.dirty()
        before, status = served.digest(path), os.stat(path)
        user = self.connect("vd-first")
        os.chown(path, *USERS["vd-first"][:2])
        os.chmod(path, 0o400)
        self.bed.polkit(attach_read_only="yes")
        device = self.attach(path, user, read_only=True)
        for offset, data in written.items():
            self.assertEqual(self.pread(device, offset, 4096), data)
        self.assertEqual(self.io("write", device, 0, 4096, bytes(4096))[0], 1, "EPERM: the device is read-only")
        self.kill_worker(device)
        self.assertEqual(self.pread(device, 0, 4096), written[0])
        self.detach(path)
        self.assertEqual(served.digest(path), before)
        self.assertEqual((os.stat(path).st_size, os.stat(path).st_mtime_ns), (status.st_size, status.st_mtime_ns))

    def test_dirty_log_is_emptied_by_a_writer(self):
        path, written = self.dirty()
        device = self.attach(path)
        for offset, data in written.items():
            self.assertEqual(self.pread(device, offset, 4096), data)
        self.detach(path)
        self.assertFalse(served.has_log(path))
        self.check(path)

    def test_dirty_parent_is_left_alone(self):
        path, written = self.dirty()
        child = self.make("child", parent="dirty")
        before = served.digest(path)
        device = self.attach(child)
        self.assertEqual(self.pread(device, 7 * MIB, 4096), written[7 * MIB])
        self.pwrite(device, 8 * MIB, b"c" * 4096)
        self.detach(child)
        self.assertEqual(served.digest(path), before)


class Children(served.TestCase):
    def test_two_children_at_once(self):
        """Each with what it wrote itself, on what the parent has, and the parent as it was."""
        parent = self.make("parent")
        device = self.attach(parent)
        images.make_fs(device, label="PARENT")
        point = self.bed.mount(device)
        with open(f"{point}/shared", "wb") as file:
            file.write(os.urandom(4 * MIB))
        shared = served.digest(f"{point}/shared")
        self.bed.unmount(point)
        self.detach(parent)
        before = served.digest(parent)
        points, devices = {}, {}
        for name in ("one", "two"):
            self.make(name, parent="parent")
            devices[name] = self.attach(self.image(name))
            points[name] = self.bed.mount(devices[name], name + ".mnt")
        self.assertEqual(len(served.workers()), 2)
        for access in (ATTACH_RW, METAOPS):
            self.assertBusError("SharingViolation", self.root.open, parent, access)
        loads = [self.load(points[name], size="12m") for name in points]
        for load in loads:
            self.finish(load)
        for name, point in points.items():
            self.assertEqual(served.digest(f"{point}/shared"), shared)
            with open(f"{point}/own", "w") as file:
                file.write(name)
            self.bed.unmount(point)
            self.bed.run(["e2fsck", "-fn", devices[name]])
            self.detach(self.image(name))
            self.check(self.image(name), chain_of_one=False)
        self.assertEqual(served.digest(parent), before)
        for name in points:
            point = self.bed.mount(self.attach(self.image(name), read_only=True), name + ".mnt", opts="ro")
            self.assertEqual(testbed.read(f"{point}/own"), name)
            self.bed.unmount(point)
            self.detach(self.image(name))

    def test_killed_worker_of_a_child(self):
        """Its successor is given the whole chain, also by another service."""
        parent = self.make("parent")
        device = self.attach(parent)
        self.pwrite(device, 3 * MIB, b"p" * 4096)
        self.detach(parent)
        child = self.make("child", parent="parent")
        device = self.attach(child)
        self.pwrite(device, 3 * MIB + 4096, b"c" * 4096)
        for restart in (False, True):
            if restart:
                self.bed.kill_daemon()
                self.bed.start_daemon()
            self.kill_worker(device)
            self.assertEqual(self.pread(device, 3 * MIB, 8192), b"p" * 4096 + b"c" * 4096)
        self.detach(child)
        self.check(child, chain_of_one=False)

    def test_parents_given_by_hand(self):
        parent = self.make("parent")
        device = self.attach(parent)
        self.pwrite(device, 0, b"p" * 4096)
        self.detach(parent)
        child = self.make("child", parent="parent")
        away = self.path("away.bin")
        os.rename(parent, away)
        self.assertBusError("VhdParentVhdNotFound", self.root.attach_image, child)
        handle = self.root.open(child, READ, NO_PARENTS)
        self.assertBusError("VhdInvalidState", self.root.attach, handle, READ_ONLY)
        self.root.close_handle(handle)
        handle = self.root.open(child, 0, CUSTOM_DIFF_CHAIN, version=2, read_only=True)
        self.root.add_parent(handle, away)
        self.root.attach(handle, READ_ONLY, route="fuse")
        device = self.root.physical_path(handle)
        self.assertEqual(self.pread(device, 0, 4096), b"p" * 4096)
        self.kill_worker(device)
        self.assertEqual(self.pread(device, 0, 4096), b"p" * 4096)
        self.root.close_handle(handle)
        self.assertNothingServes()


class VhdChildren(Children):
    extension, kind = ".vhd", "vpc"


class Routes(served.TestCase):
    def test_fixed_vhdx_goes_to_loop(self):
        """The kernel alone moves its data; that somebody could write is in its header all the same."""
        path = self.make("fixed", 64 * MIB, FIXED)
        before = served.vhdx_headers(path)[0]
        device = self.attach(path, read_only=True, route="loop")
        self.detach(path)
        self.assertEqual(served.vhdx_headers(path)[0], before, "a reader leaves no trace")
        disk, device, _ = self.root.attach_image(path)
        self._attached[path] = device
        seen = self.root.properties(disk)
        self.assertEqual(seen["Route"], "loop", seen["RouteReason"])
        self.assertTrue(seen["RouteReason"])
        self.assertEqual(served.workers(), [])
        self.pwrite(device, 60 * MIB, b"w" * 4096)
        self.detach(path)
        after = served.vhdx_headers(path)[0]
        self.assertNotEqual(after[1], before[1], "FileWriteGuid")
        self.assertNotEqual(after[2], before[2], "DataWriteGuid")
        self.assertFalse(served.has_log(path))
        device = self.attach(path, read_only=True)
        self.assertEqual(self.properties(path)["Route"], "fuse")
        self.assertEqual(self.pread(device, 60 * MIB, 4096), b"w" * 4096)
        self.detach(path)
        self.check(path)

    def test_reason_is_said(self):
        path = self.make("dynamic")
        self.attach(path)
        seen = self.properties(path)
        self.assertEqual(seen["Route"], "fuse")
        self.assertIn("as was asked for", seen["RouteReason"])
        self.detach(path)
        disk, _, _ = self.root.attach_image(path)
        seen = self.root.properties(disk)
        self.assertIn("not loop", seen["RouteReason"])
        self.root.detach_image(path)

    def test_impossible_ones_are_refused(self):
        path = self.make("dynamic")
        message = self.assertBusError("NotSupported", self.root.attach_image, path, route="loop")
        self.assertIn("loop", message)
        if not os.path.exists("/dev/ublk-control"):
            message = self.assertBusError("NotSupported", self.root.attach_image, path, route="ublk")
            self.assertIn("ublk", message)
        for route in ("nbd", "", "FUSE"):
            self.assertBusError("InvalidParameter", self.root.attach_image, path, route=route)

    def test_a_part_of_the_disk(self):
        """Where it is said where; where its only partition lies is not known before it is attached."""
        path = self.make("dynamic")
        device = self.attach(path)
        self.pwrite(device, 40 * MIB, b"inside" + bytes(4090))
        self.detach(path)
        handle = self.root.open(path, 0, version=2)
        self.assertIn("RESTRICTED_RANGE", self.assertBusError("NotSupported", self.root.attach, handle, SINGLE_PARTITION))
        self.root.attach(handle, RESTRICTED_RANGE, version=2, restricted_offset=40 * MIB, restricted_length=MIB, route="fuse")
        device = self.root.physical_path(handle)
        self.assertEqual(int(self.bed.run(["blockdev", "--getsize64", device]).stdout), MIB)
        self.assertEqual(self.pread(device, 0, 4096)[:6], b"inside")
        self.pwrite(device, MIB - 4096, b"last" + bytes(4092))
        self.root.close_handle(handle)
        self.assertNothingServes()
        device = self.attach(path, read_only=True)
        self.assertEqual(self.pread(device, 41 * MIB - 4096, 8192), b"last" + bytes(8188))
        self.detach(path)

    def test_attached_by_two_at_once(self):
        """Of the attachments of one image at the same time one succeeds, and no worker of another stays."""
        path = self.make("dynamic")
        pending = [client.begin(testbed.ROOT, testbed.MANAGER, "AttachImage", "(sa{sv})", path, testbed.options(route="fuse"))
                   for client in (self.root, self.connect())]
        outcomes = []
        for each in pending:
            try:
                outcomes.append(each.result()[1])
            except testbed.BusError as error:
                outcomes.append(error.name.rpartition(".")[2])
        self.assertEqual(len([outcome for outcome in outcomes if outcome.startswith("/dev/")]), 1, outcomes)
        self.assertEqual(len(served.workers()), 1)
        self.root.detach_image(path)


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
