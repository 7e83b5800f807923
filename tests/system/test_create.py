#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""CreateVirtualDisk: what is made, whose it is, that others read it, and that a failure leaves nothing."""
import json
import os
import shutil
import stat
import subprocess
import sys
import unittest

import testbed
from testbed import USERS

MIB = 1 << 20
FIXED, SPARSE = 1, 0x80
SIZE, IDENTIFIER, SUBTYPE, DISK_ID = 1, 2, 7, 14
READ = 0xD0000
GUID = "01234567-89ab-cdef-0123-456789abcdef"


class Create(testbed.TestCase):
    def folder(self, user, name="own"):
        path = self.path(name)
        os.mkdir(path)
        os.chown(path, *USERS[user][:2])
        return path

    def make(self, name, size=64 * MIB, flags=0, client=None, **opts):
        path = self.path(name)
        client = client or self.root
        client.close_handle(client.create(path, size, flags, **opts))
        return path

    def info(self, path, version):
        handle = self.root.open(path, 0, version=2, get_info_only=True)
        try:
            return self.root.info(handle, version)
        finally:
            self.root.close_handle(handle)

    def assert_others_read(self, path, kind, size):
        """Another implementation takes it for an image of that size."""
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        found = json.loads(self.bed.run(["qemu-img", "info", "--output=json", "-f", kind, path]).stdout)
        self.assertEqual(found["virtual-size"], size)
        if kind == "vhdx":
            subprocess.run(["qemu-img", "check", "-q", "-f", kind, path], check=True)

    def test_every_kind(self):
        for name, flags, subtype in (("a.vhdx", 0, 3), ("b.vhdx", FIXED, 2), ("c.vhdx", FIXED | SPARSE, 2),
                                     ("d.vhd", 0, 3), ("e.vhd", FIXED, 2)):
            with self.subTest(name):
                path = self.make(name, flags=flags)
                self.assertEqual(self.info(path, SUBTYPE)["ProviderSubtype"], subtype)
                self.assertEqual(self.info(path, SIZE)["VirtualSize"], 64 * MIB)
                if name != "c.vhdx":
                    self.assertEqual(os.stat(path).st_blocks * 512 >= 64 * MIB, bool(flags & FIXED))

    def test_others_read_what_is_made(self):
        self.assert_others_read(self.make("a.vhdx"), "vhdx", 64 * MIB)
        self.assert_others_read(self.make("b.vhdx", flags=FIXED), "vhdx", 64 * MIB)
        self.assert_others_read(self.make("c.vhdx", 64 << 40), "vhdx", 64 << 40)

    def test_sizes_and_sectors(self):
        path = self.make("a.vhdx", block_size=MIB, sector_size=4096, physical_sector_size=4096)
        size = self.info(path, SIZE)
        self.assertEqual((size["BlockSize"], size["SectorSize"]), (MIB, 4096))
        size = self.info(self.make("b.vhdx"), SIZE)
        self.assertEqual((size["BlockSize"], size["SectorSize"]), (32 * MIB, 512))
        self.assertEqual(self.info(self.make("c.vhd"), SIZE)["BlockSize"], 2 * MIB)

    def each_combination(self, kind, flags=0, parent=False):
        """Every block size and sector size that images of this kind may have."""
        made = []
        for sector, physical in ((512, 512), (512, 4096), (4096, 4096)):
            opts = {"physical_sector_size": physical}
            opts.update({"parent_path": self.make(f"of-{sector}-{physical}.vhdx", 8 * MIB, sector_size=sector, **opts)} if parent
                        else {"sector_size": sector})
            for block in (MIB << power for power in range(9)):
                made.append((f"{kind}-{block >> 20}-{sector}-{physical}.vhdx", block, sector, {**opts, "block_size": block}))
        opts = {"parent_path": self.make("of.vhd", 8 * MIB)} if parent else {}
        for block in (MIB // 2, 2 * MIB) if not flags else (0,):
            made.append((f"{kind}-{block >> 10}K.vhd", block, 512, {**opts, "block_size": block}))
        for name, block, sector, opts in made:
            with self.subTest(name):
                path = self.make(name, 0 if parent else 8 * MIB, flags, **opts)
                size = self.info(path, SIZE)
                self.assertEqual((size["VirtualSize"], size["SectorSize"]), (8 * MIB, sector))
                if not flags:
                    self.assertEqual(size["BlockSize"], block)
                self.bed.virtdisk("check", "--quiet", path)
                # It refuses sectors of 4096 bytes, and children.
                if sector == 512 and not parent:
                    self.assert_others_read(path, "vhdx" if name.endswith("x") else "vpc", 8 * MIB)
                os.unlink(path)
        self.assertEqual(len(made), 28 if flags else 29)

    def test_every_dynamic_one(self):
        self.each_combination("dynamic")

    def test_every_fixed_one(self):
        self.each_combination("fixed", FIXED)

    def test_every_child(self):
        self.each_combination("child", parent=True)

    def test_largest_takes_no_space(self):
        path = self.make("large.vhdx", 64 << 40)
        self.assertEqual(self.info(path, SIZE)["VirtualSize"], 64 << 40)
        self.assertLess(os.stat(path).st_blocks * 512, 32 * MIB)

    def test_identifiers(self):
        path = self.make("a.vhdx", unique_id=GUID)
        self.assertEqual(self.info(path, IDENTIFIER)["Identifier"], GUID)
        self.assertEqual(self.info(path, DISK_ID)["VirtualDiskId"], GUID)
        self.assertEqual(self.info(self.make("b.vhd", unique_id=GUID), IDENTIFIER)["Identifier"], GUID)
        self.assertNotEqual(self.info(self.make("c.vhdx"), IDENTIFIER), self.info(self.make("d.vhdx"), IDENTIFIER))

    def test_it_is_the_callers(self):
        user = self.connect("vd-first")
        path = self.folder("vd-first") + "/new.vhdx"
        user.create(path, 64 * MIB)
        found = os.stat(path)
        self.assertEqual((found.st_uid, found.st_gid), USERS["vd-first"][:2])
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        self.assertEqual(os.listdir(self.path("own")), ["new.vhdx"])

    def test_owner_and_mode_that_could_not_be_given(self):
        """Told at once, not when everything has been written."""
        user = self.connect("vd-first")
        folder = self.folder("vd-first")
        uid, gid = USERS["vd-first"][:2]
        path = folder + "/a.vhdx"
        for wrong in ({"mode": 0o444}, {"mode": 0o200}, {"mode": 0}, {"owner_gid": 0}, {"owner_uid": uid + 1}):
            with self.subTest(wrong):
                message = self.assert_refused("AccessDenied", path, 64 * MIB, client=user, **wrong)
                self.assertIn(next(iter(wrong)).replace("_", "-"), message)
        self.make(path, client=user, mode=0o640, owner_gid=gid, owner_uid=uid)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        self.make(folder + "/b.vhdx", client=user, version=1, access_mask=READ, mode=0o400)
        self.make("c.vhdx", mode=0o444, owner_gid=gid)

    def test_handle_is_open(self):
        handle = self.root.create(self.path("a.vhdx"), 64 * MIB)
        self.assertEqual(self.root.info(handle, SIZE)["VirtualSize"], 64 * MIB)
        self.assertBusError("SharingViolation", self.root.open, self.path("a.vhdx"), READ)
        self.root.close_handle(handle)
        handle = self.root.create(self.path("b.vhdx"), 64 * MIB, access_mask=READ, version=1)
        self.assertEqual(self.root.info(handle, SIZE)["VirtualSize"], 64 * MIB)

    def assert_refused(self, name, path, *arguments, client=None, **opts):
        folder = os.path.dirname(path)
        before = sorted(os.listdir(folder)) if os.path.isdir(folder) else None
        message = self.assertBusError(name, (client or self.root).create, path, *arguments, **opts)
        if before is not None:
            self.bed.wait(lambda: sorted(os.listdir(folder)) == before, "nothing left of a failed create", 10)
        return message

    def test_an_existing_file_stays(self):
        path = self.path("there.vhdx")
        with open(path, "w") as file:
            file.write("of somebody")
        self.assert_refused("FileExists", path, 64 * MIB)
        self.assertEqual(testbed.read(path), "of somebody")
        os.symlink("nowhere", self.path("link.vhdx"))
        self.assert_refused("FileExists", self.path("link.vhdx"), 64 * MIB)
        os.mkdir(self.path("folder.vhdx"))
        self.assert_refused("FileExists", self.path("folder.vhdx"), 64 * MIB)

    def test_rights_are_the_callers(self):
        user = self.connect("vd-first")
        foreign = self.path("foreign")
        os.mkdir(foreign, 0o755)
        self.assert_refused("AccessDenied", foreign + "/a.vhdx", 64 * MIB, client=user)
        os.chmod(foreign, 0o700)
        self.assert_refused("AccessDenied", foreign + "/a.vhdx", 64 * MIB, client=user)
        self.assert_refused("PathNotFound", self.path("missing/a.vhdx"), 64 * MIB)

    def test_parameters(self):
        path, rows = self.path("a.vhdx"), (
            ("InvalidParameter", 0, {}), ("InvalidParameter", 3 * MIB - 512, {}),
            ("InvalidParameter", 64 * MIB + 1, {}), ("VhdInvalidSize", (64 << 40) + 512, {}),
            ("InvalidParameter", 64 * MIB, {"block_size": 3 * MIB}), ("InvalidParameter", 64 * MIB, {"sector_size": 1024}),
            ("InvalidParameter", 64 * MIB, {"physical_sector_size": 8192}),
            ("InvalidParameter", 64 * MIB, {"unique_id": "none"}), ("InvalidParameter", 64 * MIB, {"version": 5}),
            ("InvalidParameter", 64 * MIB, {"flags": 0x800}), ("InvalidParameter", 64 * MIB, {"access_mask": READ}),
            ("InvalidParameter", 64 * MIB, {"provider_specific_flags": 1}),
            ("InvalidParameter", 64 * MIB, {"parent_path": self.path("p.vhdx")}),
            ("NotSupported", 64 * MIB, {"flags": 8}))
        for name, size, opts in rows:
            with self.subTest(size=size, **opts):
                self.assert_refused(name, path, size, **opts)
        self.assert_refused("NotSupported", self.path("a.iso"), 64 * MIB, version=1)
        self.assert_refused("ProviderNotFound", self.path("a.qcow2"), 64 * MIB)
        self.assert_refused("InvalidParameter", "a.vhdx", 64 * MIB)

    def test_full_file_system(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "virtdisk-test", small], check=True)
        try:
            self.assertBusError("DiskFull", self.root.create, small + "/a.vhdx", 64 * MIB, FIXED)
            self.bed.wait(lambda: not os.listdir(small), "nothing left of a failed create", 10)
        finally:
            # Who made the file may still be on its way out of the folder.
            self.bed.wait(lambda: subprocess.run(["umount", small], check=False).returncode == 0, "the unmount", 10)

    def test_attach_and_fill(self):
        path = self.path("a.vhdx")
        handle = self.root.create(path, 256 * MIB)
        self.root.attach(handle)
        device = self.root.physical_path(handle)
        data = os.urandom(3 * MIB)
        with open(device, "r+b") as disk:
            disk.seek(100 * MIB)
            disk.write(data)
            disk.flush()
            os.fsync(disk.fileno())
        self.root.close_handle(handle)
        self.bed.wait(lambda: not self.root.all_paths(), "the disk is gone")
        _, device, _ = self.root.attach_image(path, read_only=True)
        with open(device, "rb") as disk:
            disk.seek(100 * MIB)
            self.assertEqual(disk.read(len(data)), data)
        self.root.detach_image(path)

    def test_contents(self):
        path = self.make("a.vhdx", 256 * MIB)
        _, device, _ = self.root.attach_image(path)
        subprocess.run(["mkfs.ext4", "-q", "-L", "INSIDE", device], check=True)
        self.root.detach_image(path)
        disk, device, _ = self.root.attach_image(path, read_only=True)
        found = self.root.properties(disk)["FileSystems"]
        self.assertEqual([(each["type"], each["label"], each["partition"]) for each in found], [("ext4", "INSIDE", 0)])
        self.root.detach_image(path)

    def test_partitions(self):
        if not shutil.which("sfdisk"):
            self.skipTest("sfdisk is not installed")
        path = self.make("a.vhdx", 256 * MIB)
        _, device, _ = self.root.attach_image(path)
        subprocess.run(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", device], check=True, text=True,
                       input="label: gpt\nsize=32M\nsize=64M\n")
        self.root.detach_image(path)
        disk, device, _ = self.root.attach_image(path)
        self.assertEqual([each["partition"] for each in self.root.properties(disk)["FileSystems"]], [1, 2])
        self.assertTrue(os.path.exists(f"/sys/class/block/{os.path.basename(device)}p2"))
        self.root.detach_image(path)

    def test_command(self):
        path = self.path("c.vhdx")
        out = self.bed.run([testbed.program(self.bed.build, "virtdisk"), "create", path, "--size=1GiB", "--json"]).stdout
        self.assertEqual(json.loads(out)["virtual-size"], 1 << 30)
        code = subprocess.run([testbed.program(self.bed.build, "virtdisk"), "create", path, "--size=1GiB"],
                              stderr=subprocess.DEVNULL, env=self.bed.environment()).returncode
        self.assertNotEqual(code, 0)


if __name__ == "__main__":
    sys.exit(testbed.main())
