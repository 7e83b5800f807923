#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service ends, in order or at any step, and a new one takes over: what is attached goes on, nothing is left over."""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import threading

import testbed
from attaching import DETACH, GET_INFO, GRACE, TestCase
from testbed import DISK, RUNDIR, WORKER, BusError, images, loops

LIFETIMES = ("handle", "session", "permanent", "boot")


class Restart(TestCase):
    def restart(self, end):
        end()
        self.bed.start_daemon()

    def records(self):
        return testbed.files(f"{RUNDIR}/disks")

    def boot_records(self):
        return testbed.files(os.path.join(self.bed.statedir, "boot"))


class Adoption(Restart):
    """Disks, their objects and the handles of those who stayed."""

    def ends(self):
        """In order, and by a crash."""
        for name in ("stop_daemon", "kill_daemon"):
            with self.subTest(name):
                yield getattr(self.bed, name)

    def test_service_that_can_start_nothing_ends_and_the_next_goes_on(self):
        """Its processes are started by one that has none of its descriptors, and cannot be made again."""
        image = self.image("kept.img")
        handle, device = self.attach_handle(image)
        spawner = testbed.spawner_of(self.bed.daemon.pid)
        self.assertIsNotNone(spawner)
        os.kill(spawner, signal.SIGKILL)
        self.bed.wait(lambda: self.bed.daemon.poll() is not None, "the service to end")
        self.assertEqual(self.bed.daemon.returncode, 1)
        self.bed.daemon = None
        self.bed.start_daemon()
        self.assertEqual(self.root.physical_path(handle), device)
        self.root.detach(handle)
        self.assertGone(image)

    def test_disks_of_every_lifetime_go_on(self):
        logind = self.bed.logind()
        client = self.connect()
        for end in self.ends():
            kept = {lifetime: self.image(f"{lifetime}.img") for lifetime in LIFETIMES}
            handles = {lifetime: self.attach_handle(image, client, lifetime=lifetime)[0]
                       for lifetime, image in kept.items()}
            before = self.disks()
            points = [self.bed.mount(disk["Device"], f"mnt{i}") for i, disk in enumerate(before.values())]
            with self.writing(points):
                self.restart(end)
            after = self.disks()
            self.assertEqual(after, before)
            self.assertEqual(len(after), len(LIFETIMES))
            for lifetime, image in kept.items():
                self.assertEqual(client.physical_path(handles[lifetime]),
                                 after[client.disk_for_path(image)]["Device"])
            for point in points:
                self.bed.unmount(point)
            client.detach(handles["permanent"])
            client.detach(handles["boot"])
            client.close_handle(handles["handle"])
            client.close_handle(handles["session"])
            self.root.detach_image(kept["session"])
            for lifetime in LIFETIMES:
                self.assertGone(kept[lifetime])
            for lifetime in ("permanent", "boot"):
                client.close_handle(handles[lifetime])
            self.assertEqual(self.boot_records(), [])
        self.assertEqual(logind.session, "c1")

    def disks(self):
        """What the bus says of each, but for RouteReason: after a restart that is being found."""
        return {path: {name: value for name, value in interfaces[DISK].items() if name != "RouteReason"}
                for path, interfaces in self.root.objects().items() if DISK in interfaces}

    @contextlib.contextmanager
    def writing(self, points):
        """Writes, flushes and reads back on each mount, all the time."""
        stop, failures, rounds = threading.Event(), [], dict.fromkeys(points, 0)

        def work(point):
            path = os.path.join(point, "data")
            try:
                while not stop.is_set():
                    data = os.urandom(65536)
                    with open(path, "wb") as file:
                        file.write(data)
                        os.fsync(file.fileno())
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    with open(path, "rb") as file:
                        if file.read() != data:
                            raise AssertionError(f"{path}: read back wrong")
                    rounds[point] += 1
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(point,)) for point in points]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertTrue(all(rounds.values()), rounds)

    def test_handle_that_stayed_detaches(self):
        for end in self.ends():
            image = self.image()
            handle, device = self.attach_handle(image)
            self.restart(end)
            self.assertEqual(self.root.physical_path(handle), device)
            self.root.detach(handle)
            self.assertGone(image)
            self.root.close_handle(handle)

    def test_handle_that_stayed_closes(self):
        for end in self.ends():
            image = self.image()
            handle, _ = self.attach_handle(image)
            self.restart(end)
            self.root.close_handle(handle)
            self.assertGone(image)
            self.assertFree(image)

    def test_owner_that_stayed_leaves_later(self):
        for end in self.ends():
            image = self.image()
            caller = self.caller(image)
            self.restart(end)
            self.assertAttached(image)
            caller.process.kill()
            caller.process.wait()
            self.wait_gone(image)
            self.assertFree(image)

    def test_owner_that_left_meanwhile(self):
        for end in self.ends():
            held, kept = self.image("held.img"), self.image("kept.img")
            callers = [self.caller(held), self.caller(kept, lifetime="permanent")]
            end()
            for caller in callers:
                caller.process.kill()
                caller.process.wait()
            self.bed.start_daemon()
            self.wait_gone(held)
            self.bed.wait(lambda: self.state(kept) == "attached-not-open", "the handle to close")
            self.root.detach_image(kept)

    def test_session_that_ended_meanwhile(self):
        for end in self.ends():
            logind = self.bed.logind()
            image = self.image()
            self.root.attach_image(image, lifetime="session")
            end()
            logind.end_session()
            self.bed.start_daemon()
            self.wait_gone(image)
            self.bed.actors.remove(logind)
            logind.stop()

    def test_owner_of_another_user(self):
        self.bed.polkit(manage_volume="yes")
        first = self.connect("vd-first")
        image = self.image(owner="vd-first")
        handle, _ = self.attach_handle(image, first)
        self.restart(self.bed.kill_daemon)
        self.bed.polkit()
        self.assertBusError("InvalidHandle", self.connect("vd-second").detach, handle)
        self.assertBusError("AuthorizationRequired", self.connect("vd-second").detach_image, image)
        first.detach(handle)
        self.assertGone(image)
        first.close_handle(handle)

    def test_locks_go_on(self):
        image = self.image()
        self.root.attach_image(image)
        write = ["qemu-io", "-f", "raw", "-c", "write 0 512", image]
        self.assertNotEqual(self.bed.run(write, check=False).returncode, 0)
        self.restart(self.bed.kill_daemon)
        self.assertNotEqual(self.bed.run(write, check=False).returncode, 0)
        self.assertBusError("SharingViolation", self.root.attach_image, image)
        self.root.detach_image(image)
        self.assertFree(image)

    def test_adopted_disk_can_be_opened_and_attached_anew(self):
        image = self.image(owner="vd-first")
        self.bed.polkit(manage_volume="yes")
        first = self.connect("vd-first")
        _, device, _ = first.attach_image(image)
        before = os.stat(device)
        self.restart(self.bed.kill_daemon)
        handle = first.open(image, 0x20000 | DETACH | GET_INFO)
        self.assertEqual(first.physical_path(handle), device)
        self.assertEqual(first.info(handle, 1)["VirtualSize"], 16 << 20)
        first.detach(handle)
        first.attach(handle)
        after = os.stat(first.physical_path(handle))
        self.assertEqual((after.st_uid, after.st_gid, after.st_mode), (before.st_uid, before.st_gid, before.st_mode))
        first.close_handle(handle)
        self.assertGone(image)

    def test_served_disk_with_a_file_system_goes_on(self):
        """What is inside was learnt from the device, not from the image."""
        path = self.path("served.vhdx")
        self.root.close_handle(self.root.create(path, 64 << 20))
        device = self.root.attach_image(path, route="fuse")[1]
        self.bed.run(["mkfs.ext4", "-q", "-F", device])
        self.root.detach_image(path)
        disk, device, _ = self.root.attach_image(path, route="fuse")
        before = self.root.properties(disk)
        try:
            self.bed.stop_daemon()
            self.bed.start_daemon()
            self.assertEqual(self.root.all_paths(), [device])
            after = self.root.properties(self.root.disk_for_path(path))
        finally:
            self.root.detach_image(device)
        before.pop("RouteReason"), after.pop("RouteReason")  # not kept
        self.assertEqual(after, before)

    def test_detach_on_unmount_still_works(self):
        for end in self.ends():
            later, meanwhile, never = (self.image(name) for name in ("later.img", "meanwhile.img", "never.img"))
            points = {}
            for image in (later, meanwhile, never):
                _, device, _ = self.root.attach_image(image, detach_on_unmount=True)
                if image is not never:
                    points[image] = self.bed.mount(device, os.path.basename(image) + ".mnt")
            self.bed.wait(lambda: sum("WasMounted=true" in text for text in testbed.texts(f"{RUNDIR}/disks")) == 2,
                          "the mounts to be recorded")
            end()
            self.bed.unmount(points[meanwhile])
            self.bed.start_daemon()
            self.wait_gone(meanwhile, deadline=GRACE + 5)
            self.assertAttached(later)
            self.bed.unmount(points[later])
            self.wait_gone(later, deadline=GRACE + 5)
            self.assertAttached(never)
            self.root.detach_image(never)

    def test_pending_detach_is_finished(self):
        for end in self.ends():
            image = self.image()
            _, device, _ = self.root.attach_image(image)
            point = self.bed.mount(device)
            self.root.detach_image(image, when_idle=True)
            self.restart(end)
            self.assertEqual(self.state(image), "detach-pending")
            self.bed.unmount(point)
            self.wait_gone(image)
            self.assertFree(image)

    def test_pending_detach_ends_without_a_service(self):
        for end in self.ends():
            image = self.image()
            _, device, _ = self.root.attach_image(image)
            point = self.bed.mount(device)
            self.root.detach_image(image, when_idle=True)
            end()
            self.bed.unmount(point)
            self.bed.wait(lambda: loops(self.dir) == [], "the kernel to drop the device")
            self.bed.start_daemon()
            self.assertIsNone(self.state(image))
            self.assertEqual(self.records(), [])

    def test_images_inside_images(self):
        outer = self.image("outer.img", size=64 << 20)
        _, device, _ = self.root.attach_image(outer)
        point = self.bed.mount(device)
        inner = images.raw(os.path.join(point, "inner.img"), 16 << 20)
        self.root.attach_image(inner)
        self.restart(self.bed.kill_daemon)
        self.assertIn(inner, self.assertBusError("Busy", self.root.detach_image, outer))
        self.root.detach_image(outer, force=True)
        self.assertGone(outer)


class Foreign(Restart):
    """What is not ours, or not any more."""

    def test_device_that_was_taken_away(self):
        image = self.image()
        _, device, _ = self.root.attach_image(image)
        self.bed.kill_daemon()
        self.bed.run(["losetup", "-d", device])
        self.bed.wait(lambda: loops(self.dir) == [], "the kernel to drop the device")
        self.assertEqual(len(self.records()), 1)
        self.bed.start_daemon()
        self.assertIsNone(self.state(image))
        self.assertEqual(testbed.files(RUNDIR), [])
        self.assertFree(image)

    def test_device_that_is_taken_away_while_we_look(self):
        image = self.image()
        _, device, _ = self.root.attach_image(image)
        self.bed.run(["losetup", "-d", device])
        self.wait_gone(image)
        self.bed.wait(lambda: testbed.files(RUNDIR) == [], "its records to go")

    def test_another_device_of_the_same_name(self):
        """The kernel's name is given to somebody else's image while no service is there."""
        image, other = self.image(), self.image("other.img")
        _, device, _ = self.root.attach_image(image)
        self.bed.kill_daemon()
        self.bed.run(["losetup", "-d", device])
        self.bed.wait(lambda: loops(self.dir) == [], "the kernel to drop the device")
        self.bed.run(["losetup", device, other])
        try:
            self.bed.start_daemon()
            self.assertEqual(self.root.all_paths(), [])
            self.assertEqual([row[1] for row in loops(self.dir)], [other])
            self.assertBusError("NotFound", self.root.detach_image, device)
            self.assertEqual(self.records(), [])
        finally:
            self.bed.run(["losetup", "-d", device])

    def test_foreign_devices_stay(self):
        """One that looks like ours but is of another service, one whose file has our name, and one with neither."""
        foreign = self.image("virtdisk:0123456789abcdef01234567")
        devices = [self.bed.run(["losetup", "-f", "--show", foreign]).stdout.strip(),
                   self.bed.run(["losetup", "-f", "--show", self.image("plain.img")]).stdout.strip()]
        try:
            for end in (self.bed.stop_daemon, self.bed.kill_daemon):
                self.restart(end)
                self.assertEqual(self.root.all_paths(), [])
                self.assertEqual(len(loops(self.dir)), 2)
        finally:
            for device in devices:
                self.bed.run(["losetup", "-d", device])

    def test_records_that_are_none(self):
        image = self.image()
        disk, device, _ = self.root.attach_image(image)
        before = self.root.properties(disk)["AttachedAt"]
        record, = self.records()
        good = testbed.read(record)
        self.bed.kill_daemon()
        folder = f"{RUNDIR}/disks"
        secret = self.path("secret")
        with open(secret, "w") as file:
            file.write("not a record")
        bad = {"0" * 24: b"", "1" * 24: os.urandom(4096), "2" * 24: good[:len(good) // 2].encode(),
               "3" * 24: b"[Disk]\n", "4" * 24: b"x" * (2 << 20), "5" * 24: good.replace("Phase=1", "Phase=77").encode(),
               "6" * 24: good.replace("Uid=0", "Uid=99999999999999").encode(), "name-of-none": b"[Disk]\n",
               "." + "7" * 24 + ".00000001": good.encode(), "8" * 24: good.replace("Facts=", "Facts=AAAA").encode(),
               "9" * 24: good.replace("\n", "\0").encode(), "a" * 65: good.encode()}
        for name, content in bad.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
            os.chmod(os.path.join(folder, name), 0o600)
        os.symlink(secret, os.path.join(folder, "b" * 24))
        os.symlink(record, os.path.join(folder, "c" * 24))
        os.mkfifo(os.path.join(folder, "d" * 24), 0o600)
        with open(os.path.join(folder, "e" * 24), "w") as file:
            file.write(good)
        os.chown(os.path.join(folder, "e" * 24), testbed.USERS["vd-first"][0], 0)
        os.mkdir(os.path.join(folder, "f" * 24))
        self.bed.start_daemon()
        self.assertEqual(self.root.properties(disk)["AttachedAt"], before)
        self.assertEqual(self.root.all_paths(), [device])
        self.assertEqual(self.records(), [record])
        self.assertEqual(testbed.read(secret), "not a record")
        self.root.detach_image(image)
        os.rmdir(os.path.join(folder, "f" * 24))

    def test_record_that_does_not_fit_its_device(self):
        """Damaged in a way that still parses: the device is ours by its tag, and given back."""
        for old, new in (("Diskseq=", "Diskseq=9"), ("ImageIno=", "ImageIno=9"), ("Path=/", "Path=")):
            with self.subTest(old):
                image = self.image()
                self.root.attach_image(image)
                record, = self.records()
                self.bed.kill_daemon()
                text = testbed.read(record)
                self.assertIn("\n" + old, text)
                with open(record, "w") as file:
                    file.write(text.replace("\n" + old, "\n" + new))
                self.bed.start_daemon()
                self.wait_gone(image)
                self.bed.wait(lambda: testbed.files(RUNDIR) == [], "the records to go")

    def test_record_is_gone(self):
        image = self.image()
        self.root.attach_image(image)
        self.bed.kill_daemon()
        os.unlink(self.records()[0])
        self.bed.start_daemon()
        self.wait_gone(image)
        self.bed.wait(lambda: testbed.files(RUNDIR) == [], "the hints to go")


class Crash(Restart):
    """
    SIGKILL before the N-th call of one system call, for every N until the operation gets through. Each thread counts
    its own calls; helpers of the service are hit too, which must do no harm either.
    """
    MAX_STEPS = 40

    def setUp(self):
        if not shutil.which("strace"):
            self.skipTest("strace is missing")
        super().setUp()

    @contextlib.contextmanager
    def fault(self, calls, step):
        threads = ["-f"] if calls != "openat,write" else []
        tracer = self.bed.terminal(["strace", *threads, "-o", "/dev/null", "-e", f"trace={calls}", "-e",
                                    f"inject={calls}:signal=SIGKILL:when={step}", "-p", str(self.bed.daemon.pid)])
        tracer.expect("attached")
        try:
            yield
        finally:
            if self.bed.daemon.poll() is None:
                tracer.process.terminate()
            tracer.finish()

    def steps(self, calls, operate):
        """Runs operate() with the fault at each step; yields after each restart. Ends when operate() came through."""
        killed = 0
        for step in range(1, self.MAX_STEPS + 1):
            error = None
            with self.fault(calls, step):
                try:
                    operate()
                except BusError as failure:
                    error = failure
                if error is not None and error.name.startswith("org.freedesktop.DBus.Error."):
                    self.bed.daemon.wait(testbed.EVENT_DEADLINE)
            if self.bed.daemon.poll() is not None:
                self.assertEqual(self.bed.daemon.returncode, -9, self.bed.daemon_log())
                killed += 1
            self.bed.kill_daemon()
            self.bed.start_daemon()
            with self.subTest(step=step):
                yield error
            if error is None:
                self.assertGreater(killed, 0, f"{calls}: no step was hit")
                return
        self.fail(f"still hit at step {step}")

    def settle(self, image):
        """Waits until the new service has made up its mind -> attached or not."""
        def consistent():
            states = {row[1] for row in loops(self.dir)} == {image}, self.state(image) is not None, bool(self.records())
            if len(set(states)) > 1 or self.state(image) == "detach-pending":
                return None
            return ["attached" if states[0] else "gone"]

        return self.bed.wait(consistent, "attached or not: device, object and record agree")[0]

    def check_nothing(self, image):
        self.assertGone(image)
        self.bed.wait(lambda: testbed.files(RUNDIR) == [], "the files in /run to go")
        self.assertEqual(self.boot_records(), [])
        subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", image], check=True, stdout=subprocess.DEVNULL)

    def crash_attach(self, calls, lifetime):
        image = self.image(fs=None)
        seen = set()
        for error in self.steps(calls, lambda: self.root.attach_image(image, lifetime=lifetime)):
            found = self.settle(image)
            seen.add(found)
            if error is None:
                self.assertEqual(found, "attached")
            if found == "attached":
                self.assertEqual(len(self.boot_records()), 1 if lifetime == "boot" else 0)
                self.root.detach_image(image)
            self.check_nothing(image)
        self.assertIn("attached", seen)

    def crash_detach(self, calls, lifetime):
        image = self.image(fs=None)
        self.root.attach_image(image, lifetime=lifetime)
        for error in self.steps(calls, lambda: self.root.detach_image(image)):
            if error is None:
                self.assertEqual(self.settle(image), "gone")
            if self.settle(image) == "attached":
                self.assertEqual(len(self.boot_records()), 1 if lifetime == "boot" else 0)
            else:
                self.check_nothing(image)
                if error is not None:
                    self.root.attach_image(image, lifetime=lifetime)


def add_crash_tests():
    points = {"ioctl": "ioctl", "rename": "rename,renameat,renameat2", "unlink": "unlink,unlinkat",
              "owner": "fchown,fchownat,chown,lchown,fchmod,fchmodat", "write": "openat,write", "send": "sendmsg",
              "sync": "fsync", "lock": "flock"}
    for operation in ("attach", "detach"):
        for point, calls in points.items():
            for lifetime in ("permanent", "boot"):
                if (point == "sync" and lifetime != "boot") or (operation == "detach" and point == "lock") or (
                        operation == "attach" and point == "unlink"):
                    continue

                def test(self, operation=operation, calls=calls, lifetime=lifetime):
                    getattr(self, f"crash_{operation}")(calls, lifetime)

                setattr(Crash, f"test_{operation}_{lifetime}_{point}", test)


add_crash_tests()


class Boot(Restart):
    """Attached at every boot: without a bus, from the records alone."""

    def record(self, image, client=None, **how):
        """Leaves a boot record of image as a machine that was switched off: no device, nothing in /run."""
        client = client or self.root
        _, device, _ = client.attach_image(image, lifetime="boot", **how)
        self.bed.kill_daemon()
        self.bed.run(["losetup", "-d", device])
        self.bed.wait(lambda: not [row for row in loops(self.dir) if row[1] == image], "the kernel to drop the device")
        shutil.rmtree(RUNDIR)

    def boot_command(self):
        return [testbed.program(self.bed.build, "virtdiskd"), "--attach-boot", f"--bus=unix:path={self.path('no-bus')}",
                f"--rundir={RUNDIR}", f"--statedir={self.bed.statedir}", f"--libexecdir={self.bed.path('libexec')}",
                f"--worker-user={WORKER[0]}"]

    def boot(self, check=True):
        return self.bed.run(self.boot_command(), check=check)

    def test_attached_and_adopted(self):
        image = self.image()
        self.record(image)
        self.boot()
        self.assertEqual([row[1] for row in loops(self.dir)], [image])
        self.bed.start_daemon()
        disk = self.root.properties(self.root.disk_for_path(image))
        self.assertEqual((disk["Lifetime"], disk["State"], disk["OwnerUid"]), ("boot", "attached-not-open", 0))
        self.assertEqual(len(self.boot_records()), 1)
        self.root.detach_image(image)
        self.assertEqual(self.boot_records(), [])
        self.assertFree(image)

    def test_as_it_was(self):
        image = self.image(owner="vd-first")
        os.chmod(image, 0o640)
        self.bed.polkit(manage_volume="yes", attach_at_boot="yes")
        options_ = {"detach_on_unmount": True, "sector_size": 4096, "partition_scan": False, "owner_uid": 60001,
                    "owner_gid": 60001, "mode": 0o600}
        first = self.connect("vd-first")
        disk, device, _ = first.attach_image(image, lifetime="boot", **options_)
        before, node = self.root.properties(disk), os.stat(device)
        first.detach_image(image)
        self.record(image, first, **options_)
        self.boot()
        self.bed.start_daemon()
        after = self.root.properties(self.root.disk_for_path(image))
        for name in ("Lifetime", "DetachOnUnmount", "SectorSize", "ReadOnly", "OwnerUid", "Format", "VirtualSize", "DirectIO"):
            self.assertEqual(after[name], before[name], name)
        now = os.stat(after["Device"])
        self.assertEqual((now.st_uid, now.st_gid, now.st_mode), (node.st_uid, node.st_gid, node.st_mode))
        self.connect("vd-first").detach_image(image)
        self.assertEqual(self.boot_records(), [])

    def test_by_the_route_that_was_asked_for(self):
        if os.path.exists("/dev/ublk-control"):
            self.skipTest("this kernel has every route")
        image = self.image()
        self.record(image, route="loop")
        record, = self.boot_records()
        text = testbed.read(record)
        self.assertIn("Route=loop\n", text)
        with open(record, "w") as file:
            file.write(text.replace("Route=loop", "Route=ublk"))
        result = self.boot(check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("ublk", result.stderr)
        self.assertEqual(loops(self.dir), [])
        self.bed.start_daemon()
        self.forget()

    def test_again_changes_nothing(self):
        image = self.image()
        self.record(image)
        self.boot()
        before = loops(self.dir)
        self.boot()
        self.assertEqual(loops(self.dir), before)
        self.bed.start_daemon()
        self.root.detach_image(image)

    def test_image_whose_file_system_comes_later(self):
        host = self.image("host.img", size=64 << 20)
        carrier = self.bed.run(["losetup", "-f", "--show", host]).stdout.strip()
        try:
            point = self.bed.mount(carrier, "later")
            image = images.raw(os.path.join(point, "disk.img"), 16 << 20)
            self.record(image)
            self.bed.run(["umount", "-l", point])  # the kernel may be about to close the image
            process = self.bed.background(self.boot_command())
            # It waits for its image: the only thing that it can be doing once it has looked for it in vain.
            self.bed.wait(lambda: self.watches_mounts(process.pid), "the boot service to look for mounts")
            self.assertIsNone(process.poll())
            self.bed.mount(carrier, "later")
            self.bed.wait(lambda: loops(point), "the image to be attached")
            self.assertEqual(process.wait(testbed.EVENT_DEADLINE), 0)
            self.bed.start_daemon()
            self.root.detach_image(image)
            self.bed.unmount(point)
        finally:
            self.bed.run(["losetup", "-d", carrier])

    def test_image_that_never_comes(self):
        image, other = self.image(), self.image("other.img")
        self.record(image)
        self.bed.start_daemon()
        self.record(other)
        os.unlink(image)
        result = self.bed.run([*self.boot_command(), "--boot-wait=1"], check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(image, result.stderr)
        self.assertEqual([row[1] for row in loops(self.dir)], [other])
        self.assertEqual(len(self.boot_records()), 2)
        self.bed.start_daemon()
        self.root.detach_image(other)
        self.forget()

    @staticmethod
    def watches_mounts(pid):
        with contextlib.suppress(OSError):
            return any("mountinfo" in os.readlink(name) for name in glob.glob(f"/proc/{pid}/fd/*"))
        return False

    def test_owner_who_lost_access(self):
        image = self.image(owner="vd-first")
        self.bed.polkit(manage_volume="yes", attach_at_boot="yes")
        self.record(image, self.connect("vd-first"))
        os.chown(image, 0, 0)
        result = self.boot(check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(image, result.stderr)
        self.assertEqual(loops(self.dir), [])
        self.forget()

    def test_records_that_are_none(self):
        image = self.image()
        self.record(image)
        record, = self.boot_records()
        good, folder = testbed.read(record), os.path.dirname(record)
        other = self.image("other.img")
        bad = {"0" * 64: b"", "1" * 64: os.urandom(512), "2" * 64: good[:40].encode(), "3" * 64: b"x" * (1 << 20),
               "4" * 64: good.encode(), "5" * 64: good.replace(image, other).encode(), "readme": b"[Boot]\n"}
        for name, content in bad.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        os.symlink(record, os.path.join(folder, "6" * 64))
        self.boot()
        self.assertEqual([row[1] for row in loops(self.dir)], [image])
        self.bed.start_daemon()
        self.root.detach_image(image)
        self.forget()

    def test_killed_at_boot(self):
        """The record outlives a boot service that is killed, and the next service undoes what it had begun."""
        if not shutil.which("strace"):
            self.skipTest("strace is missing")
        image = self.image()
        self.record(image)
        for step in range(1, 40):
            with self.subTest(step=step):
                result = self.bed.run(["strace", "-f", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2", "-e",
                                       f"inject=rename,renameat,renameat2:signal=SIGKILL:when={step}",
                                       *self.boot_command()], check=False)
                self.assertEqual(len(self.boot_records()), 1)
                self.bed.start_daemon()
                self.bed.wait(lambda: bool(loops(self.dir)) == bool(self.state(image)) == bool(self.records()),
                              "attached or not")
                if result.returncode == 0:
                    break
                self.bed.stop_daemon()
        self.assertGreater(step, 1)
        self.assertAttached(image)
        self.root.detach_image(image)

    def forget(self):
        shutil.rmtree(os.path.join(self.bed.statedir, "boot"))


if __name__ == "__main__":
    sys.exit(testbed.main())
