#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ExpandVirtualDisk and ResizeVirtualDisk: what a disk shows before, behind and at its new end, what the file gives back, and
that no partition is cut off unless that is asked for."""
import json
import os
import shutil
import subprocess
import sys
import time

import served
import testbed
from served import FIXED, METAOPS, MIB

GIB = 1 << 30
ALLOW_UNSAFE, TO_SMALLEST = 1, 2
SIZE, SMALLEST, FRAGMENTATION = 1, 11, 12
SECTOR = 512


class Resize(served.TestCase):
    def with_handle(self, name, function, *arguments, **opts):
        opts = opts or {"version": 2}
        handle = self.root.open(self.image(name), opts.pop("mask", 0), **opts)
        try:
            return function(handle, *arguments)
        finally:
            self.root.close_handle(handle)

    def resize(self, name, size, flags=0):
        self.with_handle(name, self.root.resize, size, flags)

    def expand(self, name, size):
        self.with_handle(name, self.root.expand, size)

    def info(self, name, version):
        return self.with_handle(name, self.root.info, version)

    def assert_size(self, name, size, others=True):
        self.assertEqual(self.info(name, SIZE)["VirtualSize"], size)
        if others and self.kind in ("vhdx", "raw") and shutil.which("qemu-img"):
            found = json.loads(self.bed.run(["qemu-img", "info", "--output=json", "-f", self.kind, self.image(name)]).stdout)
            self.assertEqual(found["virtual-size"], size)
        if self.kind != "raw":
            self.check(self.image(name), chain_of_one=others)

    def fill(self, name, *pieces):
        """(offset, data) of the disk, written through a device."""
        device = self.attach(self.image(name))
        for offset, data in pieces:
            self.pwrite(device, offset, data)
        self.detach(self.image(name))

    def assert_holds(self, name, *pieces):
        device = self.attach(self.image(name), read_only=True)
        for offset, data in pieces:
            self.assertEqual(self.pread(device, offset, len(data)), data, f"at {offset}")
        self.detach(self.image(name))

    def partitioned(self, name, label, size=256 * MIB, partitions="size=32M\nsize=64M\n"):
        """-> the size that its table needs"""
        self.make(name, size)
        device = self.attach(self.image(name))
        subprocess.run(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", device], check=True, text=True,
                       input=f"label: {label}\n{partitions}")
        found = json.loads(self.bed.run(["sfdisk", "--json", device]).stdout)["partitiontable"]
        self.detach(self.image(name))
        end = max((each["start"] + each["size"] for each in found.get("partitions", [])), default=0) * SECTOR
        return end + (33 * SECTOR if label == "gpt" else 0)

    def needs_sfdisk(self):
        if not shutil.which("sfdisk"):
            self.skipTest("sfdisk is not installed")

    # -- larger

    def test_grow(self):
        for name, flags, opts in (("dynamic", 0, {}), ("fixed", FIXED, {}), ("4k", 0, {"sector_size": 4096}),
                                  ("small-blocks", 0, {"block_size": MIB})):
            with self.subTest(name):
                self.make(name, 64 * MIB, flags, **opts)
                start, end = os.urandom(MIB), os.urandom(MIB)
                self.fill(name, (0, start), (63 * MIB, end))
                self.expand(name, 200 * MIB)
                self.assert_size(name, 200 * MIB, others="sector_size" not in opts)  # qemu-img knows one sector size alone
                self.assert_holds(name, (0, start), (63 * MIB, end), (64 * MIB, bytes(MIB)), (199 * MIB, bytes(MIB)))
                self.fill(name, (199 * MIB, end))
                self.resize(name, 300 * MIB)
                self.assert_holds(name, (0, start), (199 * MIB, end), (200 * MIB, bytes(MIB)))
                if flags & FIXED:
                    self.assertGreaterEqual(os.stat(self.image(name)).st_blocks * 512, 300 * MIB)

    def test_grow_takes_no_time(self):
        self.make("large", GIB, block_size=MIB)
        data = os.urandom(MIB)
        self.fill("large", (GIB - MIB, data))
        begin = time.monotonic()
        self.expand("large", 60 << 40)
        took = time.monotonic() - begin
        self.assert_size("large", 60 << 40)
        self.assertLess(os.stat(self.image("large")).st_blocks * 512, 64 * MIB)
        self.assert_holds("large", (GIB - MIB, data), ((60 << 40) - MIB, bytes(MIB)))
        self.assertLess(took, 20, "it depends on the size of the disk")

    def test_what_was_cut_off_does_not_come_back(self):
        self.make("disk", 64 * MIB, block_size=MIB)
        data = os.urandom(MIB)
        self.fill("disk", *((offset, data) for offset in range(0, 64 * MIB, 4 * MIB)))
        before = os.stat(self.image("disk")).st_size
        self.resize("disk", 20 * MIB + 4096, ALLOW_UNSAFE)
        self.assert_size("disk", 20 * MIB + 4096)
        self.assertLess(os.stat(self.image("disk")).st_size, before)
        self.expand("disk", 64 * MIB)
        self.assert_holds("disk", (16 * MIB, data), (20 * MIB, data[:4096] + bytes(MIB - 4096)), (60 * MIB, bytes(MIB)))

    def test_a_vhd_grows(self):
        self.extension, self.kind = ".vhd", "vpc"
        for name, flags in (("dynamic", 0), ("fixed", FIXED)):
            with self.subTest(name):
                self.make(name, 64 * MIB, flags)
                data = os.urandom(MIB)
                self.fill(name, (63 * MIB, data))
                self.expand(name, 128 * MIB)
                self.assertEqual(self.info(name, SIZE)["VirtualSize"], 128 * MIB)
                self.assert_holds(name, (63 * MIB, data), (64 * MIB, bytes(MIB)), (127 * MIB, bytes(MIB)))
                self.assertBusError("VhdInvalidType", self.resize, name, 64 * MIB, ALLOW_UNSAFE)

    def test_a_raw_image(self):
        self.extension, self.kind = ".img", "raw"
        data = os.urandom(MIB)
        with open(self.image("disk"), "wb") as file:
            file.write(data)
            file.truncate(64 * MIB)
        self.expand("disk", 128 * MIB)
        self.assert_size("disk", 128 * MIB)
        # More than a VHD can have, and less than one needs.
        self.expand("disk", 3 << 40)
        self.assert_size("disk", 3 << 40)
        self.resize("disk", MIB, ALLOW_UNSAFE)
        self.assert_size("disk", MIB)
        with open(self.image("disk"), "rb") as file:
            self.assertEqual(file.read(MIB), data)

    # -- smaller

    def test_partitions_are_not_cut_off(self):
        self.needs_sfdisk()
        for label in ("gpt", "dos"):
            with self.subTest(label):
                needed = self.partitioned(label, label)
                self.assertEqual(self.info(label, SMALLEST)["SmallestSafeVirtualSize"], needed)
                self.assertBusError("VhdResizeWouldTruncateData", self.resize, label, needed - SECTOR)
                self.assert_size(label, 256 * MIB)
                self.resize(label, needed + MIB)
                self.assert_size(label, needed + MIB)
                self.resize(label, 0, TO_SMALLEST)
                self.assert_size(label, needed)
                self.assertBusError("VhdAlreadyAtOrBelowMinimumVirtualSize", self.resize, label, 0, TO_SMALLEST)
                self.resize(label, needed - 8 * MIB, ALLOW_UNSAFE)
                self.assert_size(label, needed - 8 * MIB)

    def test_an_extended_partition_counts_as_a_whole(self):
        self.needs_sfdisk()
        needed = self.partitioned("disk", "dos", partitions="size=16M\nsize=64M,type=5\n")
        self.assertBusError("VhdResizeWouldTruncateData", self.resize, "disk", needed - SECTOR)
        self.resize("disk", 0, TO_SMALLEST)
        self.assert_size("disk", needed)

    def test_partitions_of_a_parent(self):
        self.needs_sfdisk()
        needed = self.partitioned("base", "gpt")
        self.make("child", parent="base")
        self.assertEqual(self.info("child", SMALLEST)["SmallestSafeVirtualSize"], needed)
        self.assertBusError("VhdInvalidType", self.expand, "child", GIB)
        self.assertBusError("VhdInvalidType", self.resize, "child", 128 * MIB, ALLOW_UNSAFE)

    def test_no_partitions_say_how_much_is_needed(self):
        self.make("empty", 64 * MIB)
        self.assertBusError("VhdCouldNotComputeMinimumVirtualSize", self.resize, "empty", 32 * MIB)
        self.assertBusError("VhdCouldNotComputeMinimumVirtualSize", self.resize, "empty", 0, TO_SMALLEST)
        self.resize("empty", 32 * MIB, ALLOW_UNSAFE)
        self.assert_size("empty", 32 * MIB)
        self.make("whole", 64 * MIB)
        device = self.attach(self.image("whole"))
        self.bed.run(["mkfs.ext4", "-q", device])
        self.detach(self.image("whole"))
        self.assertBusError("VhdCouldNotComputeMinimumVirtualSize", self.resize, "whole", 32 * MIB)

    def test_a_table_that_lies_is_not_believed(self):
        self.needs_sfdisk()
        self.partitioned("disk", "gpt")
        device = self.attach(self.image("disk"))
        for offset in (SECTOR, 255 * MIB + MIB - SECTOR):
            page = offset - offset % 4096
            data = bytearray(self.pread(device, page, 4096))
            data[offset - page + 80] ^= 1  # number of entries
            self.pwrite(device, page, bytes(data))
        self.detach(self.image("disk"))
        self.assertBusError("VhdCouldNotComputeMinimumVirtualSize", self.resize, "disk", 128 * MIB)

    # -- who, when

    def test_parameters(self):
        self.make("disk", 64 * MIB)
        for name, call in (("InvalidParameter", lambda: self.expand("disk", 64 * MIB)),
                           ("InvalidParameter", lambda: self.expand("disk", 65 * MIB + 1)),
                           ("InvalidParameter", lambda: self.resize("disk", 0)),
                           ("InvalidParameter", lambda: self.resize("disk", 32 * MIB, TO_SMALLEST)),
                           ("VhdInvalidSize", lambda: self.expand("disk", (64 << 40) + 512))):
            self.assertBusError(name, call)
        self.assert_size("disk", 64 * MIB)

    def test_not_while_it_is_attached(self):
        self.make("disk", 64 * MIB)
        handle = self.root.open(self.image("disk"), 0, version=2)
        self.root.attach(handle)
        self.assertBusError("VhdInvalidState", self.root.expand, handle, 128 * MIB)
        self.root.detach(handle)
        self.root.expand(handle, 128 * MIB)
        self.root.close_handle(handle)
        self.assert_size("disk", 128 * MIB)

    def test_handles_of_version_1(self):
        self.make("disk", 64 * MIB)
        self.with_handle("disk", self.root.expand, 128 * MIB, mask=METAOPS, version=1)
        self.assert_size("disk", 128 * MIB)

    def test_full_file_system(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "virtdisk-test", small], check=True)
        try:
            self.make("small/disk", 64 * MIB, FIXED)
            before = os.stat(self.image("small/disk")).st_size
            self.assertBusError("DiskFull", self.expand, "small/disk", GIB)
            self.assertEqual(os.stat(self.image("small/disk")).st_size, before)
            self.assert_size("small/disk", 64 * MIB)
        finally:
            self.bed.wait(lambda: subprocess.run(["umount", small], check=False).returncode == 0, "the unmount", 10)

    def test_fragmentation(self):
        self.make("disk", 64 * MIB, block_size=MIB)
        data = os.urandom(MIB)
        self.fill("disk", *((offset * MIB, data) for offset in range(8)))
        self.assertEqual(self.info("disk", FRAGMENTATION)["FragmentationPercentage"], 0)
        self.make("scattered", 64 * MIB, block_size=MIB)
        self.fill("scattered", *((offset * MIB, data) for offset in (7, 5, 3, 1, 6, 4, 2, 0)))
        self.assertGreater(self.info("scattered", FRAGMENTATION)["FragmentationPercentage"], 50)


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
