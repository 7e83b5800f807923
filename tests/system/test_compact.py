#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
CompactVirtualDisk: the file becomes smaller, the disk stays as it is, for us and for others; what is refused; and a run that is
killed again and again, until one is let finish.
"""
import contextlib
import os
import random
import shutil
import signal
import sys
import time

import served
import test_interop
import testbed
from gi.repository import GLib
from served import ATTACH_RW, DETACH, FIXED, GET_INFO, METAOPS, MIB, READ
from testbed import HANDLE, options

BLOCKS, BLOCK = 40, 2 * MIB
SIZE = BLOCKS * BLOCK
KILLS = 30
NO_ZERO_SCAN, NO_BLOCK_MOVES = 1, 2
BASE, CHILD = "base", "child"


class Compact(test_interop.Interop):
    def setUp(self):
        served.TestCase.setUp(self)  # without what some tests need

    def fill(self, path, model, zeros=lambda block: block % 2 == 1):
        """Every block, in an order of its own: something at its end, or zeros that are written. The same into the model."""
        chosen, order = random.Random(3), list(range(BLOCKS))
        chosen.shuffle(order)
        device = self.attached(path)
        with open(device, "r+b", buffering=0) as disk, open(model, "r+b", buffering=0) as same:
            for block in order:
                data = bytes(BLOCK) if zeros(block) else bytes(BLOCK - 65536) + chosen.randbytes(65536)
                for file in (disk, same):
                    self.assertEqual(os.pwrite(file.fileno(), data, block * BLOCK), BLOCK)
                os.fsync(disk.fileno())
        self.detach(path)

    def filled(self, name=BASE, **opts):
        """-> (image, file with what it shows)"""
        path, model = self.make(name, SIZE, block_size=BLOCK, **opts), self.model(SIZE, name + ".raw")
        self.fill(path, model)
        return path, model

    def compact(self, path, flags=0, **opts):
        """-> what the job has to tell"""
        handle = self.root.open(path, METAOPS)
        try:
            return self.root.wait_job(self.root.compact(handle, flags, deadline=120, **opts))
        finally:
            self.root.close_handle(handle)

    def assertSame(self, path, model, copy=None):
        self.assertReadsHere(path, model, SIZE)
        self.assertNothingFound(path)
        if copy and shutil.which("qemu-img"):
            self.bed.run(["qemu-img", "compare", "-q", "-f", self.kind, "-F", self.kind, copy, path])

    def test_smaller(self):
        path, model = self.filled()
        copy = shutil.copyfile(path, self.path("copy" + self.extension))
        before = os.stat(path).st_size
        told = self.compact(path)
        after = os.stat(path).st_size
        self.assertEqual(told["given-back"], before - after)
        self.assertGreaterEqual(before - after, BLOCKS // 2 * BLOCK)
        self.assertGreater(told["copied"], 0)
        self.assertEqual(told["fell-back"], 0)
        self.assertSame(path, model, copy)
        self.assertEqual(self.compact(path)["given-back"], 0)
        # There is room for new blocks again.
        self.written(path, model, SIZE, 11, BLOCK)
        self.assertReadsHere(path, model, SIZE)

    def test_flags(self):
        path, model = self.filled()
        before, at_once = os.stat(path), shutil.copyfile(path, self.path("at-once" + self.extension))
        self.compact(at_once)
        self.assertEqual(self.compact(path, NO_ZERO_SCAN)["given-back"], 0)
        told = self.compact(path, NO_BLOCK_MOVES)
        self.assertEqual(told["copied"], 0)
        self.assertLess(os.stat(path).st_blocks, before.st_blocks)
        self.assertGreater(self.compact(path, NO_ZERO_SCAN)["given-back"], 0)
        self.assertEqual(os.stat(path).st_size, os.stat(at_once).st_size)
        self.assertSame(path, model)
        self.assertBusError("InvalidParameter", self.compact, path, 4)

    def test_child(self):
        self.filled()
        path, model = self.make(CHILD, parent=BASE), self.path("child.raw")
        shutil.copyfile(self.path("base.raw"), model)
        # Zeros over what the parent has hide it; zeros over zeros need no space.
        self.fill(path, model, lambda block: block % 4 != 2)
        before = os.stat(path).st_size
        told = self.compact(path)
        self.assertEqual(told["given-back"], before - os.stat(path).st_size)
        self.assertGreater(told["given-back"], BLOCKS // 4 * BLOCK)
        self.assertReadsHere(path, model, SIZE)

    def test_parent_keeps_its_children(self):
        base, _ = self.filled()
        child, model = self.make(CHILD, parent=BASE), self.path("child.raw")
        shutil.copyfile(self.path("base.raw"), model)
        self.written(child, model, SIZE, 7, BLOCK)
        self.assertGreater(self.compact(base)["given-back"], 0)
        self.assertReadsHere(child, model, SIZE)

    def test_refused(self):
        path, _ = self.filled()
        handle = self.root.open(path, METAOPS | ATTACH_RW | DETACH | GET_INFO)
        self.root.attach(handle, route="fuse")
        self.assertBusError("VhdInvalidState", self.root.compact, handle)
        self.root.detach(handle)
        self.root.close_handle(handle)
        fixed = self.make("fixed", 8 * MIB, FIXED)
        self.assertBusError("VhdInvalidType", self.compact, fixed)

    def worker_of(self, pending):
        """The task's; None if it is over already."""
        context = GLib.MainContext.default()
        while not pending.done:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
                if found := served.workers():
                    return found[0]
            context.iteration(False)
        return None

    def test_killed_again_and_again(self):
        path, model = self.filled()
        again = self.path("again" + self.extension)
        shutil.copyfile(path, again)
        started = time.perf_counter()
        self.compact(again)
        whole, size = time.perf_counter() - started, os.stat(again).st_size
        chosen, lost = random.Random(5), 0
        for number in range(KILLS):
            if number % 3 == 0:
                shutil.copyfile(path, again)
            handle = self.root.open(again, METAOPS)
            pending = self.root.begin(handle, HANDLE, "CompactVirtualDisk", "(ua{sv})", 0, options())
            worker, moment = self.worker_of(pending), time.perf_counter() + chosen.uniform(0, whole)
            while time.perf_counter() < moment and not pending.done:
                GLib.MainContext.default().iteration(False)
            if worker is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            try:
                pending.result()
            except testbed.BusError as error:
                self.assertEqual(error.name, testbed.NAME + ".Error.WorkerLost")
                lost += 1
            self.root.close_handle(handle)
            self.root.close_handle(self.root.open(again, READ))
            if number % 5 == 0:
                self.assertReadsHere(again, model, SIZE)
        self.assertGreater(lost, 0)
        self.compact(again)
        self.assertEqual(os.stat(again).st_size, size)
        self.assertSame(again, model)


class VhdCompact(Compact):
    extension, kind = ".vhd", "vpc"


if __name__ == "__main__":
    sys.exit(testbed.main())
