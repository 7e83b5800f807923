#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Speed of the ublk route, in the test VM: each figure as a ratio to a peer or to the limit in the same boot.

  sudo tests/vm/vm run tests/bench/vm-ublk.py --build-dir build --deadline 900 [--kernel 7.2]

The emulated machine says nothing about absolute numbers; ratios between paths hold. Images lie in memory.
"""
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
# The script is run from a folder of its own there.
sys.path.insert(0, os.path.join(os.environ.get("VM_TESTS", os.path.join(os.path.dirname(__file__), "..")), "bench"))
from figures import MIB, alternate, fio, record, report, verdict  # noqa: E402

SIZE = 192
FOLDER = "/dev/shm/virtdisk-bench"


def run(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def attach(image, *options):
    return run("virtdisk", "attach", *options, image).strip()


class Paths:
    """The same bytes by five ways; each attached while the bench runs, each on a file of its own."""

    def __init__(self):
        os.makedirs(FOLDER, exist_ok=True)
        self.ends = []
        raw = self.file("filled.img")
        with open(raw, "wb") as file:
            for _ in range(SIZE):
                file.write(os.urandom(MIB))
        self.vhdx = self.converted(raw, "ours.vhdx")
        self.devices = {"ours": self.ours(self.vhdx), "raw by our worker": self.ours(self.copy(raw, "worker.img"))}
        self.devices["qemu-nbd"] = self.nbd(self.converted(raw, "peer.vhdx"))
        self.devices["bare loop"] = self.loop(raw)

    def file(self, name):
        return os.path.join(FOLDER, name)

    def copy(self, raw, name):
        return run("cp", raw, self.file(name)) or self.file(name)

    def converted(self, raw, name):
        run("qemu-img", "convert", "-O", "vhdx", "-o", "subformat=dynamic", raw, self.file(name))
        return self.file(name)

    def ours(self, image):
        device = attach(image, "--route=ublk")
        self.ends.append(lambda: run("virtdisk", "detach", image))
        return device

    def nbd(self, image):
        run("modprobe", "nbd", "max_part=0")
        run("qemu-nbd", "--connect=/dev/nbd0", "--format=vhdx", image)
        self.ends.append(lambda: run("qemu-nbd", "--disconnect", "/dev/nbd0"))
        deadline = time.monotonic() + 20
        while int(open("/sys/block/nbd0/size").read()) == 0 and time.monotonic() < deadline:
            run("udevadm", "settle", "--timeout=1")
        return "/dev/nbd0"

    def loop(self, raw):
        device = run("losetup", "--find", "--show", "--direct-io=on", raw).strip()
        self.ends.append(lambda: run("losetup", "-d", device))
        return device

    def close(self):
        for end in reversed(self.ends):
            end()
        run("rm", "-r", FOLDER)


def main():
    run("modprobe", "ublk_drv")
    paths = Paths()
    try:
        names = list(paths.devices)
        for what, pattern, block, depth in (("4 KiB random read, depth 32", "randread", "4k", 32),
                                            ("4 KiB random write, depth 32", "randwrite", "4k", 32),
                                            ("1 MiB sequential read, depth 4", "read", "1M", 4)):
            speeds = dict(zip(names, alternate(*(lambda name=name: fio(paths.devices[name], pattern, block, depth)
                                                 for name in names))))
            record(f"{what}: " + ", ".join(f"{name} {speed / MIB:.1f} MiB/s" for name, speed in speeds.items()))
            small = block == "4k"
            for name, bound in (("qemu-nbd", 10), ("raw by our worker", 0.95), ("bare loop", 0.55)):
                ratio = speeds["ours"] / speeds[name]
                if small:
                    report(f"{what}, to {name}", ratio, bound)
                else:
                    record(f"{what}, to {name}: {ratio:.3g}")
    finally:
        paths.close()
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
