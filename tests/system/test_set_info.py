#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SetVirtualDiskInformation: what an image says of itself afterwards. What is refused is in operation_rows.py."""
import os
import sys

import testbed

MIB = 1 << 20
GET_INFO, METAOPS = 0x80000, 0x200000
NO_PARENTS = 1
IDENTIFIER, PARENT_LOCATION, PARENT_IDENTIFIER, DISK_ID = 2, 3, 4, 14
GUID = "01234567-89ab-cdef-0123-456789abcdef"


class SetInfo(testbed.TestCase):
    def make(self, name, parent=None):
        path = self.path(name)
        opts = {"parent_path": self.path(parent)} if parent else {}
        self.root.close_handle(self.root.create(path, 0 if parent else 64 * MIB, **opts))
        return path

    def info(self, name, version, flags=0):
        handle = self.root.open(self.path(name), GET_INFO, flags)
        try:
            return self.root.info(handle, version)
        finally:
            self.root.close_handle(handle)

    def set(self, name, version, flags=0, rw_depth=1, **info):
        handle = self.root.open(self.path(name), METAOPS, flags, rw_depth=rw_depth)
        self.root.set_info(handle, version, **info)
        self.root.close_handle(handle)

    def test_identifiers(self):
        for name in ("a.vhd", "a.vhdx"):
            self.make(name)
            self.set(name, 2, UniqueIdentifier=GUID)
            self.assertEqual(self.info(name, IDENTIFIER)["Identifier"], GUID)
        self.set("a.vhdx", 5, VirtualDiskId=GUID)
        self.assertEqual(self.info("a.vhdx", DISK_ID)["VirtualDiskId"], GUID)

    def test_parent_that_was_renamed(self):
        for kind in ("vhd", "vhdx"):
            self.make(f"p.{kind}")
            self.make(f"c.{kind}", f"p.{kind}")
            os.rename(self.path(f"p.{kind}"), self.path(f"moved.{kind}"))
            self.assertBusError("VhdParentVhdNotFound", self.root.open, self.path(f"c.{kind}"), METAOPS)
            self.set(f"c.{kind}", 1, NO_PARENTS, ParentFilePath=self.path(f"moved.{kind}"))
            found = self.info(f"c.{kind}", PARENT_LOCATION)
            self.assertEqual((found["ParentResolved"], found["ParentLocationBuffer"]),
                             (True, [self.path(f"moved.{kind}")]))

    def test_parent_of_a_middle_image(self):
        self.make("p.vhdx")
        self.make("other.vhdx")
        self.make("m.vhdx", "p.vhdx")
        self.make("c.vhdx", "m.vhdx")
        self.set("c.vhdx", 3, rw_depth=2, ChildDepth=2, ParentFilePath=self.path("other.vhdx"))
        self.assertEqual(self.info("m.vhdx", PARENT_LOCATION)["ParentLocationBuffer"], [self.path("other.vhdx")])
        self.assertEqual(self.info("m.vhdx", PARENT_IDENTIFIER)["ParentIdentifier"],
                         self.info("other.vhdx", IDENTIFIER)["Identifier"])

    def test_handle_does_not_show_another_chain_than_the_image_says(self):
        self.make("p.vhdx")
        self.make("other.vhdx")
        self.make("c.vhdx", "p.vhdx")
        handle = self.root.open(self.path("c.vhdx"), 0, version=2)
        self.root.set_info(handle, 1, ParentFilePath=self.path("other.vhdx"))
        self.assertBusError("VhdInvalidState", self.root.attach, handle)

    def test_locator_as_it_is_given(self):
        self.make("p.vhdx")
        self.make("c.vhdx", "p.vhdx")
        self.set("c.vhdx", 7, NO_PARENTS, LinkageId=GUID, ParentFilePath=self.path("nowhere.vhdx"))
        self.assertEqual(self.info("c.vhdx", PARENT_IDENTIFIER, NO_PARENTS)["ParentIdentifier"], GUID)


if __name__ == "__main__":
    sys.exit(testbed.main())
