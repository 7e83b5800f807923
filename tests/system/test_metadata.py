#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""User metadata of a VHDX: what is set is there, for whoever opens the image later; how much there may be; what is refused."""
import os
import struct
import sys
import uuid

import served
import testbed
from served import FIXED, METAOPS, MIB
from gi.repository import GLib

ITEMS = 1024  # the most that an image has
ID = "01234567-89ab-cdef-0123-456789abcdef"
OTHER = "fedcba98-7654-3210-fedc-ba9876543210"
THIRD = "11111111-2222-3333-4444-555555555555"
SYSTEM = "2fa54224-cd1b-4876-b211-5dbed83bf4b8"  # the size of the disk


class Metadata(served.TestCase):
    def open(self, name="disk", mask=0, version=2, client=None, **opts):
        client = client or self.root
        handle = client.open(self.image(name), mask, version=version, **opts)
        self.addCleanup(self.closed, client, handle)
        return handle

    @staticmethod
    def closed(client, handle):
        try:
            client.close_handle(handle)
        except (testbed.BusError, GLib.Error):
            pass  # it was closed by the test, or the service has ended

    def set(self, handle, item, data):
        self.root.operate(handle, "SetVirtualDiskMetadata", "say", item, data)

    def get(self, handle, item):
        return bytes(self.root.operate(handle, "GetVirtualDiskMetadata", "s", item) or b"")

    def delete(self, handle, item):
        self.root.operate(handle, "DeleteVirtualDiskMetadata", "s", item)

    def items(self, handle):
        return self.root.operate(handle, "EnumerateVirtualDiskMetadata", "") or []

    def reopen(self, handle, **opts):
        self.root.close_handle(handle)
        return self.open(**opts)

    def test_round_trip(self):
        self.make("disk")
        handle = self.open()
        self.assertEqual(self.items(handle), [])
        for item, data in ((ID, b"some words"), (OTHER, os.urandom(300000)), (THIRD, b"")):
            self.set(handle, item, data)
            self.assertEqual(self.get(handle, item), data)
        self.assertEqual(self.items(handle), [ID, OTHER, THIRD])
        self.set(handle, ID, b"others, and more of them")
        handle = self.reopen(handle)
        self.assertEqual(self.get(handle, ID), b"others, and more of them")
        self.delete(handle, OTHER)
        self.assertEqual(self.items(handle), [ID, THIRD])
        self.assertBusError("NotFound", self.get, handle, OTHER)
        self.assertBusError("NotFound", self.delete, handle, OTHER)
        self.root.close_handle(handle)
        self.check(self.image("disk"))

    def test_it_is_nothing_of_the_disk(self):
        self.make("disk", 64 * MIB)
        handle = self.open()
        self.set(handle, SYSTEM, bytes(8))
        self.root.close_handle(handle)
        handle = self.open(get_info_only=True)
        self.assertEqual(self.root.info(handle, 1)["VirtualSize"], 64 * MIB)
        self.root.close_handle(handle)
        device = self.attach(self.image("disk"), read_only=True)
        self.assertEqual(self.pread(device, 0, MIB), bytes(MIB))
        self.detach(self.image("disk"))

    def test_largest_item(self):
        self.make("disk")
        handle = self.open()
        data = os.urandom(MIB)
        for item in (ID, OTHER):
            self.set(handle, item, data)
        self.set(handle, ID, data[::-1])
        handle = self.reopen(handle)
        self.assertEqual(self.get(handle, ID), data[::-1])
        self.assertEqual(self.get(handle, OTHER), data)
        self.assertBusError("InvalidParameter", self.set, handle, ID, bytes(MIB + 1))
        self.root.close_handle(handle)
        self.check(self.image("disk"))

    def test_refused(self):
        self.make("disk")
        handle = self.open()
        for item in ("", "none", "00000000-0000-0000-0000-000000000000", ID + "0"):
            with self.subTest(item):
                self.assertBusError("InvalidParameter", self.set, handle, item, b"data")
                self.assertBusError("InvalidParameter", self.get, handle, item)
        self.root.close_handle(handle)

    def test_rights(self):
        self.make("disk")
        handle = self.open()
        self.set(handle, ID, b"data")
        self.root.close_handle(handle)
        handle = self.open(mask=METAOPS, version=1)
        self.assertBusError("InvalidParameter", self.set, handle, OTHER, b"data")
        self.root.close_handle(handle)
        handle = self.open(read_only=True)
        self.assertBusError("AccessDenied", self.set, handle, OTHER, b"data")
        self.assertBusError("AccessDenied", self.delete, handle, ID)
        self.root.close_handle(handle)

    def test_other_formats_have_none(self):
        self.extension = ".vhd"
        self.make("disk", flags=FIXED)
        handle = self.open()
        self.assertBusError("VhdInvalidType", self.set, handle, ID, b"data")
        self.assertBusError("VhdInvalidType", self.items, handle)
        self.root.close_handle(handle)

    def test_not_while_it_is_attached(self):
        self.make("disk")
        handle = self.open()
        self.root.attach(handle)
        self.assertBusError("VhdInvalidState", self.set, handle, ID, b"data")
        self.root.detach(handle)
        self.set(handle, ID, b"data")
        self.root.close_handle(handle)

    def test_a_child_keeps_its_parent(self):
        """What is set on a child is the child's; the parent stays what the child knows."""
        self.make("base")
        self.make("child", parent="base")
        handle = self.open("child")
        self.set(handle, ID, b"data")
        self.assertEqual(self.items(handle), [ID])
        self.root.close_handle(handle)
        self.check(self.image("child"), chain_of_one=False)
        device = self.attach(self.image("child"), read_only=True)
        self.pread(device, 0, 4096)
        self.detach(self.image("child"))

    def test_what_is_set_is_a_new_content(self):
        """Children made before know it by the DataWriteGuid."""
        self.make("disk")
        before = served.vhdx_headers(self.image("disk"))[0]
        handle = self.open()
        self.set(handle, ID, b"data")
        self.root.close_handle(handle)
        after = served.vhdx_headers(self.image("disk"))[0]
        self.assertNotEqual(before[1], after[1])
        self.assertNotEqual(before[2], after[2])
        self.assertFalse(served.has_log(self.image("disk")))

    def fill_table(self, path, items):
        """Items of a user without content, as another program may have left them."""
        with open(path, "r+b") as file:
            file.seek(2 * MIB)  # where the service puts the metadata of a new image
            table = bytearray(file.read(65536))
            self.assertEqual(table[:8], b"metadata")
            count, = struct.unpack_from("<H", table, 10)
            for number, item in enumerate(items, count):
                struct.pack_into("<16sIIII", table, 32 + 32 * number, uuid.UUID(item).bytes_le, 0, 0, 3, 0)
            struct.pack_into("<H", table, 10, count + len(items))
            file.seek(2 * MIB)
            file.write(table)

    def test_most_items(self):
        self.make("disk")
        made = [str(uuid.UUID(int=number + 1)) for number in range(ITEMS - 1)]
        self.fill_table(self.image("disk"), made)
        handle = self.open()
        self.set(handle, ID, b"the last one")
        self.assertEqual(self.items(handle), made + [ID])
        self.assertBusError("VhdMetadataFull", self.set, handle, OTHER, b"one more")
        self.set(handle, made[5], b"in the place of nothing")
        handle = self.reopen(handle)
        self.assertEqual(self.items(handle), made + [ID])
        self.assertEqual(self.get(handle, made[5]), b"in the place of nothing")
        self.assertEqual(self.get(handle, made[6]), b"")
        self.delete(handle, made[0])
        self.set(handle, OTHER, b"there is room again")
        self.assertEqual(self.items(handle), made[1:] + [ID, OTHER])
        self.root.close_handle(handle)
        self.check(self.image("disk"))


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
