#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A double click and what comes of it: shown, ejected, shown again, and a sentence for each thing that can go wrong."""
import os

import desktop
import testbed
from desktop import USER


class Desktop(desktop.TestCase):
    def mine(self, name="disk.img", fs="ext4", size=16 << 20):
        path = self.image(os.path.join("home", name), fs, size)
        os.chown(path, *testbed.USERS[USER][:2])
        return path

    def test_open_shows_the_folder_and_eject_ends_it(self):
        image = self.mine()
        opened = self.open(image)
        self.assertEqual((opened.returncode, opened.stderr), (0, ""))
        folder = opened.stdout.strip()
        self.assertEqual(self.mounted(), [folder])
        self.assertShown(folder)
        note = self.note("is open")
        self.assertEqual(note["actions"], ["default", "eject"])
        self.assertEqual(self.udisks.options, ["ro,nosuid,nodev"])
        self.notes.press(note["id"], "eject")
        self.wait_gone(image)
        self.assertEqual(self.note("was ejected")["id"], note["id"])


if __name__ == "__main__":
    testbed.main()
