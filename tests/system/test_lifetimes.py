#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a disk stays attached, what ends it, and what stands in the way: handle, session, permanent, boot, mounts."""
import fcntl
import os
import shutil
import subprocess
import sys
import time

import testbed
from attaching import ALL, DETACH, GET_INFO, GRACE, TestCase
from testbed import images


class Handle(TestCase):
    """Lifetime "handle": as long as somebody holds it."""

    def test_close_detaches(self):
        image = self.image()
        handle, device = self.attach_handle(image)
        self.assertEqual(self.root.properties(self.root.disk_for_path(image))["Lifetime"], "handle")
        self.root.close_handle(handle)
        self.assertGone(image)
        self.assertFree(image)

    def test_caller_that_exits_detaches(self):
        image = self.image()
        caller = self.caller(image)
        self.assertAttached(image)
        caller.send("")
        self.assertEqual(caller.finish(), 0)
        self.wait_gone(image)
        self.assertFree(image)

    def test_caller_that_is_killed_detaches(self):
        image = self.image()
        caller = self.caller(image)
        self.assertAttached(image)
        caller.process.kill()
        self.wait_gone(image)
        self.assertFree(image)

    def test_last_handle_counts(self):
        image = self.image()
        other = self.connect()
        first, _ = self.attach_handle(image)
        second = other.open(image, GET_INFO)
        self.root.close_handle(first)
        self.assertEqual(self.state(image), "attached")
        other.close_handle(second)
        self.assertGone(image)

    def test_last_owner_counts(self):
        image = self.image()
        caller = self.caller(image)
        other = self.connect()
        other.open(image, GET_INFO)
        caller.process.kill()
        caller.process.wait()
        # The service has heard of it when it has closed the first handle, and that is a change of nothing visible:
        # so what counts is that the disk is still there after the second one is closed by its owner's leaving.
        clock = self.image("clock.img")
        ticking = self.caller(clock)
        ticking.process.kill()
        self.wait_gone(clock)
        self.assertAttached(image)
        other.close()
        self.wait_gone(image)

    def test_mounted_disk_goes_with_its_last_mount(self):
        image = self.image()
        handle, device = self.attach_handle(image)
        point = self.bed.mount(device)
        self.root.close_handle(handle)
        self.assertEqual(self.state(image), "detach-pending")
        with open(os.path.join(point, "still"), "w") as file:
            file.write("usable")
        self.bed.unmount(point)
        self.wait_gone(image)
        self.assertFree(image)

    def test_handle_is_closed_while_a_detach_is_refused(self):
        image = self.image()
        handle, device = self.attach_handle(image)
        point = self.bed.mount(device)
        detach = self.root.begin(handle, testbed.HANDLE, "DetachVirtualDisk", "(ua{sv})", 0, {})
        close = self.root.begin(handle, testbed.HANDLE, "Close", "(a{sv})", {})
        self.assertBusError("Busy", detach.result)
        close.result()
        self.bed.unmount(point)
        self.wait_gone(image)

    def test_owner_leaves_while_a_detach_is_refused(self):
        image = self.image()
        owner = self.connect()
        handle, device = self.attach_handle(image, owner)
        point = self.bed.mount(device)
        owner.begin(handle, testbed.HANDLE, "DetachVirtualDisk", "(ua{sv})", 0, {})
        owner.connection.flush_sync()
        owner.close()
        self.bed.wait(lambda: self.state(image) == "detach-pending", "the disk to be let go of")
        self.bed.unmount(point)
        self.wait_gone(image)

    def test_handle_of_another_user_is_not_there(self):
        image = self.image()
        handle, _ = self.attach_handle(image)
        for user in ("vd-first", "root"):
            other = self.connect(user)
            self.bed.polkit(manage_others="yes")
            self.assertBusError("InvalidHandle", other.detach, handle)
            self.assertBusError("InvalidHandle", other.close_handle, handle)
            self.assertBusError("InvalidHandle", other.physical_path, handle)
        self.assertAttached(image)
        self.root.close_handle(handle)


class Session(TestCase):
    def test_end_of_session_detaches(self):
        logind = self.bed.logind()
        image = self.image()
        disk, _, _ = self.root.attach_image(image, lifetime="session")
        self.assertEqual(self.root.properties(disk)["Lifetime"], "session")
        self.assertEqual(self.root.properties(disk)["Session"], "c1")
        logind.end_session()
        self.wait_gone(image)
        self.assertFree(image)

    def test_end_of_session_ends_nothing_else(self):
        logind = self.bed.logind()
        ending, permanent, held = (self.image(name) for name in ("session.img", "permanent.img", "held.img"))
        self.root.attach_image(ending, lifetime="session")
        self.root.attach_image(permanent)
        handle, _ = self.attach_handle(held)
        logind.end_session()
        self.wait_gone(ending)
        self.assertAttached(permanent)
        self.assertAttached(held)
        self.root.detach_image(permanent)
        self.root.close_handle(handle)

    def test_caller_may_leave(self):
        logind = self.bed.logind()
        image = self.image()
        caller = self.caller(image, lifetime="session")
        caller.send("")
        self.assertEqual(caller.finish(), 0)
        self.bed.wait(lambda: self.state(image) == "attached-not-open", "the handle to close")
        logind.end_session()
        self.wait_gone(image)

    def test_mounted_at_the_end_is_unmounted(self):
        logind = self.bed.logind()
        image = self.image()
        _, device, _ = self.root.attach_image(image, lifetime="session")
        self.bed.mount(device)
        logind.end_session()
        self.wait_gone(image)
        self.assertFree(image)

    def test_what_the_system_mounted_from_a_users_disk_stays(self):
        logind = self.bed.logind(testbed.USERS["vd-first"][0])
        image = self.image(owner="vd-first")
        self.bed.polkit(manage_volume="yes")
        _, device, _ = self.connect("vd-first").attach_image(image, lifetime="session")
        point = self.bed.mount(device)
        logind.end_session()
        self.bed.wait(lambda: self.state(image) == "detach-pending", "the disk to be let go of")
        self.assertTrue(os.path.ismount(point))
        self.bed.unmount(point)
        self.wait_gone(image)

    def test_in_use_at_the_end_goes_with_who_uses_it(self):
        logind = self.bed.logind()
        image = self.image()
        _, device, _ = self.root.attach_image(image, lifetime="session")
        user = os.open(device, os.O_RDONLY)
        logind.end_session()
        self.bed.wait(lambda: self.state(image) == "detach-pending", "the disk to wait for who uses it")
        os.close(user)
        self.wait_gone(image)

    def test_without_a_session(self):
        logind = self.bed.logind()
        logind.session = None
        image = self.image()
        with self.assertRaises(testbed.BusError):
            self.root.attach_image(image, lifetime="session")
        self.assertGone(image)


class Permanent(TestCase):
    def test_outlives_its_caller(self):
        image = self.image()
        caller = self.caller(image, lifetime="permanent")
        caller.process.kill()
        self.bed.wait(lambda: self.state(image) == "attached-not-open", "the handle to close")
        self.assertAttached(image)
        self.root.detach_image(image)
        self.assertFree(image)

    def test_boot_is_recorded_until_detached(self):
        image = self.image()
        disk, _, _ = self.root.attach_image(image, lifetime="boot")
        self.assertEqual(self.root.properties(disk)["Lifetime"], "boot")
        self.assertEqual(len(self.boot_records()), 1)
        self.root.detach_image(image)
        self.assertEqual(self.boot_records(), [])
        self.assertFree(image)

    def test_boot_opens_with_the_same_flags(self):
        cached, no_relative = 0x8, 0x80
        handle = self.root.open(self.image(), ALL, cached | no_relative)
        self.root.attach(handle, lifetime="boot")
        [text] = testbed.texts(f"{self.bed.statedir}/boot")
        self.assertIn(f"OpenFlags={cached | no_relative}\n", text)
        self.root.detach(handle)
        self.root.close_handle(handle)

    def test_boot_is_forgotten_when_the_handles_are_closed(self):
        image = self.image()
        caller = self.caller(image, lifetime="boot")
        self.assertEqual(self.root.detach_image(image, when_idle=True), {"pending": True})
        self.assertEqual(self.boot_records(), [])
        caller.send("")
        self.wait_gone(image)

    def test_boot_is_forgotten_when_idle(self):
        image = self.image()
        _, device, _ = self.root.attach_image(image, lifetime="boot")
        point = self.bed.mount(device)
        self.assertEqual(self.root.detach_image(image, when_idle=True), {"pending": True})
        self.assertEqual(self.boot_records(), [], "it would come back at the next boot")
        self.bed.unmount(point)
        self.wait_gone(image)
        self.assertEqual(self.boot_records(), [])

    def boot_records(self):
        return testbed.files(os.path.join(self.bed.statedir, "boot"))


class Locks(TestCase):
    """A handle that was opened beside an attachment, whose locks were its own, when that attachment has ended."""

    def left_alone(self):
        """-> (handle, path)"""
        path = os.path.join(self.dir, "disk.vhdx")
        self.root.close_handle(self.root.create(path, 64 << 20))
        self.root.attach_image(path, lifetime="permanent")
        handle = self.root.open(path, 0, version=2)
        self.root.detach(handle)
        return handle, path

    def lock(self, path):
        """As another program would -> what lets go of it"""
        file = open(path, "rb")
        self.addCleanup(file.close)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file.close

    def refused_while_used(self, call):
        handle, path = self.left_alone()
        unlock = self.lock(path)
        self.assertBusError("SharingViolation", call, handle)
        unlock()
        call(handle)
        with self.assertRaises(BlockingIOError):
            self.lock(path)
        return handle, path

    def test_changing_needs_the_lock(self):
        handle, path = self.refused_while_used(self.root.compact)
        self.root.close_handle(handle)
        self.lock(path)

    def test_attaching_needs_the_lock(self):
        handle, path = self.refused_while_used(self.root.attach)
        self.root.detach(handle)
        with self.assertRaises(BlockingIOError):
            self.lock(path)
        self.root.close_handle(handle)
        self.lock(path)

    def test_what_others_made_of_it_is_another_disk(self):
        handle, path = self.left_alone()
        other = os.path.join(self.dir, "other.vhdx")
        self.root.close_handle(self.root.create(other, 128 << 20))
        self.assertEqual(os.path.getsize(other), os.path.getsize(path))
        with open(other, "rb") as source, open(path, "r+b") as target:
            shutil.copyfileobj(source, target)
        self.assertIn("another disk", self.assertBusError("FileChanged", self.root.attach, handle))


class DetachOnUnmount(TestCase):
    def test_ends_some_time_after_the_unmount(self):
        image = self.image()
        _, device, _ = self.root.attach_image(image, detach_on_unmount=True)
        point = self.mount_noticed(image, device)
        self.bed.unmount(point)
        began = time.monotonic()
        self.wait_gone(image)
        self.assertGreater(time.monotonic() - began, GRACE - 0.5)
        self.assertLess(time.monotonic() - began, GRACE + 5)
        self.assertFree(image)

    def test_other_uses_go_on(self):
        """One disk that goes is the clock for those that must not: never mounted, mounted again, mounted twice."""
        clock, never, again, twice, without = (
            self.image(name) for name in ("clock.img", "never.img", "again.img", "twice.img", "without.img"))
        devices = {image: self.root.attach_image(image, detach_on_unmount=image != without)[1]
                   for image in (clock, never, again, twice, without)}
        kept = [self.mount_noticed(twice, devices[twice], "twice-1")]
        other = self.bed.mount(devices[twice], "twice-2")
        point = self.bed.mount(devices[without], "without")
        self.bed.unmount(point)
        self.bed.unmount(other)
        point = self.mount_noticed(again, devices[again], "again")
        self.bed.unmount(point)
        self.bed.mount(devices[again], "again")
        kept.append(point)
        point = self.mount_noticed(clock, devices[clock], "clock")
        self.bed.unmount(point)
        self.wait_gone(clock)
        for image in (never, again, twice, without):
            self.assertAttached(image)
        for point in kept:
            self.bed.unmount(point)
        for image in (again, twice):
            self.wait_gone(image)
        for image in (never, without):
            self.assertAttached(image)
            self.root.detach_image(image)

    def test_partition(self):
        image = images.write_file(self.path("parts.img"), 32 << 20)
        subprocess.run(["sfdisk", "-q", image], input="label: gpt\n,8M\n,8M\n", text=True, check=True)
        _, device, _ = self.root.attach_image(image, detach_on_unmount=True)
        images.make_fs(device + "p2")
        point = self.mount_noticed(image, device + "p2")
        self.bed.unmount(point)
        self.wait_gone(image)

    def test_busy_at_that_time_goes_with_the_holder(self):
        image = self.image()
        _, device, _ = self.root.attach_image(image, detach_on_unmount=True)
        point = self.mount_noticed(image, device)
        holder = self.holder(device)
        self.bed.unmount(point)
        self.bed.wait(lambda: self.state(image) == "detach-pending", "the disk to wait for the holder")
        holder.send("")
        holder.finish()
        self.wait_gone(image)


class Busy(TestCase):
    """Refused, and by whom; force and when-idle."""

    def setUp(self):
        super().setUp()
        self.disk_image = self.image()
        self.disk, self.device, _ = self.root.attach_image(self.disk_image)

    def refused(self, **how):
        message = self.assertBusError("Busy", self.root.detach_image, self.disk_image, **how)
        self.assertAttached(self.disk_image)
        return message

    def end(self):
        self.root.detach_image(self.disk_image)
        self.assertFree(self.disk_image)

    def test_mount_point_and_process_are_named(self):
        point = self.bed.mount(self.device)
        message = self.refused()
        self.assertIn(point, message)
        self.assertIn(self.device, message)
        holder = self.holder(point)
        message = self.refused()
        self.assertIn(point, message)
        self.assertIn(f"pid {holder.process.pid}", message)
        self.assertIn("python3", message)
        holder.send("")
        holder.finish()
        self.bed.unmount(point)
        self.end()

    def test_mount_in_another_namespace_is_named(self):
        other = self.bed.terminal(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                   f"mount {self.device} /mnt && echo mounted && read line"])
        other.expect("mounted")
        self.assertIn("/mnt", self.refused())
        other.send("")
        other.finish()
        self.root.detach_image(self.disk_image, when_idle=True)
        self.wait_gone(self.disk_image)
        self.assertFree(self.disk_image)

    def test_open_node_is_named(self):
        holder = self.holder(self.device)
        message = self.refused()
        self.assertIn(f"pid {holder.process.pid}", message)
        self.assertIn("python3", message)
        self.assertIn(self.device, message)
        holder.send("")
        holder.finish()
        # The refusal has taken back what the attempt had armed: the disk is still there without its holder.
        self.assertAttached(self.disk_image)
        self.end()

    def test_swap_is_named(self):
        subprocess.run(["mkswap", "-q", self.device], check=True)
        enabled = self.bed.run(["swapon", self.device], check=False)
        if enabled.returncode != 0:
            self.root.detach_image(self.disk_image)
            self.skipTest(f"no swap here: {enabled.stderr.strip()}")
        try:
            message = self.refused()
            self.assertIn("swap", message)
            self.assertIn("swap", self.refused(force=True))
        finally:
            self.bed.run(["swapoff", self.device])
        self.end()

    def need_device_mapper(self):
        why = None
        if not shutil.which("dmsetup"):
            why = "dmsetup is missing"
        elif self.bed.run(["dmsetup", "targets"], check=False).returncode != 0:
            why = "the kernel has no device mapper"
        if why:
            self.root.detach_image(self.disk_image)
            self.skipTest(why)

    def test_device_mapper_is_named(self):
        self.need_device_mapper()
        name = f"virtdisk-test-{os.getpid()}"
        self.bed.run(["dmsetup", "create", name, "--table", f"0 2048 linear {self.device} 0"])
        try:
            self.assertIn(name, self.refused())
            self.assertIn(name, self.refused(force=True))
        finally:
            self.bed.run(["dmsetup", "remove", "--retry", name])
        self.end()

    def test_logical_volume_is_named(self):
        self.need_device_mapper()
        if not shutil.which("pvcreate"):
            self.root.detach_image(self.disk_image)
            self.skipTest("pvcreate is missing")
        group = f"vdtest{os.getpid()}"
        self.bed.run(["vgcreate", "-y", "-ff", group, self.device])
        try:
            self.bed.run(["lvcreate", "-y", "-l", "1", "-n", "lv", group])
            self.assertIn(group, self.refused())
        finally:
            self.bed.run(["vgremove", "-y", "-f", group])
        self.end()

    def test_loop_device_on_the_node_is_named(self):
        upper = self.bed.run(["losetup", "-f", "--show", self.device]).stdout.strip()
        try:
            self.assertIn(upper, self.refused())
            self.assertIn(upper, self.refused(force=True))
        finally:
            self.bed.run(["losetup", "-d", upper])
        self.end()

    def test_loop_device_on_a_file_in_it_is_named(self):
        point = self.bed.mount(self.device)
        upper = self.bed.run(["losetup", "-f", "--show", images.raw(os.path.join(point, "a"), 1 << 20)]).stdout.strip()
        try:
            message = self.refused()
            self.assertIn(upper, message)
            self.assertIn(point, message)
        finally:
            self.bed.run(["losetup", "-d", upper])
        # As long as udev reads it, the kernel keeps it.
        self.bed.wait(lambda: not os.path.exists(f"/sys/block/{os.path.basename(upper)}/loop/backing_file"),
                      f"{upper} to be let go of")
        self.bed.unmount(point)
        self.end()

    def test_another_handle_is_named(self):
        other = self.caller(self.disk_image, DETACH | GET_INFO, lifetime="")
        message = self.refused()
        self.assertIn(f"pid {other.process.pid}", message)
        other.send("")
        other.finish()
        self.bed.wait(lambda: self.state(self.disk_image) == "attached-not-open", "the handle to close")
        self.end()

    def test_force_unmounts(self):
        point = self.bed.mount(self.device)
        bound = self.path("bound")
        os.mkdir(bound)
        with open(os.path.join(point, "written"), "w") as file:
            file.write("kept")
        subprocess.run(["mount", "--bind", point, bound], check=True)
        self.assertEqual(self.root.detach_image(self.disk_image, force=True), {"pending": False})
        self.assertGone(self.disk_image)
        self.assertNotIn(point, testbed.mounts())
        self.assertNotIn(bound, testbed.mounts())
        self.assertFree(self.disk_image)
        _, device, _ = self.root.attach_image(self.disk_image, read_only=True)
        point = self.bed.mount(device, opts="ro")
        self.assertEqual(testbed.read(os.path.join(point, "written")), "kept")
        self.root.detach_image(self.disk_image, force=True)

    def test_force_takes_nothing_else_off(self):
        point = self.bed.mount(self.device)
        subprocess.run(["mount", "-t", "tmpfs", "over", point], check=True)
        self.refused(force=True)
        self.assertEqual(testbed.mounts().count(point), 2)
        self.bed.unmount(point)
        self.root.detach_image(self.disk_image, force=True)
        self.assertFree(self.disk_image)

    def test_force_does_not_end_processes(self):
        point = self.bed.mount(self.device)
        holder = self.holder(point)
        message = self.refused(force=True)
        self.assertIn(f"pid {holder.process.pid}", message)
        self.assertIsNone(holder.process.poll())
        holder.send("")
        holder.finish()
        self.root.detach_image(self.disk_image, force=True)
        self.assertFree(self.disk_image)

    def test_when_idle(self):
        point = self.bed.mount(self.device)
        holder = self.holder(point)
        self.assertEqual(self.root.detach_image(self.disk_image, when_idle=True), {"pending": True})
        self.assertEqual(self.state(self.disk_image), "detach-pending")
        holder.send("")
        holder.finish()
        self.assertEqual(self.state(self.disk_image), "detach-pending")
        with self.bed.signals() as seen:
            self.bed.unmount(point)
            self.wait_gone(self.disk_image)
        self.assertIn("InterfacesRemoved", [row[2] for row in seen])
        self.assertFree(self.disk_image)

    def test_when_idle_for_an_open_node(self):
        holder = self.holder(self.device)
        self.assertEqual(self.root.detach_image(self.disk_image, when_idle=True), {"pending": True})
        self.assertEqual(self.state(self.disk_image), "detach-pending")
        holder.send("")
        holder.finish()
        self.wait_gone(self.disk_image)
        self.assertFree(self.disk_image)

    def test_when_idle_and_idle(self):
        self.assertEqual(self.root.detach_image(self.disk_image, when_idle=True), {"pending": False})
        self.assertFree(self.disk_image)

    def test_force_after_when_idle(self):
        self.bed.mount(self.device)
        self.root.detach_image(self.disk_image, when_idle=True)
        self.assertEqual(self.root.detach_image(self.disk_image, force=True), {"pending": False})
        self.assertFree(self.disk_image)

    def test_refusals_after_when_idle_leave_it_pending(self):
        point = self.bed.mount(self.device)
        holder = self.holder(point)
        self.root.detach_image(self.disk_image, when_idle=True)
        for how in ({}, {"force": True}):
            self.assertBusError("Busy", self.root.detach_image, self.disk_image, **how)
            self.assertEqual(self.state(self.disk_image), "detach-pending")
        self.assertEqual(self.root.detach_image(self.disk_image, when_idle=True), {"pending": True})
        holder.send("")
        holder.finish()
        self.bed.unmount(point)
        self.wait_gone(self.disk_image)

    def test_pending_disk_cannot_be_attached_again(self):
        point = self.bed.mount(self.device)
        self.root.detach_image(self.disk_image, when_idle=True)
        self.assertBusError("SharingViolation", self.root.attach_image, self.disk_image)
        self.bed.unmount(point)
        self.wait_gone(self.disk_image)


class Nested(TestCase):
    """An image inside an attached image."""

    def nest(self, **outer_options):
        self.outer = self.image("outer.img", size=64 << 20)
        _, self.outer_device, _ = self.root.attach_image(self.outer, **outer_options)
        self.point = self.bed.mount(self.outer_device)
        self.inner = images.raw(os.path.join(self.point, "inner.img"), 16 << 20, "ext4")
        _, self.inner_device, _ = self.root.attach_image(self.inner)

    def test_inner_first(self):
        self.nest()
        message = self.assertBusError("Busy", self.root.detach_image, self.outer)
        self.assertIn(self.inner, message)
        self.assertIn(self.inner_device, message)
        self.assertAttached(self.outer)
        self.root.detach_image(self.inner_device)
        self.bed.unmount(self.point)
        self.root.detach_image(self.outer)
        self.assertFree(self.outer)

    def test_force_takes_the_inner_one_along(self):
        self.nest()
        self.bed.mount(self.inner_device, "inner")
        self.assertEqual(self.root.detach_image(self.outer, force=True), {"pending": False})
        self.assertGone(self.inner)
        self.assertFree(self.outer)

    def test_force_with_a_busy_inner_one(self):
        self.nest()
        holder = self.holder(self.inner_device)
        message = self.assertBusError("Busy", self.root.detach_image, self.outer, force=True)
        self.assertIn(f"pid {holder.process.pid}", message)
        self.assertAttached(self.outer)
        self.assertEqual(self.state(self.inner), "attached-not-open")
        holder.send("")
        holder.finish()
        self.root.detach_image(self.outer, force=True)
        self.assertFree(self.outer)

    def test_owner_leaves(self):
        """Neither mount is left when the owner goes: the outer one stays until the inner one has gone."""
        outer = self.image("outer.img", size=64 << 20)
        caller = self.caller(outer)
        device = self.root.properties(self.root.disk_for_path(outer))["Device"]
        point = self.bed.mount(device)
        inner = images.raw(os.path.join(point, "inner.img"), 16 << 20)
        self.root.attach_image(inner)
        inner_device = self.root.properties(self.root.disk_for_path(inner))["Device"]
        self.bed.run(["umount", "-l", point])
        caller.process.kill()
        self.bed.wait(lambda: self.state(outer) == "detach-pending", "the outer disk to wait")
        self.root.detach_image(inner_device)
        self.wait_gone(outer)
        self.assertFree(outer)

    def test_owner_of_both_leaves(self):
        outer = self.image("outer.img", size=64 << 20)
        both = self.connect()
        _, device = self.attach_handle(outer, both)
        point = self.bed.mount(device)
        inner = images.raw(os.path.join(point, "inner.img"), 16 << 20)
        self.attach_handle(inner, both)
        self.bed.run(["umount", "-l", point])
        both.close()
        self.wait_gone(inner)
        self.wait_gone(outer)
        self.assertFree(outer)

    def test_detach_on_unmount_of_the_outer_one(self):
        self.nest(detach_on_unmount=True)
        self.root.detach_image(self.inner_device)
        self.bed.unmount(self.point)
        self.wait_gone(self.outer)
        self.assertFree(self.outer)


class Who(TestCase):
    """By what a disk is named, and whose it is."""

    def test_detach_by_image_device_and_partition(self):
        image = images.write_file(self.path("parts.img"), 32 << 20)
        subprocess.run(["sfdisk", "-q", image], input="label: gpt\n,8M\n,8M\n", text=True, check=True)
        link = self.path("link.img")
        os.symlink(image, link)
        for name in (lambda device: image, lambda device: device, lambda device: device + "p2", lambda device: link):
            _, device, _ = self.root.attach_image(image)
            self.assertTrue(os.path.exists(device + "p2"))
            self.root.detach_image(name(device))
            self.assertGone(image)
        self.assertBusError("NotFound", self.root.detach_image, image)
        self.assertFree(image)

    def test_own_detach_asks_nobody(self):
        self.bed.polkit(manage_volume="yes", manage_others="no")
        image = self.image(owner="vd-first")
        first = self.connect("vd-first")
        first.attach_image(image)
        asked = len(self.bed.polkit_asked())
        self.connect("vd-first").detach_image(image)
        self.assertEqual(len(self.bed.polkit_asked()), asked)
        self.assertGone(image)

    def test_handle_detach_asks_nobody(self):
        self.bed.polkit(manage_volume="yes", manage_others="no")
        image = self.image(owner="vd-first")
        first = self.connect("vd-first")
        handle, _ = self.attach_handle(image, first)
        asked = len(self.bed.polkit_asked())
        first.detach(handle)
        self.assertEqual(len(self.bed.polkit_asked()), asked)
        first.close_handle(handle)
        self.assertGone(image)

    def test_detach_by_another_user_asks(self):
        self.bed.polkit(manage_volume="yes")
        image = self.image(owner="vd-first")
        _, device, _ = self.connect("vd-first").attach_image(image)
        second = self.connect("vd-second")
        for how in ({}, {"force": True}, {"when_idle": True}):
            self.assertBusError("AuthorizationRequired", second.detach_image, device, **how)
            self.assertAttached(image)
        self.bed.polkit(manage_others="no")
        self.assertBusError("PrivilegeNotHeld", second.detach_image, device)
        self.bed.polkit(manage_others="yes")
        second.detach_image(device)
        self.assertGone(image)
        asked = [row for row in self.bed.polkit_asked() if row["action"] == "org.virtdisk1.manage-others"]
        self.assertEqual(asked[-1]["user"], "vd-second")
        self.assertEqual(asked[-1]["path"], image)
        self.assertEqual(asked[-1]["device"], device)
        self.assertEqual(asked[-1]["owner"], "vd-first")

    def test_person_is_asked_for_what_another_user_made(self):
        self.bed.polkit(manage_volume="yes")
        image = self.image(owner="vd-first")
        _, device, _ = self.connect("vd-first").attach_image(image)
        person = self.bed.person()
        self.bed.polkit()
        self.connect("vd-second").detach_image(device, interactive=True)
        self.assertEqual([row[0] for row in person.asked], ["org.virtdisk1.manage-others"])
        self.assertGone(image)


if __name__ == "__main__":
    sys.exit(testbed.main())
