#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
CreateVirtualDisk with SourcePath: every kind into every kind, read by others and by the service itself; chains; block
devices; whose the new file is; and that whatever goes wrong in the middle leaves no file, and the source as it was.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys

import testbed
import userfuse
from client import options
from testbed import MANAGER, NAME, ROOT, USERS, images
from gi.repository import GLib

MIB = 1 << 20
FIXED, PREVENT_WRITES, SPARSE = 1, 2, 0x80
READ, ATTACH_RW, DETACH = 0xD0000, 0x20000, 0x40000
SIZE = 1
VHD, VHDX, RAW = 2, 3, 100
JOB = NAME + ".Job"
# extension, flags, what it is called by qemu-img; None: it does not tell fixed ones from the other
KINDS = (("vhd", 0), ("vhd", FIXED), ("vhdx", 0), ("vhdx", FIXED), ("img", 0), ("img", FIXED), ("vhdx", FIXED | SPARSE))
QEMU = {"vhd": "driver=vpc,force_size_calc=current_size,file.filename=", "vhdx": "driver=vhdx,file.filename=",
        "img": "driver=raw,file.filename=", "iso": "driver=raw,file.filename="}


def pattern(size, seed=1):
    """Random bytes, runs of one byte, zeros and less than a sector of them."""
    chance, data = random.Random(seed), bytearray(size)
    for start in range(0, size - 4096, 384 << 10):
        length = chance.choice((512, 4096, 70 << 10, 300 << 10))
        length = min(length, size - start)
        data[start:start + length] = chance.randbytes(length) if chance.random() < 0.7 else b"x" * length
    data[-512:] = b"e" * 512
    return bytes(data)


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(MIB):
            found.update(piece)
    return found.hexdigest()


class Convert(testbed.TestCase):
    def raw(self, name="source.img", data=None):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(data if data is not None else pattern(12 * MIB + 512))
        return path

    def convert(self, source, name, flags=0, size=0, client=None, **opts):
        path = name if name.startswith("/") else self.path(name)
        client = client or self.root
        client.close_handle(client.create(path, size, flags, source_path=source, **opts))
        return path

    def flat(self, path):
        """The content as qemu-img has it -> digest and size."""
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        out = self.path("flat")
        subprocess.run(["qemu-img", "convert", "--image-opts", QEMU[path.rsplit(".", 1)[1]] + path, "-O", "raw", out],
                       check=True)
        try:
            return digest(out), os.path.getsize(out)
        finally:
            os.unlink(out)

    def through_device(self, path):
        _, device, _ = self.root.attach_image(path, read_only=True)
        try:
            return digest(device)
        finally:
            self.root.detach_image(path)

    def check(self, path):
        found = self.root.call(ROOT, MANAGER, "CheckImage", "(sa{sv})", path, {})[0]
        self.assertEqual(found["faults"], [])

    def left(self, folder=None):
        return sorted(os.listdir(folder or self.dir))

    def assert_refused(self, error, source, name, *arguments, client=None, **opts):
        before = self.left()
        client = client or self.root
        message = self.assertBusError(error, client.create, self.path(name), *arguments, source_path=source, **opts)
        self.bed.wait(lambda: self.left() == before, "nothing left of a failed copy", 10)
        return message

    def test_every_combination(self):
        source = self.raw()
        wanted = digest(source), 12 * MIB + 512
        for number, (extension, flags) in enumerate(KINDS):
            first = self.convert(source, f"{number}.{extension}", flags, verify=number % 2 == 0)
            self.check(first)
            self.assertEqual(self.flat(first), wanted, first)
            self.assertEqual(self.through_device(first), wanted[0], first)
            for other, (next_extension, next_flags) in enumerate(KINDS):
                with self.subTest(source=(extension, flags), target=(next_extension, next_flags)):
                    second = self.convert(first, f"{number}-{other}.{next_extension}", next_flags)
                    self.assertEqual(self.flat(second), wanted)
                    self.check(second)
                    os.unlink(second)
        self.assertEqual(digest(source), wanted[0])

    def test_round_trip(self):
        path = self.raw("0.img")
        wanted = digest(path), os.path.getsize(path)
        for number, extension in enumerate(("vhd", "vhdx", "img", "vhd", "img"), 1):
            path = self.convert(path, f"{number}.{extension}", verify=True)
        self.assertEqual((digest(path), os.path.getsize(path)), wanted)

    def test_blocks_and_sectors(self):
        source = self.raw(data=pattern(12 * MIB))
        wanted = digest(source)
        for block in (0, MIB, 2 * MIB, 32 * MIB, 256 * MIB):
            for sector, physical in ((512, 512), (512, 4096), (4096, 4096)):
                with self.subTest(block=block, sector=sector, physical=physical):
                    path = self.convert(source, "new.vhdx", block_size=block, sector_size=sector,
                                        physical_sector_size=physical)
                    self.check(path)
                    if sector == 512 and shutil.which("qemu-img"):
                        subprocess.run(["qemu-img", "check", "-q", "-f", "vhdx", path], check=True)
                        self.assertEqual(self.flat(path)[0], wanted)
                    back = self.convert(path, "back.img")
                    self.assertEqual(digest(back), wanted)
                    os.unlink(path), os.unlink(back)
        for block in (0, MIB // 2, 2 * MIB):
            with self.subTest(block=block):
                path = self.convert(source, "new.vhd", block_size=block)
                self.check(path)
                self.assertEqual(self.flat(path)[0], wanted)
                os.unlink(path)

    def test_zeros_take_no_space(self):
        data = bytes(8 * MIB) + b"x" * 512 + bytes(56 * MIB - 512)
        source = self.raw(data=data)
        for name, most in (("a.vhdx", 6 * MIB), ("a.vhd", 3 * MIB), ("a.img", MIB)):
            path = self.convert(source, name, **({"block_size": MIB} if name == "a.vhdx" else {}))
            self.assertLess(os.stat(path).st_blocks * 512, most, name)
            self.assertEqual(self.flat(path)[0], digest(source))
        self.assertGreaterEqual(os.stat(self.convert(source, "b.img", FIXED)).st_blocks * 512, 64 * MIB)
        self.assertGreaterEqual(os.stat(self.convert(source, "b.vhdx", FIXED)).st_blocks * 512, 64 * MIB)

    def write(self, path, offset, data):
        _, device, _ = self.root.attach_image(path)
        with open(device, "r+b", buffering=0) as disk:
            disk.seek(offset)
            disk.write(data)
            os.fsync(disk.fileno())
        self.root.detach_image(path)

    def test_a_chain_becomes_one_image(self):
        for extension in ("vhdx", "vhd"):
            with self.subTest(extension):
                wanted = bytearray(pattern(12 * MIB, seed=3))
                root = self.convert(self.raw("root.img", bytes(wanted)), f"root.{extension}")
                leaf = root
                for level in range(3):
                    child = self.path(f"{level}.{extension}")
                    self.root.close_handle(self.root.create(child, 0, parent_path=leaf))
                    for offset, data in ((level * 3 * MIB + 1024, os.urandom(512)), (7 * MIB, bytes([level]) * 4096)):
                        self.write(child, offset, data)
                        wanted[offset:offset + len(data)] = data
                    leaf = child
                before = digest(leaf), digest(root)
                flat = self.convert(leaf, "flat.img", verify=True)
                with open(flat, "rb") as file:
                    self.assertEqual(file.read(), bytes(wanted))
                single = self.convert(leaf, f"single.{'vhd' if extension == 'vhdx' else 'vhdx'}")
                self.assertEqual(self.flat(single)[0], digest(flat))
                self.assertEqual((digest(leaf), digest(root)), before)
                for path in (flat, single):
                    os.unlink(path)

    def test_an_iso_is_copied(self):
        if not shutil.which("xorriso") and not shutil.which("genisoimage"):
            self.skipTest("neither xorriso nor genisoimage is installed")
        iso = images.iso(self.path("disc.iso"), {"large": os.urandom(5 * MIB)})
        for name in ("a.img", "a.vhdx", "a.vhd"):
            self.assertEqual(self.flat(self.convert(iso, name, verify=True)), (digest(iso), os.path.getsize(iso)))

    def test_sizes(self):
        source = self.raw()
        path = self.convert(source, "large.vhdx", size=64 * MIB, verify=True)
        handle = self.root.open(path, 0, version=2, get_info_only=True)
        self.assertEqual(self.root.info(handle, SIZE)["VirtualSize"], 64 * MIB)
        self.root.close_handle(handle)
        with open(source, "rb") as file:
            self.assertEqual(self.flat(path)[0], hashlib.sha256(file.read() + bytes(52 * MIB - 512)).hexdigest())
        self.assert_refused("InvalidParameter", source, "a.vhdx", 12 * MIB)
        # The formats have no smaller ones.
        small = self.convert(self.raw("small.img", b"s" * 512), "small.vhdx")
        self.assertEqual(self.flat(small)[1], 3 * MIB)
        self.assertEqual(os.path.getsize(self.convert(self.path("small.img"), "small2.img")), 512)

    def test_parameters(self):
        source = self.raw()
        self.assert_refused("InvalidParameter", source, "a.vhdx", 0, parent_path=source)
        self.assert_refused("InvalidParameter", "source.img", "a.vhdx", 0)
        self.assert_refused("FileNotFound", self.path("none.img"), "a.vhdx", 0)
        self.assert_refused("PathNotFound", self.path("none/none.img"), "a.vhdx", 0)
        self.assert_refused("InvalidParameter", source, "a.vhdx", 0, mode=0o4755)
        self.assert_refused("InvalidParameter", source, "a.vhdx", 0, version=1, access_mask=READ, source_device_id=RAW)
        self.assert_refused("FileCorrupt", source, "a.vhdx", 0, source_device_id=VHDX)
        os.rename(source, self.path("nameless"))
        self.assert_refused("ProviderNotFound", self.path("nameless"), "a.vhdx", 0)
        self.convert(self.path("nameless"), "a.vhdx", source_device_id=RAW)
        self.assert_refused("FileExists", self.path("nameless"), "a.vhdx", 0, source_device_id=RAW)
        four = self.convert(self.path("nameless"), "four.vhdx", size=16 * MIB, sector_size=4096, source_device_id=RAW)
        self.assert_refused("UnsupportedDiskSectorSize", four, "a.vhd", 0)
        self.convert(four, "a.vhd", sector_size=512)

    def test_rights_are_the_callers(self):
        user = self.connect("vd-first")
        own = self.path("own")
        os.mkdir(own)
        os.chown(own, *USERS["vd-first"][:2])
        secret = self.raw("secret.img")
        os.chmod(secret, 0o600)
        self.assertBusError("AccessDenied", user.create, own + "/a.vhdx", 0, source_path=secret)
        os.chmod(secret, 0o644)
        self.assertBusError("AccessDenied", user.create, self.path("a.vhdx"), 0, source_path=secret)
        path = self.convert(secret, own + "/a.vhdx", client=user)
        self.assertEqual(os.stat(path).st_uid, USERS["vd-first"][0])
        self.assertEqual(self.left(own), ["a.vhdx"])

    def test_owner_and_mode(self):
        source, user = self.raw(), self.connect("vd-first")
        uid, gid = USERS["vd-first"][:2]
        path = self.convert(source, "a.vhdx", owner_uid=uid, owner_gid=gid, mode=0o640)
        found = os.stat(path)
        self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (uid, gid, 0o640))
        own = self.path("own")
        os.mkdir(own)
        os.chown(own, uid, gid)
        self.assertBusError("AccessDenied", user.create, own + "/a.vhdx", 64 * MIB, owner_uid=0)
        self.assertBusError("AccessDenied", user.create, own + "/a.vhdx", 64 * MIB, owner_gid=0)
        self.bed.wait(lambda: not self.left(own), "nothing left of a failed create", 10)
        user.close_handle(user.create(own + "/a.vhdx", 64 * MIB, mode=0o644, owner_uid=uid, owner_gid=gid))
        self.assertEqual(stat.S_IMODE(os.stat(own + "/a.vhdx").st_mode), 0o644)

    def test_sharing(self):
        source = self.convert(self.raw(), "source.vhdx")
        reader = self.root.open(source, READ)
        self.convert(source, "a.vhdx")
        self.root.close_handle(reader)
        writer = self.root.open(source, ATTACH_RW)
        self.assert_refused("SharingViolation", source, "b.vhdx", 0)
        self.root.close_handle(writer)
        self.root.attach_image(source)
        self.assert_refused("SharingViolation", source, "b.vhdx", 0)
        self.root.detach_image(source)
        self.root.attach_image(source, read_only=True)
        self.convert(source, "b.vhdx")
        self.root.detach_image(source)

    def test_full_file_system(self):
        source, small = self.raw(data=os.urandom(24 * MIB)), self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "virtdisk-test", small], check=True)
        try:
            for name, flags in (("a.vhdx", 0), ("a.vhdx", FIXED), ("a.vhd", 0), ("a.vhd", FIXED), ("a.img", 0), ("a.img", FIXED)):
                with self.subTest(name, flags=flags):
                    self.assertBusError("DiskFull", self.root.create, f"{small}/{name}", 0, flags, source_path=source)
                    self.bed.wait(lambda: not os.listdir(small), "nothing left of a failed copy", 10)
        finally:
            # Who made the file may still be on its way out of the folder.
            self.bed.wait(lambda: subprocess.run(["umount", small], check=False, stderr=subprocess.DEVNULL).returncode == 0,
                          "the unmount", 10)

    def test_space_is_shared_where_that_can_be(self):
        if not shutil.which("mkfs.btrfs"):
            self.skipTest("btrfs-progs is not installed")
        disk, point = self.path("disk"), self.path("point")
        images.raw(disk, 256 * MIB, fs="btrfs")
        os.mkdir(point)
        if subprocess.run(["mount", "-o", "loop", disk, point], check=False, capture_output=True).returncode != 0:
            self.skipTest("btrfs cannot be mounted here")
        try:
            source = os.path.join(point, "source.img")
            with open(source, "wb") as file:
                file.write(os.urandom(32 * MIB))
                os.fsync(file.fileno())
            for name, flags in (("a.vhdx", 0), ("a.img", 0), ("a.vhdx", FIXED | SPARSE), ("a.vhd", 0)):
                with self.subTest(name, flags=flags):
                    path = self.convert(source, os.path.join(point, name), flags, verify=True)
                    self.assertEqual(self.flat(path), (digest(source), 32 * MIB))
                    shared = subprocess.run(["filefrag", "-v", path], capture_output=True, text=True, check=True).stdout
                    self.assertIn("shared", shared)
                    os.unlink(path)
        finally:
            self.bed.wait(lambda: subprocess.run(["umount", point], check=False, stderr=subprocess.DEVNULL).returncode == 0,
                          "the unmount", 10)

    # Block devices

    def loop(self, file, *more):
        device = subprocess.run(["losetup", "--find", "--show", *more, file], check=True, capture_output=True,
                                text=True).stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False)
        return device

    def test_a_device_is_copied(self):
        source = self.raw(data=pattern(16 * MIB))
        device = self.loop(source)
        for name, flags in (("a.vhdx", 0), ("a.vhd", FIXED), ("a.img", PREVENT_WRITES)):
            self.assertEqual(self.flat(self.convert(device, name, flags, verify=True)), (digest(source), 16 * MIB))
        self.assert_refused("InvalidParameter", device, "b.vhdx", 0, source_device_id=VHDX)

    def test_a_device_needs_its_privilege(self):
        device = self.loop(self.raw(data=pattern(4 * MIB)))
        os.chmod(device, 0o666)
        user, own = self.connect("vd-first"), self.path("own")
        os.mkdir(own)
        os.chown(own, *USERS["vd-first"][:2])
        self.bed.polkit(**{"use-physical-disk": "no"})
        self.assertBusError("PrivilegeNotHeld", user.create, own + "/a.vhdx", 0, source_path=device)
        self.bed.polkit(**{"use-physical-disk": "yes"})
        self.convert(device, own + "/a.vhdx", client=user)
        # The privilege opens nothing that the caller may not open.
        os.chmod(device, 0o600)
        self.assertBusError("AccessDenied", user.create, own + "/b.vhdx", 0, source_path=device)
        self.bed.wait(lambda: self.left(own) == ["a.vhdx"], "nothing left of a failed copy", 10)

    def test_another_device_than_was_asked_about(self):
        asked, other = (self.loop(self.raw(name, data=pattern(4 * MIB))) for name in ("asked.img", "other.img"))
        user, own = self.connect("vd-first"), self.path("own")
        os.mkdir(own)
        os.chown(own, *USERS["vd-first"][:2])
        for device in (asked, other):
            os.chmod(device, 0o666)
        link = own + "/stick"
        os.symlink(asked, link)
        self.bed.polkit(**{"use-physical-disk": "auth_admin"})
        person = self.bed.person()
        person.meanwhile = lambda: (os.unlink(link), os.symlink(other, link))
        call = user.begin(ROOT, MANAGER, "CreateVirtualDisk", "(suuta{sv})", own + "/a.vhdx", 0, 0, 0,
                          options(version=2, source_path=link), interactive=True)
        self.assertIn("when its use was allowed", self.assertBusError("FileChanged", call.result))
        self.assertEqual({question["device"] for question in self.bed.polkit_asked()}, {asked})

    def test_a_device_that_others_have(self):
        source = images.raw(self.path("fs.img"), 64 * MIB, fs="ext4")
        device, point = self.loop(source), self.path("point")
        os.mkdir(point)
        claimed = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            self.assert_refused("DiskAlreadyOwned", device, "a.vhdx", 0, PREVENT_WRITES)
        finally:
            os.close(claimed)
        subprocess.run(["mount", device, point], check=True)
        try:
            message = self.assert_refused("DiskOnlineAndWritable", device, "a.vhdx", 0, PREVENT_WRITES)
            self.assertIn(point, message)
            # Who does not ask for it gets what is there.
            self.convert(device, "a.vhdx")
        finally:
            subprocess.run(["umount", point], check=True)
        read_only = self.loop(source, "--read-only")
        subprocess.run(["mount", "-o", "ro", read_only, point], check=True)
        try:
            self.convert(read_only, "b.vhdx", PREVENT_WRITES)
        finally:
            subprocess.run(["umount", point], check=True)

    # What happens in the middle: the source is a file whose reading waits until it is told to go on.

    def slow_source(self, size=16 * MIB):
        slow = userfuse.UserFuse(self.path("slow"), (0, 0), "source.img",
                                 self.raw("behind.img", os.urandom(size)))
        self.addCleanup(slow.end)
        slow.hold(userfuse.READ)
        return slow

    def begin(self, slow, client=None, name="new.vhdx", **opts):
        client = client or self.root
        folder = self.path("target")
        os.makedirs(folder, exist_ok=True)
        pending = client.begin(ROOT, MANAGER, "CreateVirtualDisk", "(suuta{sv})", os.path.join(folder, name), 0, 0, 0,
                               testbed.options(version=2, source_path=slow.path, **opts))
        self.bed.wait(lambda: len(slow.kept) > 0, "the copy has begun")
        return pending

    def assert_nothing_appears(self):
        self.bed.wait(lambda: not self.left(self.path("target")), "no file left", 20)

    def leave(self, client):
        """And the service knows."""
        name = client.name
        client.close()
        self.bed.wait(lambda: not self.root.connection.call_sync(
            "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", GLib.Variant("(s)", (name,)), None, 0,
            10000, None).unpack()[0], "the client has gone")
        self.root.all_paths()

    def workers(self):
        return [pid for pid, command in testbed.processes() if command == "virtdisk-worker"]

    def test_a_source_that_shrinks(self):
        slow = self.slow_source()
        pending = self.begin(slow)
        slow.shorten(5 * MIB)
        slow.release()
        self.assertBusError("FileChanged", pending.result)
        self.assert_nothing_appears()

    def test_the_worker_is_killed(self):
        slow = self.slow_source()
        pending = self.begin(slow)
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        # The kernel does not let go of it before.
        slow.release()
        self.assertBusError("WorkerLost", pending.result)
        self.assert_nothing_appears()

    def test_the_service_is_killed(self):
        slow = self.slow_source()
        self.begin(slow)
        self.bed.kill_daemon()
        slow.release()
        self.assert_nothing_appears()
        self.bed.start_daemon()

    def test_the_client_leaves(self):
        slow = self.slow_source()
        client = self.connect()
        self.begin(slow, client)
        self.leave(client)
        slow.release()
        self.bed.wait(lambda: not self.workers(), "the worker has ended", 20)
        self.assertEqual(self.left(self.path("target")), [])

    def test_a_job_is_cancelled(self):
        slow = self.slow_source()
        job = self.begin(slow, **{"job": "copying", "async": True}).result()[0]
        self.assertEqual(job, "/org/virtdisk1/job/0_copying")
        self.root.call(job, JOB, "Cancel", "(a{sv})", {})
        slow.release()
        self.assertBusError("OperationAborted", self.root.call, job, JOB, "Wait", "(a{sv})", {})
        self.assert_nothing_appears()

    def test_a_job_goes_on_without_its_client(self):
        slow = self.slow_source()
        client = self.connect()
        job = self.begin(slow, client, **{"async": True, "detach-job": True}).result()[0]
        self.leave(client)
        slow.release()
        path = self.path("target/new.vhdx")
        self.root.call(job, JOB, "Wait", "(a{sv})", {})
        self.assertTrue(self.may_write(path), "the handle that nobody has is not closed")
        self.assertEqual(self.flat(path)[0], digest(self.path("behind.img")))

    def may_write(self, path):
        try:
            self.root.close_handle(self.root.open(path, ATTACH_RW))
            return True
        except testbed.BusError:
            return False

    def test_a_job_has_its_handle(self):
        source = self.raw()
        path = self.path("new.vhdx")
        job = self.root.create(path, 0, source_path=source, **{"async": True})
        results = self.root.call(job, JOB, "Wait", "(a{sv})", {})[0]
        self.assertGreater(results["copied"], 5 * MIB)
        self.assertEqual(self.root.info(results["handle"], SIZE)["VirtualSize"], 12 * MIB + 512)
        self.root.close_handle(results["handle"])


if __name__ == "__main__":
    sys.exit(testbed.main())
