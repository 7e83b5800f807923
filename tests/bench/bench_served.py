#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of images that a worker serves, on a kernel without ublk (or with route=fuse): each figure as a ratio to a peer or
to the limit in the same run.

  sudo [VIRTDISK_BENCH_ROUTE=ublk] tests/bench/bench_served.py --build-dir build

Needs root, fio, qemu-img, qemu-storage-daemon; vhdimount (libvhdi-utils) where it is there. Images lie in memory, so
that the path through worker and kernel is measured and not a disk. Peers and we alternate; medians are compared.
"""
import contextlib
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, ROUNDS, alternate, fio, record, report, timed, verdict  # noqa: E402

testbed.tap.TEST_DEADLINE = 3600  # seconds: what is measured is not hurried

SIZE = 512
ROUTE = os.environ.get("VIRTDISK_BENCH_ROUTE", "fuse")
RANDOM, SEQUENTIAL = ("randread", "4k", 16), ("read", "1M", 4)


def memory_of(pid, field):
    """Bytes."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(field + ":"))


def end_and_wait(pid):
    """Of a process that is not our child."""
    ended = os.pidfd_open(pid)
    try:
        os.kill(pid, 15)
        select.select([ended], [], [], 10)
    finally:
        os.close(ended)


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

    def loop(self, file, *more, stack=None):
        device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", *more, file], check=True,
                                capture_output=True, text=True).stdout.strip()
        (stack.callback if stack else self.addCleanup)(subprocess.run, ["losetup", "-d", device], check=True)
        return device

    def filled(self):
        """A raw image of random bytes, and the same as a dynamic VHDX."""
        raw, vhdx = self.in_memory("filled.img"), self.in_memory("filled.vhdx")
        with open(raw, "wb") as file:
            for _ in range(SIZE):
                file.write(os.urandom(MIB))
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", raw, vhdx], check=True)
        return raw, vhdx

    def qemu_export(self, image, writable=False, stack=None):
        """A file that qemu-storage-daemon fills from the image by FUSE."""
        point, pidfile = self.in_memory("export"), self.in_memory("qsd.pid")
        on, off = ("on", "off") if writable else ("off", "on")
        open(point, "w").close()
        subprocess.run(["qemu-storage-daemon",
                        "--blockdev", f"driver=file,filename={image},node-name=file,cache.direct=off,read-only={off}",
                        "--blockdev", f"driver=vhdx,file=file,node-name=disk,read-only={off}",
                        "--export", f"type=fuse,id=export,node-name=disk,mountpoint={point},writable={on}",
                        "--daemonize", "--pidfile", pidfile], check=True)
        with open(pidfile) as file:
            pid = int(file.read())
        (stack.callback if stack else self.addCleanup)(end_and_wait, pid)
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

    def writing(self, folder):
        """
        1 MiB sequential into an empty dynamic VHDX, made durable at the end: (by us, by qemu-img, by
        qemu-storage-daemon), seconds. The writer is the same program throughout, so that its own start and its threads
        count for each alike.
        """
        image = os.path.join(folder, "empty.vhdx")

        def write(target, form):
            return timed(lambda: subprocess.run(
                ["qemu-img", "bench", "-q", "-f", form, "-t", "none", "-w", "-s", "1M", "-d", "4", "-c", str(SIZE),
                 "--flush-interval", str(SIZE), target], check=True, capture_output=True))

        def emptied(work):
            subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", image, f"{SIZE}M"], check=True)
            try:
                return work()
            finally:
                os.unlink(image)

        def ours():
            _, device, _ = self.root.attach_image(image, route=ROUTE)
            try:
                return write(device, "raw")
            finally:
                self.root.detach_image(image)

        def exported():
            with contextlib.ExitStack() as stack:
                return write(self.loop(self.qemu_export(image, writable=True, stack=stack), stack=stack), "raw")

        return alternate(lambda: emptied(ours), lambda: emptied(lambda: write(image, "vhdx")), lambda: emptied(exported))

    def test_3_writing_where_nothing_is_yet(self):
        on_disk = tempfile.mkdtemp(prefix="virtdisk-bench.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, on_disk)
        for where, folder in (("in memory", self.folder), ("on the disk of /var/tmp", on_disk)):
            a, b, c = self.writing(folder)
            record(f"{SIZE} MiB into an empty VHDX {where}: ours {a:.2f} s, qemu-img bench on the image {b:.2f} s, on a loop "
                   f"over qemu-storage-daemon {c:.2f} s")
            report(f"allocating writes {where}, time to qemu-img's own", a / b, 1, better="at most")
            report(f"allocating writes {where}, time to a device of qemu's", a / c, 1, better="at most")

    def created(self, name, size):
        """A dynamic VHDX with blocks of 1 MiB, made by the service."""
        image = self.in_memory(name)
        self.root.close_handle(self.root.create(image, size, block_size=MIB))
        return image

    def opening(self, image):
        """-> (ms, bytes of the worker's memory)."""
        times, memory = [], []
        for _ in range(ROUNDS):
            times.append(timed(lambda: self.root.attach_image(image, read_only=True, route=ROUTE)))
            memory += [memory_of(pid, "VmRSS") for pid in self.workers()]
            self.root.detach_image(image)
        return 1000 * statistics.median(times), max(memory)

    def test_4_the_largest(self):
        """64 TiB: opened and attached; what the worker takes of memory."""
        time, memory = self.opening(self.created("largest.vhdx", 64 << 40))
        report("opening and attaching a VHDX of 64 TiB", time, 100, " ms", better="at most")
        report("memory of its worker", memory / MIB, 32, " MiB", better="at most")
        image = self.in_memory("written.vhdx")
        subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", image, "64T"], check=True)
        time, memory = self.opening(image)
        record(f"the same, each entry of its table of 513 MiB written: {time:.0f} ms, {memory / MIB:.3g} MiB")

    def test_5_locked_memory_under_load(self):
        image = self.created("large.vhdx", 1 << 40)
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
