#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed, each figure as a ratio to a peer or to the limit in the same run; absolute numbers are of this machine only.

  sudo tests/bench/bench.py --build-dir build

Needs root, fio, xorriso, qemu-img and udisks2. The parts alternate (ours, peer, ours, ...) and medians are compared, so
that what else the machine does hits both. A figure beyond its bound is marked, and the exit code is then 1.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, alternate, fio, report, timed, verdict  # noqa: E402
from testbed import images  # noqa: E402
from gi.repository import Gio, GLib  # noqa: E402

testbed.tap.TEST_DEADLINE = 3600  # seconds: what is measured is not hurried

UDISKSD = ["/usr/libexec/udisks2/udisksd", "/usr/lib/udisks2/udisksd"]


class Bench(testbed.TestCase):
    def test_1_reading_through_a_fixed_vhd(self):
        # In memory, so that the path through the kernel is measured and not the disk below.
        folder = tempfile.mkdtemp(prefix="virtdisk-bench.", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder)
        image = os.path.join(folder, "filled.vhd")
        subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size", image, "512M"], check=True)
        with open(image, "r+b") as file:
            for _ in range(512):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        _, ours, _ = self.root.attach_image(image, read_only=True)
        self.addCleanup(self.root.detach_image, image)
        bare = subprocess.run(["losetup", "--find", "--show", "--read-only", "--direct-io=on", "--sizelimit", str(512 * MIB),
                               image], check=True, capture_output=True, text=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", bare], check=True)
        for name, pattern, block, depth in (("4 KiB random read, depth 32", "randread", "4k", 32),
                                            ("1 MiB sequential read, depth 4", "read", "1M", 4)):
            a, b = alternate(lambda: fio(ours, pattern, block, depth), lambda: fio(bare, pattern, block, depth))
            print(f"   {name}: ours {a / MIB:.0f} MiB/s, bare direct-I/O loop {b / MIB:.0f} MiB/s")
            report(f"{name}, to a bare direct-I/O loop device", a / b, 0.97)

    def test_2_attaching_an_iso(self):
        found = [path for path in UDISKSD if os.path.exists(path)]
        if not found:
            self.skipTest("udisks2 is not installed")
        udisks = self.bed.spawn([found[0], "--no-debug"], log="udisksd.log")
        self.addCleanup(testbed.end_process, udisks)
        self.bed.wait_name("org.freedesktop.UDisks2")
        iso = self.path("disc.iso")
        filler = self.path("filler")
        with open(filler, "wb") as file:
            for _ in range(700):
                file.write(os.urandom(MIB))
        subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", iso, filler], check=True, capture_output=True)
        os.unlink(filler)
        bus = self.root.connection

        def ours():
            took = timed(lambda: self.root.attach_image(iso))
            self.root.detach_image(iso)
            return took

        def loop_setup(fd):
            fds = Gio.UnixFDList.new()
            fds.append(fd)
            answer, _ = bus.call_with_unix_fd_list_sync(
                "org.freedesktop.UDisks2", "/org/freedesktop/UDisks2/Manager", "org.freedesktop.UDisks2.Manager", "LoopSetup",
                GLib.Variant("(ha{sv})", (0, {"read-only": GLib.Variant("b", True)})), None, 0, 60000, fds, None)
            return answer.unpack()[0]

        def theirs():
            fd = os.open(iso, os.O_RDONLY)
            start = time.monotonic()
            loop_setup(fd)
            took = time.monotonic() - start
            os.close(fd)
            for line in subprocess.run(["losetup", "-n", "-O", "NAME", "-j", iso], check=True, capture_output=True,
                                       text=True).stdout.split():
                subprocess.run(["losetup", "-d", line], check=True)
            return took

        ours(), theirs()
        a, b = alternate(ours, theirs)
        print(f"   AttachImage {1000 * a:.1f} ms, UDisks2 LoopSetup {1000 * b:.1f} ms")
        report("attaching a 700 MB ISO, to UDisks2's LoopSetup", a / b, 1.5, better="at most")

    def test_3_a_hundred_disks(self):
        names = [images.raw(self.path(f"{number}.img"), MIB) for number in range(100)]
        for name in names:
            self.addCleanup(self.root.detach_image, name)
            self.root.attach_image(name, read_only=True)
        with open(f"/proc/{self.bed.daemon.pid}/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
        report("resident memory with 100 disks", resident / 1024, 16, " MiB", better="at most")
        listing = statistics.median(timed(self.root.all_paths) for _ in range(20))
        objects = statistics.median(timed(self.list_objects) for _ in range(20))
        report("listing the devices of 100 disks", 1000 * listing, 10, " ms", better="at most")
        print(f"   listing 100 disks with all properties: {1000 * objects:.3g} ms (for the record)")

    def list_objects(self):
        self.root.connection.call_sync("org.virtdisk1", "/org/virtdisk1", "org.freedesktop.DBus.ObjectManager",
                                       "GetManagedObjects", None, None, 0, 60000, None)


if __name__ == "__main__":
    sys.exit(verdict(testbed.main()))
