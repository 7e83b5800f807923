#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of images that a worker serves, on a kernel without ublk (or with route=fuse): each figure as a ratio to a peer or
to the limit in the same run.

  sudo tests/bench/bench_served.py --build-dir build [--route fuse|ublk]

Needs root, fio, qemu-img, qemu-storage-daemon; vhdimount (libvhdi-utils) where it is there. Images lie in memory, so
that the path through worker and kernel is measured and not a disk. Peers and we alternate; medians are compared.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, alternate, fio, record, report, timed, verdict  # noqa: E402

SIZE = 512
ROUTE = os.environ.get("VIRTDISK_BENCH_ROUTE", "fuse")
RANDOM, SEQUENTIAL = ("randread", "4k", 16), ("read", "1M", 4)


def memory_of(pid, field):
    """Bytes."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(field + ":"))


class Served(testbed.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="virtdisk-bench.", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.folder)

    def in_memory(self, name):
        return os.path.join(self.folder, name)

    def attach(self, image, **options):
        _, device, _ = self.root.attach_image(image, **options)
        self.addCleanup(self.root.detach_image, image)
        return device

    def loop(self, file, *more):
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", *more, file], check=True,
                                capture_output=True, text=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=True)
        return device

    def filled(self):
        """A raw image of random bytes, and the same as a dynamic VHDX."""
        raw, vhdx = self.in_memory("filled.img"), self.in_memory("filled.vhdx")
        with open(raw, "wb") as file:
            for _ in range(SIZE):
                file.write(os.urandom(MIB))
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", raw, vhdx], check=True)
        return raw, vhdx

    def qemu_export(self, image):
        """A file that qemu-storage-daemon fills from the image by FUSE."""
        point, pidfile = self.in_memory("export"), self.in_memory("qsd.pid")
        open(point, "w").close()
        subprocess.run(["qemu-storage-daemon", "--blockdev", f"driver=file,filename={image},node-name=file,read-only=on",
                        "--blockdev", "driver=vhdx,file=file,node-name=disk,read-only=on",
                        "--export", f"type=fuse,id=export,node-name=disk,mountpoint={point},writable=off",
                        "--daemonize", "--pidfile", pidfile], check=True)
        with open(pidfile) as file:
            pid = int(file.read())
        self.addCleanup(os.kill, pid, 15)
        return point

    def test_1_reading(self):
        raw, vhdx = self.filled()
        ours = self.attach(vhdx, read_only=True, route=ROUTE)
        bare = self.loop(raw, "--read-only")
        peer = self.loop(self.qemu_export(vhdx), "--read-only")
        for name, how, to_peer, to_bare in (("4 KiB random read, depth 16", RANDOM, 5, 0.35),
                                            ("1 MiB sequential read, depth 4", SEQUENTIAL, 3, None)):
            a, b, c = alternate(lambda: fio(ours, *how), lambda: fio(peer, *how), lambda: fio(bare, *how))
            record(f"{name}: ours {a / MIB:.0f} MiB/s, loop over qemu-storage-daemon {b / MIB:.0f}, bare direct-I/O loop on a "
                   f"raw file {c / MIB:.0f}")
            report(f"{name}, to loop over qemu-storage-daemon's FUSE export", a / b, to_peer)
            if to_bare:
                report(f"{name}, to a bare direct-I/O loop device", a / c, to_bare)
            else:
                record(f"to a bare direct-I/O loop device: {a / c:.3g}")

    def test_2_vhdimount_for_the_record(self):
        if shutil.which("vhdimount") is None:
            self.skipTest("libvhdi-utils is not installed")
        raw, vhdx = self.filled()
        point = self.in_memory("point")
        os.mkdir(point)
        subprocess.run(["vhdimount", vhdx, point], check=True, capture_output=True)
        self.addCleanup(subprocess.run, ["umount", point], check=True)
        peer = self.loop(os.path.join(point, os.listdir(point)[0]), "--read-only")
        ours = self.attach(vhdx, read_only=True, route=ROUTE)
        for name, how in (("4 KiB random read, depth 16", RANDOM), ("1 MiB sequential read, depth 4", SEQUENTIAL)):
            a, b = alternate(lambda: fio(ours, *how), lambda: fio(peer, *how))
            record(f"{name}: ours {a / MIB:.0f} MiB/s, loop over vhdimount {b / MIB:.0f} MiB/s: {a / b:.3g} times")

    def test_3_writing_where_nothing_is_yet(self):
        """1 MiB sequential into an empty dynamic VHDX, made durable at the end."""
        number = [0]

        def empty():
            number[0] += 1
            image = self.in_memory(f"empty-{number[0]}.vhdx")
            subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", image, f"{SIZE}M"], check=True)
            return image

        def ours():
            image = empty()
            _, device, _ = self.root.attach_image(image, route=ROUTE)
            try:
                return timed(lambda: subprocess.run(
                    ["fio", "--name=x", f"--filename={device}", "--rw=write", "--bs=1M", "--iodepth=4", "--ioengine=io_uring",
                     "--direct=1", f"--size={SIZE}M", "--end_fsync=1", "--output-format=json"], check=True,
                    capture_output=True))
            finally:
                self.root.detach_image(image)
                os.unlink(image)

        def theirs():
            image = empty()
            try:
                return timed(lambda: subprocess.run(
                    ["qemu-img", "bench", "-q", "-f", "vhdx", "-t", "none", "-w", "-s", "1M", "-d", "4", "-c", str(SIZE),
                     "--flush-interval", str(SIZE), image], check=True, capture_output=True))
            finally:
                os.unlink(image)

        a, b = alternate(ours, theirs)
        record(f"{SIZE} MiB into an empty VHDX: ours {a:.2f} s, qemu-img bench {b:.2f} s")
        report("allocating writes, time to qemu-img bench's", a / b, 1, better="at most")

    def test_4_the_largest(self):
        """64 TiB: opened and attached; what the worker takes of memory."""
        image = self.in_memory("largest.vhdx")
        subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", image, "64T"], check=True)
        times, memory = [], []
        for _ in range(5):
            times.append(timed(lambda: self.root.attach_image(image, read_only=True, route=ROUTE)))
            memory += [memory_of(pid, "VmRSS") for pid in self.workers()]
            self.root.detach_image(image)
        report("opening and attaching a VHDX of 64 TiB", 1000 * statistics.median(times), 100, " ms", better="at most")
        report("memory of its worker", max(memory) / MIB, 32, " MiB", better="at most")

    def test_5_locked_memory_under_load(self):
        image = self.in_memory("large.vhdx")
        subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", image, "1T"], check=True)
        device = self.attach(image, route=ROUTE)
        fio(device, "randwrite", "64k", 64, "--size=1T")
        report("locked memory of the worker of a 1 TiB disk under load", max(memory_of(pid, "VmLck") for pid in self.workers())
               / MIB, 48, " MiB", better="at most")

    def test_6_attaching(self):
        raw, vhdx = self.in_memory("a.img"), self.in_memory("a.vhdx")
        subprocess.run(["qemu-img", "create", "-q", "-f", "raw", raw, f"{SIZE}M"], check=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", vhdx, f"{SIZE}M"], check=True)

        def attach(image):
            took = timed(lambda: self.root.attach_image(image))
            self.root.detach_image(image)
            return took

        attach(raw), attach(vhdx)
        a, b = alternate(lambda: attach(vhdx), lambda: attach(raw))
        record(f"AttachImage: VHDX {1000 * a:.1f} ms, raw {1000 * b:.1f} ms")
        report("attaching a VHDX, to a raw image", a / b, 2, better="at most")

    def workers(self):
        """Process ids of those that serve."""
        return [pid for pid, command in testbed.processes()
                if command == "virtdisk-worker" and "--serve" in testbed.read(f"/proc/{pid}/cmdline").split("\0")]


if __name__ == "__main__":
    sys.exit(verdict(testbed.main()))
