#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What desktops read of us is what their own tools accept, and files are taken for what they are."""
import ast
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

import tap  # noqa: E402

FREEDESKTOP = "/usr/share/mime/packages/freedesktop.org.xml"
MIB = 1 << 20
FOOTER = b"conectix" + bytes(504)
VHD, VHDX, VHDL = "application/x-vhd-disk", "application/x-vhdx-disk", "text/x-vhdl"
# Names of one type before and since shared-mime-info 2.3.
ISO = ("application/x-cd-image", "application/vnd.efi.iso")
RAW = ("application/x-raw-disk-image", "application/vnd.efi.img")


def with_bytes(*places):
    data = bytearray(MIB)
    for offset, what in places:
        data[offset:offset + len(what)] = what
    return bytes(data)


BOOT_RECORD = (510, b"\x55\xaa")
SAMPLES = [  # name, content, type
    ("dynamic.vhd", FOOTER + bytes(4096), (VHD,)),
    ("fixed-empty.vhd", bytes(MIB) + FOOTER, (VHD,)),
    ("fixed-mbr.vhd", with_bytes(BOOT_RECORD) + FOOTER, (VHD,)),
    ("fixed-gpt.vhd", with_bytes(BOOT_RECORD, (512, b"EFI PART")) + FOOTER, (VHD,)),
    ("fixed-ntfs.vhd", with_bytes((0, b"\xebR\x90NTFS    "), BOOT_RECORD) + FOOTER, (VHD,)),
    ("fixed-ext4.vhd", with_bytes((1080, b"\x53\xef")) + FOOTER, (VHD,)),
    ("SHOUTED.VHD", with_bytes(BOOT_RECORD) + FOOTER, (VHD,)),
    ("difference.avhd", FOOTER + bytes(4096), (VHD,)),
    ("without-suffix", FOOTER + bytes(4096), (VHD,)),
    ("disk.vhdx", b"vhdxfile" + bytes(4096), (VHDX,)),
    ("difference.avhdx", b"vhdxfile" + bytes(4096), (VHDX,)),
    ("damaged.avhdx", bytes(4096), (VHDX,)),
    ("entity.vhd", b"library ieee;\nuse ieee.std_logic_1164.all;\nentity e is\nend entity;\n", (VHDL,)),
    ("comment.vhd", b"-- a comment\n" * 1000, (VHDL,)),
    ("latin1.vhd", b"-- Z\xe4hler\nlibrary ieee;\n", (VHDL,)),
    ("ENTITY.VHD", b"library ieee;\n", (VHDL,)),
    ("entity.vhdl", b"library ieee;\n", (VHDL,)),
    ("disc.iso", bytes(40960), ISO),
    ("disk.img", with_bytes(BOOT_RECORD), RAW),
]


def built(pattern):
    found = sorted(glob.glob(os.path.join(tap.build_dir, pattern)))
    if not found:
        raise unittest.SkipTest(f"no {pattern} in {tap.build_dir}")
    return found


def need(*names):
    for name in names:
        if not shutil.which(name):
            raise unittest.SkipTest(f"{name} is not installed")


def run(*argv, **how):
    return subprocess.run(argv, capture_output=True, text=True, check=False, **how)


class Data(unittest.TestCase):
    def test_desktop_files(self):
        need("desktop-file-validate")
        for path in built("data/applications/*.desktop") + built("data/menus/virtdisk-*[a-z].desktop"):
            if path.endswith(".kde.desktop"):
                continue  # a kind of its own, which the tool does not know
            with self.subTest(os.path.basename(path)):
                result = run("desktop-file-validate", path)
                self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""))

    def test_metainfo(self):
        need("appstreamcli")
        result = run("appstreamcli", "validate", "--no-net", "--pedantic",
                     f"{tap.SOURCE}/data/metainfo/org.virtdisk1.Desktop.metainfo.xml")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_icon_is_well_formed(self):
        root = ElementTree.parse(f"{tap.SOURCE}/data/icons/org.virtdisk1.Desktop.svg").getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")

    def test_menus_are_well_formed(self):
        for path in built("data/menus/*.xml"):
            ElementTree.parse(path)
        for path in built("data/menus/*.py"):
            with open(path) as file:
                ast.parse(file.read())

    def test_menus_use_options_that_there_are(self):
        known = run(os.path.join(tap.build_dir, "client/desktop/virtdisk-open"), "--help").stdout
        if not known:
            self.skipTest("virtdisk-open is not built")
        for path in built("data/menus/*") + built("data/applications/*.desktop"):
            if not os.path.isfile(path):
                continue
            with open(path) as file:
                for line in file:
                    for word in line.replace("<", " ").split() if "virtdisk-open" in line else []:
                        if word.startswith("--"):
                            self.assertIn(word, known, path)

    def test_every_menu_is_for_the_types_of_the_handler(self):
        types = {}
        for path in built("data/applications/*.desktop") + built("data/menus/*"):
            for line in open(path) if os.path.isfile(path) else []:
                if line.startswith(("MimeType=", "Mimetypes=")) and "inode/directory" not in line:
                    types[path] = set(line.strip().split("=", 1)[1].split(";")) - {""}
        handler = next(value for path, value in types.items() if "applications" in path)
        for path, found in types.items():
            self.assertLessEqual(found, handler, path)
            self.assertIn(VHDX, found, path)


class Types(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need("update-mime-database", "gio")
        if not os.path.exists(FREEDESKTOP):
            raise unittest.SkipTest("shared-mime-info is not installed")
        cls.dir = tempfile.mkdtemp(prefix="virtdisk-mime.")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        packages = os.path.join(cls.dir, "share", "mime", "packages")
        os.makedirs(packages)
        shutil.copy(FREEDESKTOP, packages)
        for path in glob.glob(f"{tap.SOURCE}/data/mime/*.xml"):
            shutil.copy(path, packages)
        result = run("update-mime-database", os.path.dirname(packages))
        if result.returncode != 0:
            raise AssertionError(result.stdout + result.stderr)
        cls.environment = {**os.environ, "XDG_DATA_DIRS": os.path.join(cls.dir, "share"),
                           "XDG_DATA_HOME": os.path.join(cls.dir, "none"), "HOME": cls.dir, "GIO_USE_VFS": "local"}

    def sample(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def test_samples(self):
        for name, content, expected in SAMPLES:
            with self.subTest(name):
                said = run("gio", "info", "-a", "standard::content-type", self.sample(name, content), env=self.environment)
                found = said.stdout.rsplit("standard::content-type:", 1)[-1].strip()
                self.assertIn(found, expected, said.stderr)

    def test_xdg_mime_agrees(self):
        need("xdg-mime")
        environment = {**self.environment, "XDG_CURRENT_DESKTOP": "GNOME", "DE": "gnome", "XDG_UTILS_DEBUG_LEVEL": "0"}
        for name in ("fixed-mbr.vhd", "disk.vhdx", "entity.vhd"):
            content, expected = next(row[1:] for row in SAMPLES if row[0] == name)
            with self.subTest(name):
                said = run("xdg-mime", "query", "filetype", self.sample(name, content), env=environment)
                self.assertIn(said.stdout.strip(), expected, said.stderr)


if __name__ == "__main__":
    tap.main("lint")
