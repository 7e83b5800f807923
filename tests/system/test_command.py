#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs that make and change images, from the command to the file."""
import filecmp
import json
import os
import signal

import served
import testbed
from bed import program
from served import MIB

ITEM = "0b9f1d54-6f0a-4d1e-8c55-010203040506"


class Command(served.TestCase):
    def virtdisk(self, *arguments, **how):
        return self.bed.virtdisk(*arguments, **how)

    def start(self, *arguments):
        return self.bed.background([program(self.bed.build, "virtdisk"), *arguments])

    def json(self, *arguments, **how):
        return json.loads(self.virtdisk(*arguments, "--json", **how).stdout)

    def random_file(self, name, size):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(os.urandom(size // 2))
            file.truncate(size)
        return path

    def test_convert_there_and_back(self):
        source, there, back = self.random_file("a.img", 8 * MIB), self.path("b.vhdx"), self.path("c.img")
        self.virtdisk("convert", "--source-format=raw", "--verify", source, there)
        self.assertEqual(self.json("info", there)["information"]["size"]["virtual-size"], 8 * MIB)
        self.virtdisk("convert", "--format=raw", there, back)
        self.assertTrue(filecmp.cmp(source, back, shallow=False))
        self.virtdisk("check", "--quiet", there)

    def test_create_fixed(self):
        made = self.json("create", "--type=fixed", "--size=8MiB", "--mode=0600", self.path("a.vhd"))
        self.assertEqual(made["virtual-size"], 8 * MIB)
        self.assertEqual(os.stat(self.path("a.vhd")).st_mode & 0o777, 0o600)

    def test_chain_and_set(self):
        parent = self.make("parent", 64 * MIB)
        child = self.make("child", 0, 0, "parent")
        other = self.make("other", 64 * MIB)
        chain = self.json("chain", child)
        self.assertEqual([link["path"] for link in chain], [child, parent])
        self.assertTrue(chain[0]["fits"], chain)
        os.rename(parent, self.path("moved.vhdx"))
        self.assertEqual(self.virtdisk("chain", child, check=False).returncode, 7)
        self.assertEqual(self.virtdisk("set", "--parent=" + other, child, check=False).returncode, 7)
        self.virtdisk("set", "--parent=" + self.path("moved.vhdx"), child)
        self.assertTrue(self.json("chain", child)[0]["fits"])

    def test_set_and_info(self):
        image = self.make("disk", 64 * MIB)
        before = self.json("info", image)["information"]["virtual-disk-id"]["virtual-disk-id"]
        self.virtdisk("set", "--disk-id=random", image)
        self.virtdisk("set", "--physical-sector-size=512", image)
        told = self.json("info", image)["information"]
        self.assertNotEqual(told["virtual-disk-id"]["virtual-disk-id"], before)
        self.assertEqual(told["vhd-physical-sector-size"]["vhd-physical-sector-size"], 512)

    def test_metadata(self):
        image, item = self.make("disk", 64 * MIB), self.random_file("item", 5000)
        self.virtdisk("metadata", "set", image, ITEM, item)
        self.assertEqual(self.virtdisk("metadata", "list", image).stdout.strip().strip("{}").lower(), ITEM)
        self.virtdisk("metadata", "get", image, ITEM, self.path("back"))
        self.assertTrue(filecmp.cmp(item, self.path("back"), shallow=False))
        self.virtdisk("metadata", "delete", image, ITEM)
        self.assertEqual(self.virtdisk("metadata", "get", image, ITEM, check=False).returncode, 4)

    def test_sizes(self):
        image = self.make("disk", 64 * MIB)
        self.virtdisk("expand", image, "96MiB")
        self.virtdisk("resize", image, "+32MiB")
        self.assertEqual(self.json("info", image)["information"]["size"]["virtual-size"], 128 * MIB)
        self.virtdisk("resize", "--unsafe", "--", image, "-64MiB")
        self.assertEqual(self.json("info", image)["information"]["size"]["virtual-size"], 64 * MIB)

    def test_compact_and_merge(self):
        self.make("parent", 64 * MIB)
        child = self.make("child", 0, 0, "parent")
        self.assertIn("given back", self.virtdisk("compact", child).stdout)
        self.virtdisk("merge", child)

    def test_detached_job(self):
        source, there = self.random_file("a.img", 8 * MIB), self.path("b.vhdx")
        job = self.virtdisk("convert", "--source-format=raw", "--detach-job", source, there).stdout.strip()
        self.virtdisk("jobs", "wait", job)
        self.assertIn(job, [each["job"] for each in self.json("jobs")])
        self.assertTrue(os.path.exists(there))

    def test_interrupted(self):
        """Whenever the signal comes, there is all of the image or nothing of it."""
        source, there = self.random_file("a.img", 256 * MIB), self.path("b.vhdx")
        process = self.start("convert", "--source-format=raw", source, there)
        self.bed.wait(lambda: self.json("jobs") or process.poll() is not None, "a job")
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        self.assertIn(code, (0, 130))
        self.assertEqual(os.path.exists(there), code == 0)
        self.assertEqual([name for name in os.listdir(self.dir) if name not in ("a.img", "b.vhdx")], [])


if __name__ == "__main__":
    served.keep_host_mounts()
    testbed.main()
