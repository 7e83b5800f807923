#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What file systems call free, given back when asked for. Each file system is written to until it is full, most of it deleted;
afterwards those who made it must find it whole, and every file as it was. What is not clean, has two owners or shares space is left
as it is.
"""
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys

import served
import testbed
from served import DETACH, METAOPS, MIB

BLOCK = 2 * MIB
NO_ZERO_SCAN = 1
KEPT, GONE = 6, 24  # files, of a MiB each


def content(number, size=MIB + 321):
    return random.Random(number).randbytes(size)


def run(*command, **kwargs):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, **kwargs)


class Mounted:
    """By the kernel, or by a file system in user space."""

    def __init__(self, make, check, mount=("mount",), read_only=("mount", "-o", "ro"), size=128 * MIB):
        self.make, self.check, self.mount, self.read_only, self.size = make, check, mount, read_only, size

    def tools(self):
        return [self.make[0], self.check[0], self.mount[0]]

    def fill(self, test, device):
        folder = test.mounted(device, *self.mount)
        for number in range(KEPT + GONE):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(content(number))
        os.sync()
        for number in range(KEPT, KEPT + GONE):
            os.unlink(f"{folder}/{number}")
        test.unmount(folder)

    def verify(self, test, device):
        folder = test.mounted(device, *self.read_only)
        test.assertEqual(sorted(name for name in os.listdir(folder) if name.isdigit()), [str(number) for number in range(KEPT)])
        for number in range(KEPT):
            with open(f"{folder}/{number}", "rb") as file:
                test.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(content(number)).digest(), number)
        test.unmount(folder)


class Fat(Mounted):
    def tools(self):
        return [self.make[0], self.check[0], "mcopy"]

    def fill(self, test, device):
        for number in range(KEPT + GONE):
            with open(test.path("file"), "wb") as file:
                file.write(content(number))
            run("mcopy", "-i", device, test.path("file"), f"::{number}")
        for number in range(KEPT, KEPT + GONE):
            run("mdel", "-i", device, f"::{number}")

    def verify(self, test, device):
        for number in range(KEPT):
            data = subprocess.run(["mtype", "-i", device, f"::{number}"], check=True, stdin=subprocess.DEVNULL, capture_output=True).stdout
            test.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(content(number)).digest(), number)


class Empty(Mounted):
    """There is nothing here to write files with: what was on the disk before is what is deleted."""

    def tools(self):
        return [self.make[0], self.check[0]]

    def fill(self, test, device):
        pass

    def verify(self, test, device):
        pass


KINDS = {
    "ext4": Mounted(("mkfs.ext4", "-q", "-F", "-E", "nodiscard"), ("e2fsck", "-fn")),
    "ext2": Mounted(("mkfs.ext2", "-q", "-F", "-E", "nodiscard", "-b", "1024"), ("e2fsck", "-fn")),
    "xfs": Mounted(("mkfs.xfs", "-q", "-f", "-K"), ("xfs_repair", "-n"), read_only=("mount", "-o", "ro,nouuid"), size=320 * MIB),
    "ntfs": Mounted(("mkntfs", "-q", "-Q", "-F"), ("ntfsfix", "-n"), ("ntfs-3g",), ("ntfs-3g", "-o", "ro")),
    "fat32": Fat(("mkfs.vfat", "-F", "32"), ("fsck.vfat", "-n")),
    "fat16": Fat(("mkfs.vfat", "-F", "16"), ("fsck.vfat", "-n")),
    "exfat": Empty(("mkfs.exfat",), ("fsck.exfat", "-n")),
}


class FileSystems(served.TestCase):
    def mounted(self, device, *mount):
        folder = self.path("mnt")
        os.makedirs(folder, exist_ok=True)
        run(*mount, device, folder)
        self.addCleanup(subprocess.run, ["umount", folder], stderr=subprocess.DEVNULL, check=False)
        return folder

    def unmount(self, folder):
        run("umount", folder)

    def dirty(self, device, size):
        """What somebody else left there."""
        with open(device, "r+b", buffering=0) as disk:
            for at in range(0, size, BLOCK):
                os.pwrite(disk.fileno(), b"old." * (BLOCK // 4), at)
            os.fsync(disk.fileno())

    def filled(self, kind, name="a", table=False):
        """An image that is as large as its disk, and whose disk is nearly empty."""
        how = KINDS[kind]
        for tool in how.tools():
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not installed")
        path = self.make(name, how.size, block_size=BLOCK)
        device = self.attach(path)
        self.dirty(device, how.size)
        run(*how.make, device)
        how.fill(self, device)
        self.detach(path)
        return path

    def compact(self, path, flags=0, **opts):
        """-> what the job has to tell"""
        handle = self.root.open(path, METAOPS | DETACH)
        try:
            return self.root.wait_job(self.root.compact(handle, flags, deadline=120, **opts))
        finally:
            self.root.close_handle(handle)

    def assertWhole(self, kind, path, device):
        how = KINDS[kind]
        run(*how.check, device)
        how.verify(self, device)

    def detached(self, kind):
        how, path = KINDS[kind], self.filled(kind)
        before = os.stat(path).st_size
        # Nobody asked: only what holds zeros goes.
        self.compact(path)
        self.assertGreater(os.stat(path).st_size, before - how.size // 3)
        told = self.compact(path, file_systems=True)
        self.assertEqual((told["fell-back"], told.get("note", "")), (0, ""))
        self.assertLess(os.stat(path).st_size, before - how.size // 3)
        self.check(path)
        self.assertWhole(kind, path, self.attach(path, read_only=True))
        self.detach(path)

    def test_ext2_detached(self):
        self.detached("ext2")

    def test_fat32_detached(self):
        self.detached("fat32")

    def test_exfat_detached(self):
        self.detached("exfat")

    def test_ext4_detached(self):
        self.detached("ext4")

    def test_xfs_detached(self):
        self.detached("xfs")

    def test_ntfs_detached(self):
        self.detached("ntfs")

    def test_fat16_detached(self):
        self.detached("fat16")

    def test_what_is_not_clean_is_left(self):
        path = self.filled("ext4")
        device = self.attach(path)
        self.mounted(device, "mount")
        frozen = self.path("b" + self.extension)
        os.sync()
        shutil.copyfile(path, frozen)  # as a power cut has it
        self.unmount(self.path("mnt"))
        self.detach(path)
        told = self.compact(frozen, NO_ZERO_SCAN, file_systems=True)
        self.assertEqual(told["fell-back"], 1)
        self.assertEqual(told["note"], "ext: it was not closed cleanly")
        self.assertLess(told["given-back"], KINDS["ext4"].size // 8)  # what was made ready for new blocks

    def test_partitions_that_share_space_are_left(self):
        """The first of two overlaps the other, whose files it calls free."""
        how, size = KINDS["ext4"], 128 * MIB
        path = self.make("a", size, block_size=BLOCK)
        device = self.attach(path)
        self.dirty(device, size)
        table = bytearray(512)
        for index, (start, length) in enumerate([(1, 100), (60, 67)]):
            struct.pack_into("<B3xB3xII", table, 446 + 16 * index, 0, 0x83, start * 2048, length * 2048)
        table[510:] = b"\x55\xaa"
        self.pwrite(device, 0, bytes(table) + bytes(MIB - 512))
        for start, length in ((1, 100), (60, 67)):
            offset = start * MIB
            run(*how.make, "-E", f"nodiscard,offset={offset}", device, f"{length * 1024}k")
        before = self.pread(device, 60 * MIB, 16 * MIB)
        self.detach(path)
        told = self.compact(path, NO_ZERO_SCAN, file_systems=True)
        self.assertEqual(told["fell-back"], 1)
        self.assertLess(told["given-back"], size // 8)
        self.assertIn("share space", told["note"])
        device = self.attach(path, read_only=True)
        self.assertEqual(self.pread(device, 60 * MIB, 16 * MIB), before)


class VhdFileSystems(FileSystems):
    extension, kind = ".vhd", "vpc"


if __name__ == "__main__":
    sys.exit(testbed.main())
