#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of CompactVirtualDisk on a dynamic VHDX of which every second block was overwritten with zeros, beside that of reading
what is allocated in it once.

  sudo [VIRTDISK_BENCH_MIB=10240] [VIRTDISK_BENCH_FOLDER=/var/tmp] tests/bench/bench_compact.py --build-dir build

On a disk, with nothing of the image in memory beforehand. Both alternate; medians are compared. Needs three times the size.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "system"))
import testbed  # noqa: E402
from figures import MIB, alternate, report, timed, verdict  # noqa: E402

testbed.tap.TEST_DEADLINE = 3600  # seconds: what is measured is not hurried

SIZE = int(os.environ.get("VIRTDISK_BENCH_MIB", "2048")) * MIB
FOLDER = os.environ.get("VIRTDISK_BENCH_FOLDER", "/var/tmp")
BLOCK = 32 * MIB
METAOPS = 0x200000


def forget(path):
    """Nothing of it is in memory any more."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


class Compact(testbed.TestCase):
    def test_half_of_it_zeros(self):
        folder = tempfile.mkdtemp(prefix="virtdisk-bench.", dir=FOLDER)
        self.addCleanup(shutil.rmtree, folder)
        kept, image = os.path.join(folder, "kept.vhdx"), os.path.join(folder, "image.vhdx")
        self.root.close_handle(self.root.create(kept, SIZE))
        _, device, _ = self.root.attach_image(kept)
        subprocess.run(["dd", "if=/dev/urandom", f"of={device}", "bs=1M", "conv=fsync", "oflag=direct", "status=none",
                        f"count={SIZE // MIB}"], check=True)
        for block in range(1, SIZE // BLOCK, 2):
            subprocess.run(["dd", "if=/dev/zero", f"of={device}", "bs=1M", f"seek={block * BLOCK // MIB}", "oflag=direct",
                            f"count={BLOCK // MIB}", "conv=fsync,notrunc", "status=none"], check=True)
        self.root.detach_image(kept)

        def compact():
            shutil.copyfile(kept, image)
            forget(image)
            forget(kept)
            handle = self.root.open(image, METAOPS)
            took = timed(lambda: self.root.compact(handle, deadline=600))
            self.root.close_handle(handle)
            self.assertLess(os.stat(image).st_size, SIZE // 2 + 16 * MIB)
            return took

        def read():
            forget(kept)
            return timed(lambda: subprocess.run(["dd", f"if={kept}", "of=/dev/null", "bs=1M", "status=none"], check=True))

        a, b = alternate(compact, read)
        print(f"   {SIZE // MIB} MiB, half of it zeros: compacted in {a:.2f} s, read once in {b:.2f} s")
        report("compacting a dynamic VHDX, to reading what is allocated in it", a / b, 1.3, better="at most")


if __name__ == "__main__":
    sys.exit(verdict(testbed.main()))
