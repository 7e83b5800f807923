#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Change tracking: what is written to a tracked disk is told of, whatever ends meanwhile; what was written behind its back is
noticed; and what is told fits the questions.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import sys

import served
import testbed
from served import FIXED, MIB
from testbed import HANDLE, options

GRANULE = 64 << 10
STATE, TRACKING = 15, 6
SIZE = 64 * MIB


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


class Changes(served.TestCase):
    def open(self, path, **opts):
        opts.setdefault("version", 2)
        return self.root.open(path, 0, **opts)

    def with_handle(self, path, call, **opts):
        handle = self.open(path, **opts)
        try:
            return call(handle)
        finally:
            self.root.close_handle(handle)

    def track(self, path, enabled=True, **more):
        self.with_handle(path, lambda h: self.root.set_info(h, TRACKING, ChangeTrackingEnabled=enabled, **more))
        return self.state(path).get("MostRecentId", "")

    def seal(self, path):
        return self.track(path, SealPoint=True)

    def state(self, path):
        return self.with_handle(path, lambda h: self.root.info(h, STATE), get_info_only=True)

    def query(self, handle, point, offset=0, length=SIZE, **opts):
        """-> ranges, processed length"""
        return self.root.call(handle, HANDLE, "QueryChangesVirtualDisk", "(sttua{sv})", point, offset, length, 0, options(**opts))

    def changed(self, path, point, size=SIZE):
        ranges, processed = self.with_handle(path, lambda h: self.query(h, point, 0, size), get_info_only=True)
        self.assertEqual(processed, size)
        return ranges

    def refused(self, name, path, point):
        self.assertBusError(name, self.changed, path, point)

    def raw(self, name="a.img", size=SIZE):
        path = self.path(name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def assertCovers(self, ranges, offset, length):
        self.assertTrue(any(start <= offset and offset + length <= start + n for start, n in ranges), f"{offset}: {ranges}")

    # -- on, off, points

    def test_a_vhdx_from_on_to_off(self):
        path = self.make("a", SIZE)
        self.assertEqual(self.state(path), {"Enabled": False, "NewerChanges": False, "MostRecentId": ""})
        self.refused("VhdChangeTrackingDisabled", path, "rctX:")
        first = self.track(path)
        self.assertRegex(first, r"\ArctX:[0-9a-f]{8}(:[0-9a-f]{4}){3}:[0-9a-f]{12}:00000001\Z")
        self.assertEqual(self.state(path), {"Enabled": True, "NewerChanges": False, "MostRecentId": first})
        self.assertEqual(self.changed(path, first), [])
        device = self.attach(path)
        self.assertEqual(self.changed(path, first), [])
        self.pwrite(device, 3 * MIB + 4096, b"x" * 4096)
        self.assertEqual(self.changed(path, first), [(3 * MIB, GRANULE)])
        self.assertTrue(self.state(path)["NewerChanges"])
        self.detach(path)
        self.assertEqual(self.changed(path, first), [(3 * MIB, GRANULE)])
        second = self.seal(path)
        self.assertEqual(second, first[:-1] + "2")
        self.assertEqual(self.changed(path, second), [])
        self.assertFalse(self.state(path)["NewerChanges"])
        device = self.attach(path)
        self.pwrite(device, 8 * MIB - 4096, b"y" * 8192)
        self.detach(path)
        self.assertEqual(self.changed(path, second), [(8 * MIB - GRANULE, 2 * GRANULE)])
        self.assertEqual(self.changed(path, first), [(3 * MIB, GRANULE), (8 * MIB - GRANULE, 2 * GRANULE)])
        self.track(path, False)
        self.assertFalse(self.state(path)["Enabled"])
        self.refused("VhdChangeTrackingDisabled", path, second)
        third = self.track(path)
        self.assertNotEqual(third[:-8], first[:-8])
        self.refused("VhdMissingChangeTrackingInformation", path, first)
        self.check(path)

    def test_states_that_do_not_fit(self):
        path = self.make("a", SIZE)
        self.assertBusError("CtlogInvalidTrackingState", self.track, path, False)
        self.assertBusError("CtlogInvalidTrackingState", self.seal, path)
        self.track(path)
        self.assertBusError("CtlogInvalidTrackingState", self.track, path)
        self.attach(path)
        self.assertBusError("VhdInvalidState", self.track, path, False)
        self.detach(path)

    def test_parts_of_the_answer(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        device = self.attach(path)
        for number in range(0, 20, 2):
            self.pwrite(device, number * MIB, b"z" * 4096)
        handle = self.open(path, get_info_only=True)
        found, at = [], 0
        while at < SIZE:
            ranges, processed = self.query(handle, point, at, SIZE - at, range_count=3)
            self.assertLessEqual(len(ranges), 3)
            found += ranges
            at += processed
        self.assertEqual(found, [(number * MIB, GRANULE) for number in range(0, 20, 2)])
        self.assertEqual(self.query(handle, point, 4096, 8192), ([(4096, 8192)], 8192))
        self.assertEqual(self.query(handle, point, MIB, MIB), ([], MIB))
        self.assertEqual(self.query(handle, point, SIZE, 0), ([], 0))
        for offset, length in ((SIZE + 1, 0), (0, SIZE + 1), (1, (1 << 64) - 1)):
            self.assertBusError("InvalidParameter", self.query, handle, point, offset, length)
        for count in (0, 65537):
            self.assertBusError("InvalidParameter", self.query, handle, point, range_count=count)
        for bad in ("", "rctX", point[:-1], point + "0", point[:-1] + "g", point[:-1] + "9", "x" * 257):
            self.assertBusError("VhdInvalidChangeTrackingId", self.query, handle, bad)
        self.root.close_handle(handle)
        self.detach(path)

    # -- every image, every route

    def images(self):
        self.extension = ".vhd"
        vhd = self.make("v", SIZE)
        fixed = self.make("f", SIZE, flags=FIXED)
        self.extension = ".vhdx"
        return [self.make("x", SIZE), self.make("fx", SIZE, flags=FIXED), vhd, fixed, self.raw()]

    def test_what_was_written_is_told(self):
        for path in self.images():
            with self.subTest(os.path.basename(path)):
                point = self.track(path)
                device = self.attach(path, route=None)
                self.assertEqual(self.properties(path)["Route"], "fuse")
                written = [random.randrange(SIZE // 4096) * 4096 for _ in range(40)]
                for offset in written:
                    self.pwrite(device, offset, os.urandom(4096))
                self.detach(path)
                wanted = sorted({offset // GRANULE for offset in written})
                found = [start // GRANULE + i for start, n in self.changed(path, point) for i in range(n // GRANULE)]
                self.assertEqual(found, wanted)

    def attach(self, path, client=None, **opts):
        if opts.get("route", "fuse") is None:
            del opts["route"]
            self._attached[path] = self.root.attach_image(path, **opts)[1]
            return self._attached[path]
        return super().attach(path, client, **opts)

    def test_loop_is_not_for_tracked_images(self):
        path = self.raw()
        self.attach(path, route=None)
        self.assertEqual(self.properties(path)["Route"], "loop")
        self.detach(path)
        self.track(path)
        self.attach(path, route=None)
        self.assertIn("the changes of the image are tracked", self.properties(path)["RouteReason"])
        self.detach(path)
        self.assertBusError("NotSupported", self.root.attach_image, path, route="loop")
        self.attach(path, route="loop", read_only=True)
        self.detach(path)

    def test_fio_writes_nothing_that_is_not_told(self):
        if not shutil.which("fio"):
            self.skipTest("fio is not installed")
        path, copy = self.make("a", SIZE), self.path("copy")
        point = self.track(path)
        device = self.attach(path)
        with open(device, "rb") as file, open(copy, "wb") as target:
            shutil.copyfileobj(file, target)
        subprocess.run(["fio", "--name=changes", f"--filename={device}", "--rw=randrw", "--bsrange=512-128k", "--size=64m",
                        "--io_size=6m", "--ioengine=psync", "--direct=1", "--fsync=16", "--output=/dev/null"], check=True,
                       stdin=subprocess.DEVNULL)
        ranges = self.changed(path, point)
        different = self.differences(device, copy)
        self.assertTrue(different)
        for offset in different:
            self.assertCovers(ranges, offset, 512)
        self.assertLess(sum(n for _, n in ranges), SIZE)
        self.detach(path)
        self.assertEqual(self.changed(path, point), ranges)

    def differences(self, device, copy):
        """Offsets of sectors."""
        with open(device, "rb") as one, open(copy, "rb") as other:
            a, b = one.read(), other.read()
        return [at for at in range(0, len(a), 512) if a[at:at + 512] != b[at:at + 512]]

    # -- ends of all kinds

    def test_worker_killed(self):
        for path in (self.make("a", SIZE), self.raw()):
            with self.subTest(os.path.basename(path)):
                point = self.track(path)
                device = self.attach(path)
                self.pwrite(device, 0, b"a" * 4096)
                pid = served.workers()[0]
                os.kill(pid, signal.SIGKILL)
                self.pwrite(device, 16 * MIB, b"b" * 4096)
                self.assertEqual(self.changed(path, point), [(0, GRANULE), (16 * MIB, GRANULE)])
                self.detach(path)
                self.assertEqual(self.changed(path, point), [(0, GRANULE), (16 * MIB, GRANULE)])
                self.assertEqual(self.seal(path), point[:-1] + "2")

    def test_daemon_killed(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        device = self.attach(path)
        self.pwrite(device, 0, b"a" * 4096)
        self.bed.kill_daemon()
        self.bed.start_daemon()
        self.pwrite(device, MIB, b"b" * 4096)
        self.assertEqual(self.changed(path, point), [(0, GRANULE), (MIB, GRANULE)])
        os.kill(served.workers()[0], signal.SIGKILL)
        self.pwrite(device, 2 * MIB, b"c" * 4096)
        self.detach(path)
        self.assertEqual(self.changed(path, point), [(0, GRANULE), (MIB, GRANULE), (2 * MIB, GRANULE)])

    # -- behind its back

    def test_changed_by_others(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write -P 7 1M 64k", path], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        self.broken(path, point)
        raw = self.raw()
        point = self.track(raw)
        with open(raw, "r+b") as file:
            file.write(b"others")
        self.broken(raw, point)

    def broken(self, path, point):
        self.refused("VhdMissingChangeTrackingInformation", path, point)
        self.assertEqual(self.state(path), {"Enabled": True, "NewerChanges": True, "MostRecentId": ""})
        self.assertBusError("CtlogVhdChangedOffline", self.seal, path)
        device = self.attach(path)
        self.pwrite(device, 0, b"b" * 4096)
        self.detach(path)
        self.refused("VhdMissingChangeTrackingInformation", path, point)
        fresh = self.track(path)
        self.assertEqual(self.changed(path, fresh), [])
        self.refused("VhdMissingChangeTrackingInformation", path, point)

    def test_written_while_the_log_was_away(self):
        for path in (self.make("a", SIZE), self.raw()):
            with self.subTest(os.path.basename(path)):
                point = self.track(path)
                os.rename(path + ".ctlog", path + ".away")
                self.assertFalse(self.state(path)["Enabled"])
                device = self.attach(path)
                self.pwrite(device, 0, b"a" * 4096)
                os.rename(path + ".away", path + ".ctlog")
                self.refused("VhdMissingChangeTrackingInformation", path, point)
                self.detach(path)
                self.broken(path, point)

    def test_what_our_own_operations_do(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        self.with_handle(path, self.root.compact)
        self.assertEqual(self.changed(path, point), [])
        self.with_handle(path, lambda h: self.root.resize(h, 2 * SIZE))
        self.refused("VhdMissingChangeTrackingInformation", path, point)

    def test_files_that_are_no_log(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        for name, damage in (("cut", lambda file: file.truncate(5000)), ("random", lambda file: file.write(os.urandom(8192)))):
            with self.subTest(name):
                with open(path + ".ctlog", "r+b") as file:
                    damage(file)
                self.refused("CtlogInconsistentTrackingFile", path, point)
                self.assertBusError("CtlogInconsistentTrackingFile", self.state, path)
                self.assertBusError("CtlogInconsistentTrackingFile", self.seal, path)
                device = self.attach(path)
                self.pwrite(device, 0, b"b" * 4096)
                self.detach(path)
                if name == "random":
                    self.assertBusError("CtlogInconsistentTrackingFile", self.track, path)
                    self.assertBusError("CtlogInconsistentTrackingFile", self.track, path, False)
                    os.unlink(path + ".ctlog")
                point = self.track(path)
                self.assertEqual(self.changed(path, point), [])

    def test_planted_files(self):
        path, victim = self.make("a", SIZE), self.path("victim")
        log = path + ".ctlog"

        def foreign():
            os.rename(victim, log)
            os.chown(log, 1, 1)

        for name, plant, error in (("symlink", lambda: os.symlink(victim, log), "NotARegularFile"),
                                   ("link", lambda: os.link(victim, log), "CtlogInconsistentTrackingFile"),
                                   ("owner", foreign, "CtlogInconsistentTrackingFile")):
            with self.subTest(name):
                with open(victim, "wb") as file:
                    file.write(b"precious" * 1024)
                plant()
                for enabled in (True, False):
                    self.assertBusError(error, self.track, path, enabled)
                device = self.attach(path)
                self.pwrite(device, 0, b"b" * 4096)
                self.detach(path)
                with open(log, "rb") as file:
                    self.assertEqual(file.read(), b"precious" * 1024)
                os.unlink(log)

    def test_the_last_point(self):
        path = self.make("a", SIZE)
        point = self.track(path)
        with open(path + ".ctlog", "r+b") as file:
            header = bytearray(file.read(4096))
            struct.pack_into("<I", header, 64, 65534)
            struct.pack_into("<I", header, 8, 0)
            struct.pack_into("<I", header, 8, crc32c(header))
            file.seek(0)
            file.write(header)
        self.assertEqual(self.seal(path), point[:-8] + "0000ffff")
        self.assertBusError("CtlogLogfileSizeExceededMaxsize", self.seal, path)
        self.assertEqual(self.changed(path, point), [])

    def test_whose_the_log_is(self):
        path = self.make("a", SIZE)
        os.chmod(path, 0o640)
        os.chown(path, 1, 1)
        self.track(path)
        status = os.stat(path + ".ctlog")
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & 0o777), (1, 1, 0o640))


if __name__ == "__main__":
    sys.exit(testbed.main())
