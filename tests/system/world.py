# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images, handles and hosts in the states that failures need; each call of a test has a folder of its own."""
import fcntl
import os
import sys

import testbed
from testbed import images

READ, ALL = 0xD0000, 0x3F0000
READ_ONLY = 1


class World(testbed.TestCase):
    """What the rows of test_failures.py and the tests of test_bad_input.py speak of."""

    def setUp(self):
        self._folder = ""
        super().setUp()
        self._root, self._user = self.connect(), None

    def next_call(self):
        """What the calls so far left open shall not meet the next one: it has images of its own."""
        self._folder = f"{int(self._folder or 0) + 1}"
        os.mkdir(self.path())

    def path(self, *parts):
        return os.path.join(self.dir, self._folder, *parts)

    @property
    def root(self):
        return self._root

    @property
    def user(self):
        """A caller without any privilege."""
        if self._user is None:
            self._user = self.connect("vd-first")
        return self._user

    def file(self, name, mode=0o644):
        """An image after its extension, owned by root; missing.*: none."""
        path = self.path(name)
        if name.startswith("missing") or os.path.exists(path):
            return path
        if name.endswith(".iso"):
            images.write_file(path, 1 << 20)
            with open(path, "r+b") as file:
                file.seek(32768)
                file.write(b"\1CD001\1")
        elif name.endswith(".vhd"):
            images.vhd_fixed(path, 4 << 20)
        else:
            images.raw(path, 4 << 20)
        os.chmod(path, mode)
        return path

    def own(self, name):
        """An image of the unprivileged user's."""
        path = self.file(name)
        os.chown(path, *testbed.USERS["vd-first"][:2])
        return path

    def hidden(self, name):
        """A path in a folder that only root may search."""
        os.makedirs(self.path("hidden"), 0o700, exist_ok=True)
        return self.file("hidden/" + name) if not name.startswith("missing") else self.path("hidden", name)

    def link(self, name, target):
        os.symlink(target, self.path(name))
        return self.path(name)

    def resized(self, name, size):
        os.truncate(self.file(name), size)
        return self.path(name)

    def vhd(self, **fields):
        return images.vhd_fixed(self.path("wrong.vhd"), 4 << 20, **fields)

    def fd(self, name, flags=os.O_RDONLY):
        fd = os.open(self.file(name), flags | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        return fd

    def handle(self, name, mask, **options):
        return self.root.open(self.file(name), mask, **options)

    def others(self, name, mask):
        return self.connect("root").open(self.file(name), mask)

    def closed(self, name):
        handle = self.handle(name, READ)
        self.root.close_handle(handle)
        return handle

    def attached(self, name, **options):
        """Attached permanently, no handle left."""
        device = self.root.attach_image(self.file(name), **options)[1]
        self.addCleanup(self.root.detach_image, device, when_idle=True)
        return device

    def mounted(self, name):
        images.make_fs(self.file(name))
        device = self.attached(name)
        self.addCleanup(self.bed.unmount, self.bed.mount(device))

    def twice(self, handle, flags):
        self.root.attach(handle, flags)
        self.root.attach(handle, flags)

    def detached_twice(self, name):
        handle = self.handle(name, ALL)
        self.root.attach(handle)
        self.root.detach(handle)
        self.root.detach(handle)

    def grown(self, name):
        handle = self.handle(name, READ)
        os.truncate(self.file(name), 8 << 20)
        self.root.attach(handle, READ_ONLY)

    def other_loop(self):
        """A block device that is none of the service's."""
        device = self.bed.run(["losetup", "-f", "--show", self.file("other.img")]).stdout.strip()
        self.addCleanup(self.bed.run, ["losetup", "-d", device])
        return device

    def file_system(self, kind, size, *mkfs, **how):
        """A file system of its own -> where it is mounted."""
        image = images.write_file(self.path(kind + ".host"), size)
        self.bed.run([f"mkfs.{kind}", "-q", *mkfs, image])
        os.makedirs(self.path(kind), exist_ok=True)
        self.addCleanup(self.bed.run, ["umount", "-l", self.path(kind)])
        self.bed.run(["mount", "-o", "loop", image, self.path(kind)])
        return self.path(kind)

    def on_read_only_mount(self):
        point = self.file_system("ext4", 16 << 20)
        path = images.raw(f"{point}/a.img", 1 << 20)
        self.bed.run(["mount", "-o", "remount,ro", point])
        return path

    def immutable(self):
        point = self.file_system("ext4", 16 << 20)
        fd = os.open(images.raw(f"{point}/a.img", 1 << 20), os.O_RDWR | os.O_CLOEXEC)
        self.addCleanup(os.close, fd)
        self.bed.run(["chattr", "+i", f"{point}/a.img"])
        return fd

    def compressed(self):
        point = self.file_system("btrfs", 128 << 20)
        self.bed.run(["touch", f"{point}/a.img"])
        self.bed.run(["chattr", "+c", f"{point}/a.img"])
        os.truncate(f"{point}/a.img", 1 << 20)
        return f"{point}/a.img"

    def encrypted(self):
        """fscrypt(7): a version 2 policy on a folder, with a key of zeros."""
        point = self.file_system("ext4", 16 << 20, "-O", "encrypt")
        key = bytearray(80 + 64)
        key[0:4] = (2).to_bytes(4, sys.byteorder)  # FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER
        key[40:44] = (64).to_bytes(4, sys.byteorder)
        os.mkdir(f"{point}/secret")
        try:
            root = os.open(point, os.O_RDONLY)
            try:
                fcntl.ioctl(root, 0xC0506617, key)  # FS_IOC_ADD_ENCRYPTION_KEY
            finally:
                os.close(root)
            folder = os.open(f"{point}/secret", os.O_RDONLY)
            try:
                # version, AES-256-XTS, AES-256-CTS, PAD_32; FS_IOC_SET_ENCRYPTION_POLICY
                fcntl.ioctl(folder, 0x800C6613, bytearray([2, 1, 4, 3, 0, 0, 0, 0]) + key[8:24])
            finally:
                os.close(folder)
            return images.raw(f"{point}/secret/a.img", 1 << 20)
        except OSError as error:
            self.skipTest(f"no fscrypt in this kernel: {error}")
