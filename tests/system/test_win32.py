#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sample programs of the Windows names, one for each function, against the service: each looks at what it is answered."""
import unittest

import served
import testbed
from bed import program


class Win32(served.TestCase):
    def sample(self, name, *arguments):
        found = program(self.bed.build, "win32-" + name)
        if not found:
            raise unittest.SkipTest("the samples are not in the build tree")
        return self.bed.run([found, *arguments]).stdout

    def make_chain(self):
        parent = self.make("parent", 64 * served.MIB)
        return parent, self.make("child", 0, 0, "parent")

    def test_create_and_open(self):
        self.sample("create", self.image("new"))
        self.sample("open", self.image("new"))

    def test_attach(self):
        device = self.sample("attach", self.make("disk", 64 * served.MIB)).strip()
        self.assertTrue(device.startswith("/dev/"), device)

    def test_information(self):
        self.assertEqual(self.sample("info", self.make("disk", 64 * served.MIB)), f"{64 << 20} bytes, 512 in a sector\n")

    def test_compact(self):
        self.sample("compact", self.make("disk", 64 * served.MIB))

    def test_expand_and_resize(self):
        self.sample("expand", self.make("disk", 64 * served.MIB))

    def test_merge(self):
        self.sample("merge", self.make_chain()[1])

    def test_add_parent(self):
        parent, child = self.make_chain()
        self.sample("parent", child, parent)

    def test_metadata(self):
        self.sample("metadata", self.make("disk", 64 * served.MIB))

    def test_what_is_not_there(self):
        self.sample("unsupported", self.make("disk", 64 * served.MIB))


if __name__ == "__main__":
    served.keep_host_mounts()
    testbed.main()
