#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of copying one image into another, as a ratio to qemu-img convert in the same run, and of making a large one.

  sudo [VIRTDISK_BENCH_MIB=4096] tests/bench/bench_convert.py --build-dir build

Needs root and qemu-img. Images lie on the disk of /var/tmp, in the page cache when they are read. What is made is durable
at the end: of qemu-img that is asked for too (-t writeback).
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, ROUNDS, alternate, record, report, timed, verdict  # noqa: E402

testbed.tap.TEST_DEADLINE = 3600  # seconds: what is measured is not hurried

SIZE = int(os.environ.get("VIRTDISK_BENCH_MIB", "4096"))


class Watch:
    """The most memory that a worker had, bytes: its own high-water mark, looked at while it lives."""

    def __init__(self):
        self.most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.02):
            for pid, command in testbed.processes():
                if command == "virtdisk-worker":
                    self.most = max(self.most, self._peak(pid))

    @staticmethod
    def _peak(pid):
        try:
            with open(f"/proc/{pid}/status") as status:
                return next((int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:")), 0)
        except OSError:
            return 0


class Convert(testbed.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(prefix="virtdisk-bench.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.folder)

    def compare(self, name, source):
        target = os.path.join(self.folder, "new.vhdx")

        def emptied(work):
            took = timed(work)
            os.unlink(target)
            return took

        def ours():
            self.root.close_handle(self.root.call(
                testbed.ROOT, testbed.MANAGER, "CreateVirtualDisk", "(suuta{sv})", target, 0, 0, 0,
                testbed.options(version=2, source_path=source), deadline=1200)[0])

        def theirs():
            subprocess.run(["qemu-img", "convert", "-t", "writeback", "-f", "raw", "-O", "vhdx", source, target], check=True)

        with Watch() as watch:
            a, b = alternate(lambda: emptied(ours), lambda: emptied(theirs))
        record(f"{name} into a VHDX: {a:.3g} s, qemu-img {b:.3g} s")
        report(f"{name} into a VHDX, time to qemu-img's", a / b, 0.8, better="at most")
        report("memory of the worker", watch.most / MIB, 64, " MiB", better="at most")

    def test_1_random_data(self):
        source = os.path.join(self.folder, "random.img")
        with open(source, "wb") as file:
            for _ in range(SIZE):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        self.compare(f"{SIZE} MiB of random data", source)

    def test_2_sparse(self):
        source = os.path.join(self.folder, "sparse.img")
        with open(source, "wb") as file:
            for offset in range(0, 64 << 30, 1 << 30):
                file.seek(offset)
                file.write(os.urandom(64 << 10))
            file.truncate(64 << 30)
            os.fsync(file.fileno())
        self.compare("64 GiB, 4 MiB of them data,", source)

    def test_3_creating_the_largest(self):
        target, times = os.path.join(self.folder, "largest.vhdx"), []
        for _ in range(ROUNDS):
            times.append(timed(lambda: self.root.close_handle(self.root.create(target, 64 << 40))))
            os.unlink(target)
        report("creating a dynamic VHDX of 64 TiB", 1000 * statistics.median(times), 50, " ms", better="at most")


if __name__ == "__main__":
    sys.exit(verdict(testbed.main()))
