#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine goes down: once the service has ended everything is detached, and each image is left clean."""
import fcntl
import os
import struct
import subprocess
import sys

import served
import testbed
from served import MIB
from testbed import RUNDIR, WORKER, images, loops

LOOP_GET_STATUS64 = 0x4C05


class WorkerEnds(served.TestCase):
    def connection(self, device):
        """Of the FUSE mount below the loop device: the folder in which the kernel has it."""
        folder = self.path("fusectl")
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "fusectl", "fusectl", folder], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("this kernel shows no FUSE connections")
        self.addCleanup(self.bed.unmount, folder)
        with open(device, "rb") as file:
            status = fcntl.ioctl(file, LOOP_GET_STATUS64, bytes(232))
        return f"{folder}/{os.minor(struct.unpack_from('<Q', status)[0])}"

    def test_one_that_has_closed_its_image_has_no_successor(self):
        path = self.make("disk")
        device = self.attach(path)
        self.pwrite(device, 0, os.urandom(MIB))
        self.assertTrue(served.has_log(path))
        with open(f"{self.connection(device)}/abort", "w") as file:
            file.write("1")
        self.bed.wait(lambda: not testbed.files(RUNDIR + "/disks"), "the disk to end")
        self.assertNothingServes()
        self.assertFalse(served.has_log(path))
        self.assertIn("has closed the image", self.bed.daemon_log())
        self.assertNotIn("takes over", self.bed.daemon_log())
        self._attached.clear()


class Shutdown(served.TestCase):
    def detach_all(self, check=True):
        return self.bed.run([testbed.program(self.bed.build, "virtdiskd"), "--detach-all", f"--bus=unix:path={self.path('no-bus')}",
                             f"--rundir={RUNDIR}", f"--statedir={self.bed.statedir}", f"--libexecdir={self.bed.path('libexec')}",
                             f"--worker-user={WORKER[0]}"], check=check)

    def mounted(self, path, name):
        """Attached, with a file system on it -> where that is mounted."""
        device = self.attach(path)
        images.make_fs(device)
        return self.bed.mount(device, name)

    def put(self, folder):
        """-> what lies there now, and is not written back yet"""
        with open(f"{folder}/kept", "wb") as file:
            file.write(os.urandom(4 * MIB))
        return served.digest(f"{folder}/kept")

    def assertDetached(self):
        self.assertEqual((served.workers(), loops(self.dir), testbed.files(RUNDIR + "/disks"), testbed.files(RUNDIR + "/workers")),
                         ([], [], [], []))
        self._attached.clear()

    def assertKept(self, path, expected):
        device = self.attach(path)
        self.bed.run(["e2fsck", "-fn", device])
        point = self.bed.mount(device, "again")
        self.assertEqual(served.digest(f"{point}/kept"), expected)
        self.bed.unmount(point)
        self.detach(path)

    def test_mounted_inside_each_other(self):
        outer = self.make("outer")
        outside = self.mounted(outer, "outside")
        inner = self.make(f"{outside}/inner", 64 * MIB)
        inside = self.mounted(inner, "inside")
        kept = self.put(inside), self.put(outside)
        self.bed.stop_daemon()
        self.detach_all()
        self.assertDetached()
        self.assertEqual((os.path.ismount(inside), os.path.ismount(outside)), (False, False))
        self.assertFalse(served.has_log(outer))
        self.bed.start_daemon()
        self.assertKept(outer, kept[1])
        self.bed.mount(self.attach(outer), "outside")
        self.assertFalse(served.has_log(inner))
        self.assertKept(inner, kept[0])
        # The kernel lets go of what a ring had open some time after the process has ended.
        self.bed.wait(lambda: self.bed.run(["umount", outside], check=False).returncode == 0, "the worker's file to be closed")
        self.detach(outer)

    def test_what_is_held_serves_on_and_its_image_is_clean(self):
        path, other = self.make("disk"), self.make("other")
        point = self.mounted(path, "mnt")
        self.attach(other)
        kept = self.put(point)
        self.bed.stop_daemon()
        with open(f"{point}/held", "wb") as held:
            held.write(b"held")
            said = self.detach_all(check=False)
            self.assertEqual(said.returncode, 1)
            self.assertIn(f"{path} stays attached", said.stderr)
            worker, = served.workers()
            self.bed.wait(lambda: not served.has_log(path), "the worker to leave the image clean")
            held.write(bytes(8 * MIB))
            held.flush()
            os.fsync(held.fileno())
            self.assertEqual(served.workers(), [worker])
        self.detach_all()
        self.assertDetached()
        self.assertFalse(served.has_log(path))
        self.bed.start_daemon()
        self.assertKept(path, kept)

    def test_boot_records_stay(self):
        path, raw = self.make("disk"), images.raw(self.path("disk.img"))
        for image in (path, raw):
            self.root.attach_image(image, lifetime="boot")
        records = testbed.files(os.path.join(self.bed.statedir, "boot"))
        self.assertEqual(len(records), 2)
        self.bed.stop_daemon()
        self.detach_all()
        self.assertDetached()
        self.assertEqual(testbed.files(os.path.join(self.bed.statedir, "boot")), records)
        for record in records:
            os.unlink(record)

    def test_not_beside_the_service(self):
        path = self.make("disk")
        device = self.attach(path)
        self.assertIn("another virtdiskd runs here", self.detach_all(check=False).stderr)
        self.assertEqual(self.properties(path)["Device"], device)
        self.detach(path)

    def test_nothing_attached(self):
        self.bed.stop_daemon()
        self.assertEqual(self.detach_all().stderr, "")


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
