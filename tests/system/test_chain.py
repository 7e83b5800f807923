#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Chains of differencing images: where parents are found, as whom they are opened, what is refused and how it is named,
who may write to them meanwhile, and that what is read is the child's where it wrote and the parent's elsewhere.
"""
import os
import shutil
import struct
import sys
import unittest

import testbed
from testbed import USERS, images

MIB = 1 << 20
ATTACH_RO, ATTACH_RW, DETACH, GET_INFO, METAOPS = 0x10000, 0x20000, 0x40000, 0x80000, 0x200000
READ = 0xD0000
READ_ONLY = 1
NO_PARENTS, CUSTOM_DIFF_CHAIN, IGNORE_RELATIVE = 1, 0x10, 0x80
IDENTIFIER, PARENT_LOCATION, PARENT_IDENTIFIER, PARENT_TIMESTAMP = 2, 3, 4, 5
SIZE = 64 * MIB
DEPTH = 128  # images that a chain may have


class Chain(testbed.TestCase):
    extension = ".vhdx"

    def make(self, name, parent=None, client=None):
        path = self.path(name + self.extension)
        client = client or self.root
        opts = {"parent_path": self.path(parent + self.extension)} if parent else {}
        client.close_handle(client.create(path, 0 if parent else SIZE, **opts))
        return path

    def image(self, name):
        return self.path(name + self.extension)

    def write(self, path, offset, data):
        _, device, _ = self.root.attach_image(path)
        with open(device, "r+b", buffering=0) as disk:
            disk.seek(offset)
            disk.write(data)
            os.fsync(disk.fileno())
        self.root.detach_image(path)

    def read(self, path, offset, length):
        _, device, _ = self.root.attach_image(path, read_only=True)
        with open(device, "rb") as disk:
            disk.seek(offset)
            data = disk.read(length)
        self.root.detach_image(path)
        return data

    @staticmethod
    def bytes_of(path):
        with open(path, "rb") as file:
            return file.read()

    def chain(self):
        """parent with a letter at 1 MiB and 2 MiB, child with another at 2 MiB"""
        parent = self.make("parent")
        self.write(parent, MIB, b"p" * 4096)
        self.write(parent, 2 * MIB, b"p" * 4096)
        child = self.make("child", "parent")
        self.write(child, 2 * MIB, b"c" * 4096)
        return parent, child

    def open_info(self, path, flags=0, client=None, **opts):
        return (client or self.root).open(path, 0, flags, version=2, get_info_only=True, **opts)

    def test_child_before_parent(self):
        parent, child = self.chain()
        before = self.bytes_of(parent)
        grandchild = self.make("grandchild", "child")
        self.write(grandchild, 3 * MIB, b"g" * 4096)
        self.assertEqual(self.read(grandchild, MIB, 4096), b"p" * 4096)
        self.assertEqual(self.read(grandchild, 2 * MIB, 4096), b"c" * 4096)
        self.assertEqual(self.read(grandchild, 3 * MIB, 4096), b"g" * 4096)
        self.assertEqual(self.read(grandchild, 4 * MIB, 4096), bytes(4096))
        self.assertEqual(self.bytes_of(parent), before, "a parent is not written to")

    def test_properties_and_information(self):
        parent, child = self.chain()
        disk, _, _ = self.root.attach_image(child, read_only=True)
        seen = self.root.properties(disk)
        self.assertEqual((seen["Depth"], seen["Parents"]), (2, [parent]))
        self.assertIn(seen["Route"], ("ublk", "fuse"))
        self.bed.kill_daemon()
        self.bed.start_daemon()
        seen = self.root.properties(disk)
        self.assertEqual((seen["Depth"], seen["Parents"]), (2, [parent]))
        self.assertBusError("SharingViolation", self.root.open, parent, ATTACH_RW)
        self.root.detach_image(child)
        handle = self.open_info(child)
        location = self.root.info(handle, PARENT_LOCATION)
        self.assertEqual((location["ParentResolved"], location["ParentLocationBuffer"]), (True, [parent]))
        identifier = self.root.info(self.open_info(parent), IDENTIFIER)["Identifier"]
        self.assertEqual(self.root.info(handle, PARENT_IDENTIFIER)["ParentIdentifier"], identifier)
        self.assertBusError("VhdInvalidType", self.root.info, self.open_info(parent), PARENT_LOCATION)

    def test_a_moved_pair_still_works(self):
        self.chain()
        os.mkdir(self.path("moved"))
        for name in ("parent", "child"):
            os.rename(self.image(name), self.image("moved/" + name))
        self.assertEqual(self.read(self.image("moved/child"), MIB, 4096), b"p" * 4096)
        self.assertBusError("VhdParentVhdNotFound", self.open_info, self.image("moved/child"), IGNORE_RELATIVE)

    def test_missing_parent(self):
        parent, child = self.chain()
        os.rename(parent, self.path("elsewhere"))
        for access in (GET_INFO, READ, ATTACH_RW):
            message = self.assertBusError("VhdParentVhdNotFound", self.root.open, child, access)
            self.assertIn("parent", message)
        handle = self.open_info(child, NO_PARENTS)
        location = self.root.info(handle, PARENT_LOCATION)
        self.assertFalse(location["ParentResolved"])
        self.assertTrue(location["ParentLocationBuffer"])
        handle = self.root.open(child, READ, NO_PARENTS)
        self.assertBusError("VhdInvalidState", self.root.attach, handle, READ_ONLY)
        shown = self.bed.run([testbed.program(self.bed.build, "virtdisk"), "info", child]).stdout
        self.assertIn("Parents missing", shown)

    def test_a_parent_that_was_written_is_another(self):
        parent, child = self.chain()
        if self.extension == ".vhd":
            other = self.make("other")
            os.replace(other, parent)
        else:
            self.write(parent, 5 * MIB, b"late")
        self.assertBusError("VhdChildParentIdMismatch", self.root.open, child, READ)
        self.assertBusError("VhdChildParentIdMismatch", self.open_info, child)

    def test_cycle(self):
        _, child = self.chain()
        os.unlink(self.image("parent"))
        os.link(child, self.image("parent"))
        self.assertBusError("VhdDifferencingChainCycleDetected", self.root.open, child, READ)

    def test_error_in_parent(self):
        parent, child = self.chain()
        with open(parent, "r+b") as file:
            file.truncate(1000)
        message = self.assertBusError("VhdDifferencingChainErrorInParent", self.root.open, child, READ)
        self.assertIn(parent, message)
        os.unlink(parent)
        os.mkdir(parent)
        self.assertBusError("VhdDifferencingChainErrorInParent", self.root.open, child, READ)

    def test_many_children_and_no_writer(self):
        parent, child = self.chain()
        second = self.make("second", "parent")
        self.root.attach_image(child)
        self.root.attach_image(second)
        self.root.attach_image(parent, read_only=True)
        self.root.detach_image(parent)
        for access in (ATTACH_RW, METAOPS):
            self.assertBusError("SharingViolation", self.root.open, parent, access)
        self.root.detach_image(child)
        self.root.detach_image(second)
        handle = self.root.open(parent, ATTACH_RW)
        self.assertBusError("SharingViolation", self.root.open, child, READ)
        self.root.close_handle(handle)
        self.root.close_handle(self.root.open(child, READ))

    def test_depth_of_writing(self):
        parent, child = self.chain()
        handle = self.root.open(child, METAOPS, rw_depth=2)
        self.assertBusError("SharingViolation", self.root.open, parent, ATTACH_RO)
        self.assertBusError("SharingViolation", self.root.create, self.image("x"), 0, parent_path=parent)
        self.root.close_handle(handle)
        self.root.close_handle(self.root.open(parent, ATTACH_RO))

    def test_parents_are_opened_as_the_caller(self):
        parent, child = self.chain()
        user = self.connect("vd-first")
        os.chown(child, *USERS["vd-first"][:2])
        os.chmod(parent, 0o600)
        unreadable = self.assertBusError("VhdParentVhdNotFound", self.open_info, child, client=user)
        os.unlink(parent)
        self.assertEqual(self.assertBusError("VhdParentVhdNotFound", self.open_info, child, client=user), unreadable)

    def test_custom_chain(self):
        parent, child = self.chain()
        grandchild = self.make("grandchild", "child")
        other = self.make("other")
        away = self.path("away.bin")
        os.rename(parent, away)
        handle = self.root.open(grandchild, 0, CUSTOM_DIFF_CHAIN, version=2, read_only=True)
        self.assertBusError("VhdInvalidState", self.root.attach, handle, READ_ONLY)
        self.assertBusError("VhdChildParentIdMismatch", self.root.add_parent, handle, other)
        self.assertBusError("VhdParentVhdNotFound", self.root.add_parent, handle, parent)
        self.assertBusError("VhdDifferencingChainCycleDetected", self.root.add_parent, handle, grandchild)
        self.root.add_parent(handle, child)
        self.assertBusError("VhdInvalidState", self.root.attach, handle, READ_ONLY)
        with open(away, "rb") as file:
            self.root.add_parent_fd(handle, file.fileno())
        self.assertBusError("VhdInvalidType", self.root.add_parent, handle, other)
        self.root.attach(handle, READ_ONLY)
        with open(self.root.physical_path(handle), "rb") as disk:
            disk.seek(MIB)
            self.assertEqual(disk.read(4096), b"p" * 4096)
        self.assertBusError("VhdInvalidState", self.root.add_parent, handle, other)
        self.root.close_handle(handle)

    def test_adding_parents_needs_the_right_handle(self):
        parent, child = self.chain()
        self.assertBusError("InvalidParameter", self.root.add_parent, self.open_info(child), parent)
        handle = self.root.open(child, 0, CUSTOM_DIFF_CHAIN, version=2, get_info_only=True)
        self.assertBusError("AccessDenied", self.root.add_parent, handle, parent)
        handle = self.root.open(parent, 0, CUSTOM_DIFF_CHAIN, version=2, read_only=True)
        self.assertBusError("VhdInvalidType", self.root.add_parent, handle, child)
        user = self.connect("vd-first")
        os.chmod(parent, 0o600)
        os.chmod(child, 0o644)
        handle = user.open(child, 0, CUSTOM_DIFF_CHAIN, version=2, read_only=True)
        self.assertBusError("VhdParentVhdAccessDenied", user.add_parent, handle, parent)

    def test_creating_children_of_what_is_none(self):
        missing = self.image("missing")
        self.assertBusError("VhdParentVhdNotFound", self.root.create, self.image("a"), 0, parent_path=missing)
        broken = self.image("broken")
        with open(broken, "wb") as file:
            file.truncate(MIB)
        self.assertBusError("VhdDifferencingChainErrorInParent", self.root.create, self.image("a"), 0,
                            parent_path=broken)
        user = self.connect("vd-first")
        os.mkdir(self.path("own"))
        os.chown(self.path("own"), *USERS["vd-first"][:2])
        parent = self.make("parent")
        self.assertBusError("VhdParentVhdAccessDenied", user.create, self.image("own/a"), 0, parent_path=parent)
        handle = self.root.open(parent, ATTACH_RW)
        self.assertBusError("SharingViolation", self.root.create, self.image("a"), 0, parent_path=parent)
        self.root.close_handle(handle)
        self.assertEqual(sorted(os.listdir(self.dir)), sorted(["own", os.path.basename(broken), os.path.basename(parent)]))

    def test_read_as_others_read_it(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        parent, _ = self.chain()
        raw = self.path("raw.img")
        self.bed.run(["qemu-img", "convert", "-f", "vpc" if self.extension == ".vhd" else "vhdx", "-O", "raw", parent, raw])
        with open(raw, "rb") as file:
            file.seek(MIB)
            self.assertEqual(file.read(4096), b"p" * 4096)


class VhdChain(Chain):
    extension = ".vhd"

    def test_another_size_or_time(self):
        parent, child = self.chain()
        images.vhd_change(child, header={56: struct.pack(">I", 1)})
        self.assertBusError("VhdChildParentTimestampMismatch", self.root.open, child, READ)
        self.root.close_handle(self.root.open(child, 0, version=2, read_only=True, ignore_parent_timestamp=True))
        images.vhd_change(parent, footer={48: struct.pack(">Q", SIZE // 2)})
        message = self.assertBusError("VhdChildParentSizeMismatch", self.root.open, child, READ)
        self.assertIn(str(SIZE // 2), message)

    def test_too_deep(self):
        """As many images as a chain may have, and one more: copies of one child, each a child of the one before."""
        self.make("0")
        child = self.make("child", "0")
        for number in range(1, DEPTH + 1):
            path = shutil.copy(child, self.image(str(number)))
            images.vhd_change(path, footer={68: struct.pack(">QQ", 0, number)}, header={
                40: struct.pack(">QQ", 0, number - 1), 56: bytes(4)} if number > 1 else None)
            images.vhd_parent_place(path, b"W2ru", f"{number - 1}.vhd".encode("utf-16-le"))

        def opened(number):
            return self.root.call(testbed.ROOT, testbed.MANAGER, "OpenVirtualDisk", "(suua{sv})", self.image(str(number)), GET_INFO,
                                  0, {}, deadline=100)[0]

        self.assertIn(str(DEPTH), self.assertBusError("VhdDifferencingChainErrorInParent", opened, DEPTH))
        self.root.close_handle(opened(DEPTH - 1))

    def test_time_of_the_parent(self):
        parent, child = self.chain()
        handle = self.open_info(child)
        self.assertGreaterEqual(self.root.info(handle, PARENT_TIMESTAMP)["ParentTimestamp"], 0)


if __name__ == "__main__":
    sys.exit(testbed.main())
