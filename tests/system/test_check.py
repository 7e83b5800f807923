#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CheckImage: what is found in good and in damaged images, who may look, and what a repair leaves."""
import fcntl
import filecmp
import json
import os
import shutil
import subprocess
import sys
import unittest

import testbed
from testbed import MANAGER, ROOT, USERS

MIB = 1 << 20
READ = 0xD0000
FIXED = 1
HEADER_1, HEADER_2, REGIONS_1, REGIONS_2 = 64 << 10, 128 << 10, 192 << 10, 256 << 10


class Check(testbed.TestCase):
    def check(self, path, client=None, **opts):
        return (client or self.root).call(ROOT, MANAGER, "CheckImage", "(sa{sv})", path, testbed.options(**opts))[0]

    def make(self, name, size=64 * MIB, flags=0, **opts):
        path = self.path(name)
        self.root.close_handle(self.root.create(path, size, flags, **opts))
        return path

    def damage(self, path, *offsets):
        with open(path, "r+b") as file:
            for offset in offsets:
                file.seek(offset)
                file.write(b"damaged")
        return path

    def command(self, *arguments):
        return subprocess.run([testbed.program(self.bed.build, "virtdisk"), "check", *arguments], capture_output=True,
                              text=True, env=self.bed.environment(), check=False)

    def kinds(self, found):
        return [fault[0] for fault in found["faults"]]

    def assert_clean(self, found):
        self.assertEqual(found["faults"], [])
        self.assertEqual([found[key] for key in ("notes", "leaks", "minor", "serious", "repairable", "leaked")], [0] * 6)

    def assert_others_agree(self, path):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        # It is not asked to repair: what is wrong still is told by its exit code.
        result = subprocess.run(["qemu-img", "check", "-f", "vhdx", path], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_good_images(self):
        parent = self.make("parent.vhdx")
        for path in (parent, self.make("a.vhdx", flags=FIXED), self.make("b.vhd"), self.make("c.vhd", flags=FIXED),
                     self.make("child.vhdx", 0, parent_path=parent), testbed.images.raw(self.path("d.raw"))):
            with self.subTest(path):
                before = os.stat(path)
                self.assert_clean(self.check(path))
                if not path.endswith(".raw"):
                    found = self.check(path, repair=True)
                    self.assert_clean(found)
                    self.assertFalse(found["repaired"])
                self.assertEqual(self.command(path).returncode, 0)
                self.assertEqual(os.stat(path).st_mtime_ns, before.st_mtime_ns)

    def test_damaged_copies_are_found_and_mended(self):
        for offset in (HEADER_1, HEADER_2, REGIONS_1, REGIONS_2):
            with self.subTest(offset):
                path = self.damage(self.make(f"{offset}.vhdx"), offset + 100)
                kind, repairable, where, _, message = self.check(path)["faults"][0]
                self.assertEqual((kind, repairable, where), ("minor", True, offset + 4))
                self.assertIn(str(offset), message)
                found = self.check(path, repair=True)
                self.assert_clean(found)
                self.assertTrue(found["repaired"])
                self.assertFalse(self.check(path, repair=True)["repaired"])
                self.assert_others_agree(path)

    def test_vhd_without_its_trailer(self):
        path = self.make("a.vhd")
        os.truncate(path, os.stat(path).st_size - 512)
        self.assertEqual(self.kinds(self.check(path)), ["minor"])
        self.assert_clean(self.check(path, repair=True))
        with open(path, "rb") as file:
            data = file.read()
        self.assertEqual(data[:512], data[-512:])

    def test_image_that_was_not_closed(self):
        path, copy, whole = self.make("a.vhdx"), self.path("copy.vhdx"), self.path("whole.raw")
        handle = self.root.open(path, 0, version=2)
        self.root.attach(handle)
        device = self.root.physical_path(handle)
        data = os.urandom(2 * MIB)
        with open(device, "r+b") as disk:
            disk.seek(40 * MIB)
            disk.write(data)
            disk.flush()
            os.fsync(disk.fileno())
            # As a power cut leaves it.
            shutil.copyfile(path, copy)
        self.root.close_handle(handle)
        self.bed.wait(lambda: not self.root.all_paths(), "the disk is gone")
        found = self.check(copy)
        self.assertEqual([fault[:2] for fault in found["faults"]], [("note", True)])
        self.assertEqual(self.command(copy).returncode, 0, "a note is no fault")
        shutil.copyfile(copy, whole)
        self.check(copy)
        self.assertTrue(filecmp.cmp(copy, whole, shallow=False), "a check has written")
        found = self.check(copy, repair=True)
        self.assert_clean(found)
        self.assertTrue(found["repaired"])
        self.assert_others_agree(copy)
        subprocess.run(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", copy, whole], check=True)
        with open(whole, "rb") as file:
            file.seek(40 * MIB)
            self.assertEqual(file.read(len(data)), data)

    def test_image_that_cannot_be_opened(self):
        path = self.make("a.vhdx", block_size=MIB)
        # The table of blocks: entries of a state that there is not, and far behind the end of the file.
        with open(path, "r+b") as file:
            table = next(at for at in range(MIB, os.stat(path).st_size, MIB) if self.is_bat(file, at))
            file.seek(table)
            file.write((4).to_bytes(8, "little") + (1 << 40 | 6).to_bytes(8, "little"))
        with self.assertRaises(testbed.BusError):
            self.root.open(path, READ)
        found = self.check(path)
        self.assertEqual([(fault[0], fault[2]) for fault in found["faults"]], [("serious", table), ("serious", table + 8)])
        self.damage(path, HEADER_1 + 100)
        found = self.check(path, repair=True)
        self.assertEqual((found["minor"], found["serious"], found["repaired"]), (0, 2, True))
        self.assertEqual(self.command(path).returncode, 9)
        self.damage(path, HEADER_1, HEADER_2)
        self.assertEqual(self.kinds(self.check(path)), ["serious"])

    @staticmethod
    def is_bat(file, at):
        """Whether the region table says so."""
        file.seek(REGIONS_1)
        region = file.read(65536)
        guid = bytes.fromhex("6677c22d23f600429d64115e9bfd4a08")
        where = region.index(guid)
        return int.from_bytes(region[where + 16:where + 24], "little") == at

    def test_what_is_no_image(self):
        path = self.path("a.vhd")
        testbed.images.write_file(path, 1 * MIB)
        self.assertEqual(self.kinds(self.check(path)), ["serious"])
        found = self.check(path, repair=True)
        self.assertFalse(found["repaired"])
        self.assertEqual(self.kinds(found), ["serious"])

    def test_rights_are_the_callers(self):
        path, user = self.damage(self.make("a.vhdx"), HEADER_1 + 100), self.connect("vd-second")
        self.assertBusError("AccessDenied", self.check, path, user)
        os.chmod(path, 0o644)
        self.assertEqual(self.kinds(self.check(path, user)), ["minor"])
        self.assertBusError("AccessDenied", self.check, path, user, repair=True)
        self.assertEqual(self.kinds(self.check(path)), ["minor"])
        os.chown(path, *USERS["vd-second"][:2])
        self.assert_clean(self.check(path, user, repair=True))

    def test_attached_image(self):
        path = self.make("a.vhdx")
        _, _, _ = self.root.attach_image(path)
        self.assertBusError("SharingViolation", self.check, path)
        self.assertBusError("SharingViolation", self.check, path, repair=True)
        self.assertEqual(self.command(path).returncode, 5)
        self.root.detach_image(path)
        self.root.attach_image(path, read_only=True)
        self.assert_clean(self.check(path))
        self.assertBusError("SharingViolation", self.check, path, repair=True)
        self.root.detach_image(path)
        self.assert_clean(self.check(path, repair=True))

    def test_open_image(self):
        path = self.make("a.vhdx")
        handle = self.root.open(path, READ, rw_depth=0)
        self.assert_clean(self.check(path))
        self.assertBusError("SharingViolation", self.check, path, repair=True)
        self.root.close_handle(handle)
        handle = self.root.open(path, 0, version=2)
        self.assertBusError("SharingViolation", self.check, path)
        self.root.close_handle(handle)
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertBusError("SharingViolation", self.check, path)

    def test_parent_of_an_attached_image(self):
        parent = self.make("parent.vhdx")
        child = self.make("child.vhdx", 0, parent_path=parent)
        self.root.attach_image(child)
        self.assert_clean(self.check(parent))
        self.assertBusError("SharingViolation", self.check, parent, repair=True)
        self.root.detach_image(child)

    def test_parameters(self):
        iso, path = testbed.images.raw(self.path("a.iso"), MIB), self.make("a.vhdx")
        self.assertBusError("NotSupported", self.check, iso, repair=True)
        self.assertBusError("FileNotFound", self.check, self.path("missing.vhdx"))
        self.assertBusError("ProviderNotFound", self.check, self.path("missing.qcow2"))
        self.assertBusError("InvalidParameter", self.check, path, version=1)
        os.rename(path, self.path("a"))
        self.assertBusError("ProviderNotFound", self.check, self.path("a"))
        self.assert_clean(self.check(self.path("a"), device_id=3))

    def test_command(self):
        path = self.damage(self.make("a.vhdx"), HEADER_2 + 100)
        result = self.command(path)
        self.assertEqual(result.returncode, 8, result.stderr)
        self.assertIn("1 minor fault", result.stdout)
        result = self.command("--json", path)
        self.assertEqual(result.returncode, 8)
        self.assertEqual(json.loads(result.stdout)["faults"][0]["offset"], HEADER_2 + 4)
        result = self.command("--repair", path)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("repaired; no faults", result.stdout)
        self.assertEqual(self.command("--quiet", path).stdout, "")
        self.assertEqual(self.command(self.path("missing.vhdx")).returncode, 4)


if __name__ == "__main__":
    sys.exit(testbed.main())
