#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a local user tries who wishes others ill: other users' data, other users' disks, the service itself."""
import contextlib
import ctypes
import fcntl
import os
import struct
import sys

import testbed
from attaching import ALL, ATTACH_RO, ATTACH_RW, DETACH, GET_INFO, TestCase
from testbed import USERS, images, loops

READ = ATTACH_RO | DETACH | GET_INFO
READ_ONLY = 1
LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_CHANGE_FD, LOOP_CLR_FD = 0x4C04, 0x4C05, 0x4C06, 0x4C01
FILE_NAME = 56  # of lo_file_name in struct loop_info64


def size_of(device):
    return int(testbed.read(f"/sys/block/{os.path.basename(device)}/size"))


class Attack(TestCase):
    def setUp(self):
        super().setUp()
        self.bed.polkit(manage_volume="yes", attach_read_only="yes")

    def own_image(self, name="own.img", user="vd-first", size=1 << 20):
        path = images.raw(self.path(name), size)
        os.chown(path, USERS[user][0], USERS[user][1])
        os.chmod(path, 0o600)
        return path

    def secret(self):
        path = images.raw(self.path("secret.img"), 1 << 20)
        with open(path, "r+b") as file:
            file.write(b"SECRET")
        os.chmod(path, 0o600)
        return path

    def open_node(self, device, flags=os.O_RDONLY, user="vd-first"):
        with self.bed.rights_of(user):
            fd = os.open(device, flags | os.O_CLOEXEC)
        self.addCleanup(lambda: os.close(fd))
        return fd

    def no_loops_of(self, image):
        self.bed.wait(lambda: not [row for row in loops(self.dir) if row[1].split(" ")[0] == image],
                      f"no loop device of {image}")


class Devices(Attack):
    """The node of a disk belongs to its user, and the loop driver asks no more than an open node for most commands."""

    def reopen_unbound(self, device):
        """The device as its owner leaves it: unbound, and open. None: the service was faster."""
        with self.bed.rights_of("vd-first"):
            for _ in range(1000):
                try:
                    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
                except OSError:
                    return None
                if size_of(device) == 0:
                    return fd
                fcntl.ioctl(fd, LOOP_CLR_FD)
                os.close(fd)
        return None

    def test_descriptor_kept_from_an_earlier_disk_shows_nothing_of_the_next(self):
        """Of whoever comes next: the service itself, or losetup."""
        secret = self.secret()
        user = self.connect("vd-first")
        kept, tries = None, 0
        while kept is None and tries < 20:
            tries += 1
            image = self.own_image(f"own{tries}.img")
            device = user.attach_image(image)[1]
            kept = self.reopen_unbound(device)
            self.bed.wait(lambda: device not in self.root.all_paths(), "the service to notice")
        if kept is None:
            self.skipTest("the service took the node back faster than its owner could open it, 20 times")
        try:
            for attach, detach in (
                    (lambda: self.root.attach_image(secret)[1], self.root.detach_image),
                    (lambda: self.bed.run(["losetup", "-f", "--show", secret]).stdout.strip(),
                     lambda node: self.bed.run(["losetup", "-d", node]))):
                node = attach()
                seen = os.pread(kept, 512, 0)
                if b"SECRET" in seen:
                    os.close(kept)
                detach(node)
                self.assertNotIn(b"SECRET", seen)
        finally:
            with contextlib.suppress(OSError):
                os.close(kept)


if __name__ == "__main__":
    sys.exit(testbed.main())
