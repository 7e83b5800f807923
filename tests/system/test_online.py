#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
ResizeVirtualDisk of a disk that is in use: the device grows under a mounted file system, which grows then; what cannot be done
to a disk in use is refused.
"""
import fcntl
import os
import struct
import subprocess
import sys

import served
import testbed
from served import MIB
from testbed import HANDLE, options

SIZE, LARGER = 64 * MIB, 192 * MIB
FIXED = 1
NOTIFY_CHANGE = 1
# <linux/loop.h>: struct loop_info64
LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_INFO_SIZE, LOOP_SIZELIMIT_OFFSET = 0x4C04, 0x4C05, 232, 32
KERNEL_ASKS_FILES = (6, 14)  # for their size, when a loop device is to grow


def kernel():
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


class Online(served.TestCase):
    def size_of(self, device):
        with open(device, "rb") as file:
            return file.seek(0, os.SEEK_END)

    def resize(self, path, size, flags=0):
        """-> note of the job"""
        handle = self.root.open(path, 0, version=2)
        try:
            job = self.root.resize(handle, size, flags, async_=True)
            return self.root.wait_job(job).get("note", "")
        finally:
            self.root.close_handle(handle)

    def mounted(self, device):
        subprocess.run(["mkfs.ext4", "-q", device], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        folder = self.path("mnt")
        os.mkdir(folder)
        subprocess.run(["mount", device, folder], check=True)
        self.addCleanup(subprocess.run, ["umount", folder], stderr=subprocess.DEVNULL, check=False)
        with open(folder + "/kept", "wb") as file:
            file.write(b"kept" * 50000)
        return folder

    def grow_file_system(self, device, folder):
        """Mounted as it is, where one may (a container's root may not)."""
        done = subprocess.run(["resize2fs", device], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        self.assertIn("Permission denied", done.stderr)
        subprocess.run(["umount", folder], check=True)
        for command in ["e2fsck", "-fp"], ["resize2fs"]:
            subprocess.run([*command, device], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        subprocess.run(["mount", device, folder], check=True)

    def grow(self, path, device):
        folder = self.mounted(device)
        before = os.statvfs(folder).f_blocks
        self.assertEqual(self.resize(path, LARGER), "")
        self.assertEqual(self.size_of(device), LARGER)
        self.assertEqual(self.properties(path)["VirtualSize"], LARGER)
        self.grow_file_system(device, folder)
        self.assertGreater(os.statvfs(folder).f_blocks, 2 * before)
        with open(folder + "/more", "wb") as file:
            file.write(b"more" * (80 * MIB // 4))
        with open(folder + "/kept", "rb") as file:
            self.assertEqual(file.read(), b"kept" * 50000)
        subprocess.run(["umount", folder], check=True)
        self.detach(path)
        # As others read it, and by another worker.
        device = self.attach(path, route=None) if path.endswith((".img", ".vhd")) else self.attach(path)
        self.assertEqual(self.size_of(device), LARGER)
        self.assertEqual(subprocess.run(["e2fsck", "-fn", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        check=False).returncode, 0)
        self.detach(path)

    def attach(self, path, client=None, **opts):
        if opts.get("route", "fuse") is None:
            del opts["route"]
            self._attached[path] = self.root.attach_image(path, **opts)[1]
            return self._attached[path]
        return super().attach(path, client, **opts)

    def test_dynamic_vhdx_behind_a_worker(self):
        if kernel() < KERNEL_ASKS_FILES:
            self.skipTest("the loop driver of this kernel does not ask a FUSE file for its size")
        path = self.make("a", SIZE)
        self.grow(path, self.attach(path))
        self.check(path)

    def test_raw_behind_loop(self):
        path = self.path("a.img")
        with open(path, "wb") as file:
            file.truncate(SIZE)
        self.grow(path, self.attach(path, route=None))

    def test_fixed_vhd_behind_loop(self):
        path = self.path("a.vhd")
        self.root.close_handle(self.root.create(path, SIZE, FIXED))
        self.grow(path, self.attach(path, route=None))
        self.bed.run(["qemu-img", "info", "-f", "vpc", path])

    def test_expanded_and_told(self):
        path = self.path("a.img")
        with open(path, "wb") as file:
            file.truncate(MIB)
        device = self.attach(path, route=None)
        handle = self.root.open(path, 0, version=2)
        self.assertBusError("VhdInvalidState", self.root.expand, handle, 2 * MIB)
        self.root.expand(handle, 2 * MIB, NOTIFY_CHANGE)
        self.root.close_handle(handle)
        self.assertEqual(self.size_of(device), 2 * MIB)

    def test_device_that_was_not_told(self):
        """As after a service that ended between the growth of the image and that of its device."""
        path = self.path("a.img")
        with open(path, "wb") as file:
            file.truncate(SIZE)
        device = self.attach(path, route=None)
        self.resize(path, LARGER)
        with open(device, "rb") as loop:
            status = bytearray(fcntl.ioctl(loop, LOOP_GET_STATUS64, bytes(LOOP_INFO_SIZE)))
            struct.pack_into("=Q", status, LOOP_SIZELIMIT_OFFSET, SIZE)
            fcntl.ioctl(loop, LOOP_SET_STATUS64, bytes(status))
        self.assertEqual(self.size_of(device), SIZE)
        self.bed.stop_daemon()
        self.bed.start_daemon()
        self.assertEqual(self.resize(path, LARGER), "")
        self.assertEqual(self.size_of(device), LARGER)

    def test_what_is_attached_does_not_shrink(self):
        path = self.make("a", LARGER)
        device = self.attach(path)
        handle = self.root.open(path, 0, version=2)
        self.assertBusError("VhdInvalidState", self.root.resize, handle, SIZE)
        self.assertBusError("VhdInvalidState", self.root.call, handle, HANDLE, "ResizeVirtualDisk", "(uta{sv})", 2, 0, options())
        self.assertEqual(self.size_of(device), LARGER)
        self.root.close_handle(handle)

    def test_what_is_attached_read_only_does_not_grow(self):
        path = self.make("a", SIZE)
        self.attach(path, read_only=True)
        handle = self.root.open(path, 0, version=2, read_only=True)
        self.assertBusError("AccessDenied", self.root.resize, handle, LARGER)
        self.root.close_handle(handle)

    def test_expand_wants_it_detached(self):
        path = self.make("a", SIZE)
        self.attach(path)
        handle = self.root.open(path, 0, version=2)
        self.assertBusError("VhdInvalidState", self.root.expand, handle, LARGER)
        self.root.close_handle(handle)

    def test_grows_under_load(self):
        if kernel() < KERNEL_ASKS_FILES:
            self.skipTest("the loop driver of this kernel does not ask a FUSE file for its size")
        path = self.make("a", 128 * MIB)
        device = self.attach(path)
        load = self.load(self.mounted(device))
        self.addCleanup(load.wait)
        self.addCleanup(load.kill)
        for size in (144, 160, 192):
            self.assertEqual(self.resize(path, size * MIB), "")
            self.assertEqual(self.size_of(device), size * MIB)
        self.finish(load)
        subprocess.run(["umount", self.path("mnt")], check=True)
        self.detach(path)
        self.check(path)


if __name__ == "__main__":
    sys.exit(testbed.main())
