#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
MergeVirtualDisk: what the target shows afterwards, also to others; what becomes of the images around it; what is refused; and a
merge that is killed again and again, until one is let finish.
"""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import served
import test_interop
import testbed
from gi.repository import GLib
from served import FIXED, METAOPS, MIB, READ
from testbed import HANDLE, USERS, options

SIZE = test_interop.SIZE
KILLS = 50
BASE, CHILD, LEAF = "base", "child", "leaf"


class Merge(test_interop.Interop):
    def setUp(self):
        served.TestCase.setUp(self)  # without what some tests need

    def chain(self, *names, size=SIZE, flags=0):
        """Images, the last one given on top; each is written here and there -> [file with what it shows]"""
        models, parent = [], None
        for seed, name in enumerate(names):
            path = self.make(name, size, flags if parent is None else 0, parent)
            model = self.path(name + ".raw")
            if parent is None:
                self.model(size, name + ".raw")
            else:
                shutil.copyfile(models[-1], model)
            self.written(path, model, size, 100 + seed, 2 * MIB)
            models.append(model)
            parent = name
        return models

    def begin(self, name, version=2, client=None, **depths):
        client = client or self.root
        access = {"version": 2} if version == 2 else {"version": 1, "rw_depth": depths.get("merge_depth", 1) + 1}
        handle = client.open(self.image(name), 0 if version == 2 else METAOPS, **access)
        depths = {key: GLib.Variant("u", value) for key, value in depths.items()}
        return handle, client.begin(handle, HANDLE, "MergeVirtualDisk", "(ua{sv})", 0, options(version=version, **depths))

    def merge(self, name, version=2, client=None, **depths):
        client = client or self.root
        handle, pending = self.begin(name, version, client, **depths)
        try:
            return pending.result(120)
        finally:
            client.close_handle(handle)

    def assertShows(self, name, model, size=SIZE):
        self.assertReadsHere(self.image(name), model, size)

    def assertSound(self, *names):
        for name in names:
            self.assertNothingFound(self.image(name))

    def test_into_the_parent(self):
        _, model = self.chain(BASE, CHILD)
        before = served.digest(self.image(CHILD))
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertShows(BASE, model)
        self.assertShows(CHILD, model)
        self.assertSound(BASE, CHILD)
        # Of the child not more than where it says which parent it has.
        self.assertEqual(served.digest(self.image(CHILD)) == before, self.extension == ".vhd")

    def test_others_read_what_was_merged(self):
        for name in ("qemu-img", "vhdimount"):
            self.need(name)
        _, model = self.chain(BASE, CHILD)
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertQemuReads(self.image(BASE), model, SIZE, "vpc" if self.extension == ".vhd" else "vhdx")
        self.assertLibvhdiReads(self.image(BASE), model, SIZE)

    def test_two_levels(self):
        *_, model = self.chain(BASE, CHILD, LEAF)
        self.merge(LEAF, version=1, merge_depth=2)
        self.assertShows(BASE, model)
        self.assertShows(LEAF, model)
        self.assertSound(BASE, CHILD, LEAF)

    def test_below_the_leaf(self):
        _, middle, top = self.chain(BASE, CHILD, LEAF)
        self.merge(LEAF, merge_source_depth=2, merge_target_depth=3)
        self.assertShows(BASE, middle)
        self.assertShows(LEAF, top)
        self.assertSound(BASE, CHILD, LEAF)

    def test_into_a_child(self):
        first, _, top = self.chain(BASE, CHILD, LEAF)
        self.merge(LEAF, version=1)
        self.assertShows(CHILD, top)
        self.assertShows(LEAF, top)
        self.assertShows(BASE, first)

    def test_into_a_fixed_one(self):
        _, model = self.chain(BASE, CHILD, flags=FIXED)
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertShows(BASE, model)
        self.assertSound(BASE, CHILD)

    def test_siblings(self):
        _, model = self.chain(BASE, CHILD)
        self.make("sibling", parent=BASE)
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertShows(CHILD, model)
        if self.extension == ".vhd":
            self.assertShows("sibling", model)  # it is broken, and cannot know
        else:
            self.assertBusError("VhdChildParentIdMismatch", self.root.open, self.image("sibling"), READ)

    def test_arguments(self):
        self.chain(BASE, CHILD)
        before = served.digest(self.image(BASE)), served.digest(self.image(CHILD))
        for depths in ({"merge_source_depth": 1, "merge_target_depth": 3}, {"merge_source_depth": 2, "merge_target_depth": 2},
                       {"merge_source_depth": 0, "merge_target_depth": 2}, {"merge_source_depth": 1}, {"merge_depth": 1}):
            self.assertBusError("InvalidParameter", self.merge, CHILD, **depths)
        for depths in ({"merge_depth": 0}, {"merge_depth": 2}, {"merge_source_depth": 1, "merge_target_depth": 2}):
            self.assertBusError("InvalidParameter", self.merge, CHILD, version=1, **depths)
        self.assertBusError("VhdInvalidType", self.merge, BASE, merge_source_depth=1, merge_target_depth=2)
        handle = self.root.open(self.image(CHILD), METAOPS, version=1, rw_depth=1)
        self.assertBusError("AccessDenied", self.root.call, handle, HANDLE, "MergeVirtualDisk", "(ua{sv})", 0, {})
        self.root.close_handle(handle)
        self.assertEqual((served.digest(self.image(BASE)), served.digest(self.image(CHILD))), before)

    def test_a_parent_that_is_not_ours(self):
        user = self.connect("vd-first")
        self.chain(BASE, CHILD)
        os.chown(self.image(CHILD), *USERS["vd-first"][:2])
        os.chmod(self.image(BASE), 0o644)
        before = served.digest(self.image(BASE))
        self.assertBusError("AccessDenied", self.merge, CHILD, client=user, merge_source_depth=1, merge_target_depth=2)
        self.assertEqual(served.digest(self.image(BASE)), before)

    def test_no_space(self):
        _, model = self.chain(BASE, CHILD)
        small = self.path("small")
        os.mkdir(small)
        room = sum(os.stat(self.image(name)).st_blocks * 512 for name in (BASE, CHILD)) + 2 * MIB
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "virtdisk-test", small], check=True)
        try:
            for name in (BASE, CHILD):
                subprocess.run(["cp", "--sparse=always", self.image(name), small], check=True)
            inside = {name: "small/" + name for name in (BASE, CHILD)}
            free = os.statvfs(small)
            with open(small + "/rest", "wb") as rest:
                os.posix_fallocate(rest.fileno(), 0, free.f_bavail * free.f_frsize - 64 * 1024)
            self.assertBusError("DiskFull", self.merge, inside[CHILD], merge_source_depth=1, merge_target_depth=2)
            os.unlink(small + "/rest")
            self.assertShows(inside[CHILD], model)
            subprocess.run(["mount", "-o", f"remount,size={room + 2 * SIZE}", small], check=True)
            self.merge(inside[CHILD], merge_source_depth=1, merge_target_depth=2)
            self.assertShows(inside[BASE], model)
        finally:
            # The ring of a worker that has ended may keep a file for another moment.
            subprocess.run(["umount", "--lazy", small], check=True)

    def worker_of(self, pending):
        """The one that merges; None if it is over already."""
        context = GLib.MainContext.default()
        while not pending.done:
            with contextlib.suppress(OSError):  # one ends while we look
                if found := served.workers():
                    return found[0]
            context.iteration(False)
        return None

    def test_killed_again_and_again(self):
        _, model = self.chain(BASE, CHILD)
        chosen, lost = random.Random(5), 0
        started = time.perf_counter()
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        whole = time.perf_counter() - started
        for number in range(KILLS):
            handle, pending = self.begin(CHILD, merge_source_depth=1, merge_target_depth=2)
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
            self.root.close_handle(self.root.open(self.image(CHILD), READ))
            if number % 10 == 0:
                self.assertShows(CHILD, model)
        self.assertGreater(lost, 0)
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertShows(BASE, model)
        self.assertShows(CHILD, model)
        self.assertSound(BASE, CHILD)

    def can_be_opened(self):
        try:
            self.root.close_handle(self.root.open(self.image(CHILD), READ))
        except testbed.BusError as error:
            if error.name != testbed.NAME + ".Error.SharingViolation":
                raise
            return False
        return True

    def test_the_service_is_killed(self):
        _, model = self.chain(BASE, CHILD)
        _, pending = self.begin(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.worker_of(pending)
        self.bed.kill_daemon()
        self.bed.start_daemon()
        # The kernel lets the files go when the last request of whoever merged has ended, which is after its end.
        self.bed.wait(self.can_be_opened, "the end of who merged for a service that is gone")
        self.assertShows(CHILD, model)
        self.merge(CHILD, merge_source_depth=1, merge_target_depth=2)
        self.assertShows(BASE, model)


class VhdMerge(Merge):
    extension, kind = ".vhd", "vpc"


if __name__ == "__main__":
    sys.exit(testbed.main())
