#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of MergeVirtualDisk, beside that of dd, which copies the child's file.

  sudo tests/bench/bench_merge.py --build-dir build

Images lie in memory, so that what we do is measured and not a disk. We and dd alternate; medians are compared.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, alternate, report, timed, verdict  # noqa: E402
from gi.repository import GLib  # noqa: E402

testbed.tap.TEST_DEADLINE = 3600  # seconds: what is measured is not hurried

SIZE = 512  # MiB in the child


class Merge(testbed.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="virtdisk-bench.", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.folder)

    def in_memory(self, name):
        return os.path.join(self.folder, name)

    def chain(self, extension):
        """An empty parent, and a child that is full of data; both kept as they are, under another name."""
        base, child = (self.in_memory(name + extension) for name in ("base", "child"))
        self.root.close_handle(self.root.create(base, SIZE * MIB))
        self.root.close_handle(self.root.create(child, 0, parent_path=base))
        _, device, _ = self.root.attach_image(child)
        subprocess.run(["dd", "if=/dev/urandom", f"of={device}", "bs=1M", f"count={SIZE}", "conv=fsync,notrunc", "status=none"],
                       check=True)
        self.root.detach_image(child)
        for path in (base, child):
            shutil.copyfile(path, path + ".kept")
        return base, child

    def merge(self, base, child):
        for path in (base, child):
            shutil.copyfile(path + ".kept", path)
        handle = self.root.open(child, 0, version=2)
        depths = {"version": GLib.Variant("u", 2), "merge-source-depth": GLib.Variant("u", 1),
                  "merge-target-depth": GLib.Variant("u", 2)}
        took = timed(lambda: self.root.call(handle, testbed.HANDLE, "MergeVirtualDisk", "(ua{sv})", 0, depths, deadline=120))
        self.root.close_handle(handle)
        return took

    def copy(self, child):
        copy = self.in_memory("copy")
        took = timed(lambda: subprocess.run(["dd", f"if={child}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"], check=True))
        os.unlink(copy)
        return took

    def measure(self, extension):
        base, child = self.chain(extension)
        a, b = alternate(lambda: self.merge(base, child), lambda: self.copy(child))
        print(f"   {SIZE} MiB of {extension}: merged in {1000 * a:.0f} ms, copied by dd in {1000 * b:.0f} ms")
        report(f"merging a {extension}, to dd's copy of the child", a / b, 1.5, better="at most")

    def test_vhdx(self):
        self.measure(".vhdx")

    def test_vhd(self):
        self.measure(".vhd")


if __name__ == "__main__":
    sys.exit(verdict(testbed.main()))
