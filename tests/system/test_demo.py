#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What "data/install.sh --demo" shows after it has installed, on this machine: its commands, run against the build."""
import os
import shutil
import sys

import testbed


class Demo(testbed.TestCase):
    def test_it_succeeds(self):
        for name in ("mkfs.ext4", "xorriso", "busctl", "blkid"):
            if not shutil.which(name):
                self.skipTest(f"{name} is not installed")
        os.mkdir(self.path("bin"))
        os.symlink(testbed.program(self.bed.build, "virtdisk"), self.path("bin", "virtdisk"))
        said = self.bed.run([f"{testbed.SOURCE}/data/demo.sh", self.dir], check=False, deadline=100)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertEqual(said.stdout.splitlines()[-1], "virtdisk: installed, and the demonstration succeeded")
        self.assertIn("20000000 bytes compared: the same", said.stdout)
        self.assertRegex(said.stdout, r"Route: +(fuse|ublk)")
        self.assertEqual(self.root.all_paths(), [])


if __name__ == "__main__":
    sys.exit(testbed.main())
