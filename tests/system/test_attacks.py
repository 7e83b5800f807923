#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a local user tries who wishes others ill: other users' data, other users' disks, the service itself."""
import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time

import served
import testbed
from attaching import ALL, ATTACH_RO, ATTACH_RW, DETACH, GET_INFO, TestCase
from testbed import USERS, images, loops
from userfuse import FLUSH, SETLK, UserFuse

READ = ATTACH_RO | DETACH | GET_INFO
READ_ONLY = 1
LOOP_SET_STATUS64, LOOP_GET_STATUS64, LOOP_CHANGE_FD, LOOP_CLR_FD = 0x4C04, 0x4C05, 0x4C06, 0x4C01
FILE_NAME = 56  # of lo_file_name in struct loop_info64


def size_of(device):
    return int(testbed.read(f"/sys/block/{os.path.basename(device)}/size"))


class Attack(TestCase):
    def setUp(self):
        super().setUp()
        self.bed.polkit(manage_volume="yes", attach_read_only="yes")

    def own_image(self, name="own.img", user="vd-first", size=1 << 20):
        path = images.raw(self.path(name), size)
        os.chown(path, USERS[user][0], USERS[user][1])
        os.chmod(path, 0o600)
        return path

    def secret(self):
        path = images.raw(self.path("secret.img"), 1 << 20)
        with open(path, "r+b") as file:
            file.write(b"SECRET")
        os.chmod(path, 0o600)
        return path

    def open_node(self, device, flags=os.O_RDONLY, user="vd-first"):
        with self.bed.rights_of(user):
            return os.open(device, flags | os.O_CLOEXEC)

    def no_loops_of(self, image):
        self.bed.wait(lambda: not [row for row in loops(self.dir) if row[1].split(" ")[0] == image],
                      f"no loop device of {image}")


class Devices(Attack):
    """The node of a disk belongs to its user, and the loop driver asks no more than an open node for most commands."""

    def reopen_unbound(self, device):
        """The device as its owner leaves it: unbound, and open. None: the service was faster."""
        with self.bed.rights_of("vd-first"):
            for _ in range(1000):
                try:
                    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
                except OSError:
                    return None
                if size_of(device) == 0:
                    return fd
                fcntl.ioctl(fd, LOOP_CLR_FD)
                os.close(fd)
        return None

    def test_descriptor_kept_from_an_earlier_disk_shows_nothing_of_the_next(self):
        """Of whoever comes next: the service itself, or losetup."""
        secret = self.secret()
        user = self.connect("vd-first")
        kept, tries = None, 0
        while kept is None and tries < 20:
            tries += 1
            image = self.own_image(f"own{tries}.img")
            device = user.attach_image(image)[1]
            kept = self.reopen_unbound(device)
            self.bed.wait(lambda: device not in self.root.all_paths(), "the service to notice")
        if kept is None:
            self.skipTest("the service took the node back faster than its owner could open it, 20 times")
        try:
            for attach, detach in (
                    (lambda: self.root.attach_image(secret)[1], self.root.detach_image),
                    (lambda: self.bed.run(["losetup", "-f", "--show", secret]).stdout.strip(),
                     lambda node: self.bed.run(["losetup", "-d", node]))):
                node = attach()
                seen = os.pread(kept, 512, 0)
                if b"SECRET" in seen:
                    os.close(kept)
                detach(node)
                self.assertNotIn(b"SECRET", seen)
        finally:
            with contextlib.suppress(OSError):
                os.close(kept)

    def test_node_follows_who_owns_the_image_now(self):
        """Not who owned it when it was opened."""
        image = self.own_image()
        handle = self.root.open(image, ALL)
        os.chown(image, 0, 0)
        self.root.attach(handle)
        status = os.stat(self.root.physical_path(handle))
        self.root.close_handle(handle)
        self.assertEqual((status.st_uid, status.st_mode & 0o007), (0, 0))

    def test_readers_of_the_image_do_not_rule_the_device(self):
        """LOOP_CHANGE_FD takes no more than reading, and puts another file under the disk that root has mounted."""
        image = images.raw(self.path("shared.img"), 1 << 20)
        os.chown(image, 0, USERS["vd-first"][1])
        os.chmod(image, 0o640)
        device = self.root.attach_image(image, read_only=True)[1]
        try:
            with self.bed.rights_of("vd-first"), self.assertRaises(PermissionError):
                os.close(os.open(device, os.O_RDONLY))
        finally:
            self.root.detach_image(image)

    def test_mask_of_an_access_control_list_is_no_right_of_the_group(self):
        image = images.raw(self.path("listed.img"), 1 << 20)
        os.chown(image, 0, USERS["vd-first"][1])
        entries = ((1, 6, 0xffffffff), (2, 6, USERS["vd-second"][0]), (4, 0, 0xffffffff), (16, 6, 0xffffffff),
                   (32, 0, 0xffffffff))
        try:
            os.setxattr(image, "system.posix_acl_access",
                        struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
        except OSError as error:
            self.skipTest(f"no access control lists here: {error}")
        self.assertEqual(os.stat(image).st_mode & 0o070, 0o060)
        device = self.root.attach_image(image)[1]
        try:
            self.assertEqual(os.stat(device).st_mode & 0o077, 0)
        finally:
            self.root.detach_image(image)

    @staticmethod
    def retag(fd, tag):
        """What the owner of a writable loop device may write over its name."""
        info = bytearray(232)
        fcntl.ioctl(fd, LOOP_GET_STATUS64, info)
        info[FILE_NAME:FILE_NAME + 64] = tag.encode().ljust(64, b"\0")
        fcntl.ioctl(fd, LOOP_SET_STATUS64, info)

    def test_tag_changed_by_the_owner_hides_nothing(self):
        """Neither from a detach nor from the next service."""
        user, image = self.connect("vd-first"), self.own_image()
        for restart in (False, True):
            device = user.attach_image(image)[1]
            fd = self.open_node(device, os.O_RDWR)
            self.retag(fd, "")
            os.close(fd)
            if restart:
                self.bed.stop_daemon()
                self.bed.start_daemon()
                user = self.connect("vd-first")
            user.detach_image(image)
            self.no_loops_of(image)

    def test_tag_of_others_takes_no_disk_from_them(self):
        user, image, secret = self.connect("vd-first"), self.own_image(), self.secret()
        device = user.attach_image(image)[1]
        victim = self.root.attach_image(secret)[0]
        fd = self.open_node(device, os.O_RDWR)
        self.retag(fd, "virtdisk1/" + os.path.basename(victim))
        os.close(fd)
        self.bed.stop_daemon()
        self.bed.start_daemon()
        self.assertEqual(self.root.disk_for_path(secret), victim)
        self.assertIsNotNone(self.state(image))
        self.root.detach_image(secret)
        self.root.detach_image(image)


class Disks(Attack):
    def test_force_ends_no_disk_of_others(self):
        """An image of root's on a file system that a user's disk holds."""
        self.bed.polkit(manage_volume="yes", manage_others="no")
        outer = self.image("outer.img", owner="vd-first")
        user = self.connect("vd-first")
        device = user.attach_image(outer)[1]
        point = self.bed.mount(device)
        inner = images.raw(os.path.join(point, "inner.img"), 1 << 20)
        self.root.attach_image(inner)
        self.assertBusError("PrivilegeNotHeld", user.detach_image, outer, force=True)
        self.assertEqual(len(self.root.all_paths()), 2)
        self.root.detach_image(inner)
        user.detach_image(outer, force=True)

    def test_source_of_a_mount_is_what_its_user_says(self):
        """As with FUSE: a mount that names the disk of others is no use of it, and its end not the disk's."""
        image = self.image(owner="vd-first")
        disk, device, _ = self.connect("vd-first").attach_image(image, detach_on_unmount=True)
        record = os.path.join(testbed.RUNDIR, "disks", os.path.basename(disk))
        point = self.path("liar")
        os.mkdir(point)
        self.bed.run(["mount", "-t", "tmpfs", device, point])
        try:
            self.root.all_paths()
            self.root.all_paths()
            self.assertIn("WasMounted=false", testbed.read(record))
        finally:
            self.bed.run(["umount", point])
        self.bed.unmount(self.bed.mount(device))
        self.wait_gone(image)

    def test_many_partitions_hold_nobody_up(self):
        """What one user's disks are made of is not what another's call takes longer for."""
        user = self.connect("vd-first")
        devices = []
        for i in range(8):
            path = self.own_image(f"{i}.img", size=300 << 20)
            with self.bed.rights_of("vd-first"):
                subprocess.run(["sfdisk", "-q", path], check=True, stdout=subprocess.DEVNULL, text=True,
                               input="label: gpt\ntable-length: 250\n" + "size=64\n" * 250)
            devices.append(user.attach_image(path, read_only=True)[1])
        start = time.monotonic()
        for _ in range(10):
            self.root.call(testbed.ROOT, testbed.MANAGER, "GetStorageDependencyInformation", "(sua{sv})", "/", 0, {})
        self.assertLess(time.monotonic() - start, 1.0)
        for device in devices:
            user.detach_image(device)

    def test_count_goes_on_after_a_restart(self):
        user = self.connect("vd-first")
        paths = [self.own_image(f"{i}.img") for i in range(65)]
        for path in paths[:64]:
            user.attach_image(path, read_only=True)
        self.bed.stop_daemon()
        self.bed.start_daemon()
        user = self.connect("vd-first")
        self.assertBusError("LimitExceeded", user.attach_image, paths[64], read_only=True)
        for path in paths[:64]:
            user.detach_image(path)

    def test_boot_does_not_follow_the_owner_of_the_folder_elsewhere(self):
        """root attaches a user's image at boot; by then the user has put a link to root's there."""
        secret, folder = self.secret(), self.path("home")
        os.mkdir(folder)
        os.chown(folder, *USERS["vd-first"][:2])
        image = self.own_image("home/own.img")
        self.root.attach_image(image, lifetime="boot")
        with open(next(os.scandir(os.path.join(self.bed.statedir, "boot")))) as file:
            record = file.read()
        name = os.listdir(os.path.join(self.bed.statedir, "boot"))[0]
        self.root.detach_image(image)
        self.bed.stop_daemon()
        self.bed._write(f"state/boot/{name}", record, 0o600)
        os.unlink(image)
        os.symlink(secret, image)
        process = self.bed.start_daemon("--attach-boot", wait=False)
        self.bed.wait(lambda: self.bed.daemon.poll() is not None, "the boot service to end")
        self.bed.daemon = None
        os.unlink(self.bed.path(f"state/boot/{name}"))
        self.assertEqual([row for row in loops(self.dir)], [], process)


class Chains(Attack):
    """What an image names as its parent is opened with the rights of whoever opens the image."""

    def child_of_secret(self):
        """root's own disk, and a user's child of it, made with what a user can know of it -> child."""
        secret, child = self.path("secret.vhdx"), self.path("child.vhdx")
        self.root.close_handle(self.root.create(secret, 4 << 20))
        self.root.close_handle(self.root.create(child, 0, parent_path=secret))
        os.chmod(secret, 0o644)  # as most are, in a folder that is closed
        os.chown(child, *USERS["vd-first"][:2])
        os.chmod(child, 0o660)
        return child

    def test_node_does_not_show_its_owner_the_parents_of_others(self):
        child = self.child_of_secret()
        device = self.root.attach_image(child, route="fuse")[1]
        try:
            status = os.stat(device)
            self.assertEqual((status.st_uid, status.st_mode & 0o077), (0, 0))
            with self.bed.rights_of("vd-first"), self.assertRaises(PermissionError):
                os.close(os.open(device, os.O_RDONLY))
        finally:
            self.root.detach_image(child)

    def test_node_is_the_users_whose_chain_it_is(self):
        user = self.connect("vd-first")
        os.chmod(self.dir, 0o777)
        parent, child = self.path("parent.vhdx"), self.path("child.vhdx")
        user.close_handle(user.create(parent, 4 << 20))
        user.close_handle(user.create(child, 0, parent_path=parent))
        for client in (self.root, user):
            device = client.attach_image(child, route="fuse")[1]
            status = os.stat(device)
            client.detach_image(child)
            self.assertEqual((status.st_uid, status.st_mode & 0o777), (USERS["vd-first"][0], 0o600))

    def test_long_chains_use_up_nobodys_descriptors(self):
        """Each handle of a chain has a descriptor for each of its images."""
        user, depth, handles = self.connect("vd-first"), 64, []
        os.chmod(self.dir, 0o777)
        user.close_handle(user.create(self.path("0.vhdx"), 4 << 20))
        for n in range(1, depth):
            user.close_handle(user.create(self.path(f"{n}.vhdx"), 0, parent_path=self.path(f"{n - 1}.vhdx"), open_flags=1))
        with self.assertRaises(testbed.BusError) as refused:
            while len(handles) < 2048 // depth:
                handles.append(user.open(self.path(f"{depth - 1}.vhdx"), GET_INFO))
        self.assertIn("LimitExceeded", str(refused.exception))
        self.assertGreater(len(handles), 8)
        held = self.bed.daemon_fds()
        self.assertLess(held if isinstance(held, int) else len(held), 1200)
        user.close_handle(handles.pop())
        handles.append(user.open(self.path(f"{depth - 1}.vhdx"), GET_INFO))
        for handle in handles:
            user.close_handle(handle)


class Handles(Attack):
    def test_none_is_left_to_a_caller_that_has_gone(self):
        """One that passes a descriptor of an attached image and leaves at once."""
        image = self.own_image()
        user = self.connect("vd-first")
        user.attach_image(image)
        fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for _ in range(30):
                caller = self.connect("vd-first")
                caller.begin(testbed.ROOT, testbed.MANAGER, "OpenVirtualDiskFd", "(huua{sv})", 0, DETACH | GET_INFO, 0, {},
                             fds=[fd])
                caller.connection.flush_sync()
                caller.close()
        finally:
            os.close(fd)
        self.bed.wait(lambda: self.state(image) == "attached-not-open", "the handles to be closed")
        user.detach_image(image)


# Sends a descriptor of a file with calls that use it, that have no use for it, and that are no calls of the service.
SENDER = """
import os, sys
import gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
bus = Gio.DBusConnection.new_for_address_sync("unix:path=/run/dbus/system_bus_socket",
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
def send(path, interface, method, arguments):
    bus.call_with_unix_fd_list("org.virtdisk1", path, interface, method, arguments, None, 0, -1,
                               Gio.UnixFDList.new_from_array([os.open(sys.argv[1], os.O_RDONLY)]), None, None)
send("/", "org.freedesktop.DBus.Peer", "Ping", None)
send("/org/virtdisk1", "org.virtdisk1.Manager", "NoSuchMethod", None)
send("/org/virtdisk1", "org.virtdisk1.Manager", "OpenVirtualDiskFd", GLib.Variant("(huua{sv})", (0, 0, 0x80000000, {})))
send("/org/virtdisk1", "org.virtdisk1.Manager", "GetDiskForPath", GLib.Variant("(sa{sv})", ("/", {})))
bus.flush_sync(None)
print("sent", flush=True)
sys.stdin.readline()
"""


class Servers(Attack):
    """A user's FUSE server need not answer, and each close of a descriptor of its file asks it (FUSE_FLUSH): also the
    closes of a process that has inherited one."""
    OTHERS_DEADLINE = 20  # seconds, for what takes others a fraction of one

    def serve(self, image="image.img", source=None, **how):
        server = UserFuse(self.path("served"), USERS["vd-first"], image,
                          source or images.raw(self.path("source"), 1 << 20), **how)
        self.addCleanup(server.end)
        return server

    def others_go_on(self):
        """Opener, probe, task, serving worker and close, for another user."""
        other = self.connect("vd-second")
        path = self.path(f"others-{time.monotonic_ns()}.vhdx")
        os.chmod(self.dir, 0o777)
        start = time.monotonic()
        handle = other.create(path, 4 << 20)
        other.attach(handle, route="fuse")
        other.detach(handle)
        other.close_handle(handle)
        self.assertLess(time.monotonic() - start, self.OTHERS_DEADLINE)
        os.unlink(path)
        other.close()

    def test_file_that_is_held_open_stops_nobody_elses_processes(self):
        server, user = self.serve(), self.connect("vd-first")
        handle = user.open(server.path, GET_INFO)
        server.hold(FLUSH)
        self.others_go_on()
        server.release()
        user.close_handle(handle)

    def test_descriptors_that_come_with_messages_are_closed_beside(self):
        server, messages = self.serve(), 4
        server.hold(FLUSH, process=self.bed.daemon.pid)
        sender = self.bed.terminal([sys.executable, "-c", SENDER, server.path], user="vd-first")
        sender.expect("sent")
        self.assertTrue(server.wait_kept(messages, testbed.EVENT_DEADLINE), server.kept)
        self.others_go_on()
        server.release()
        sender.send("")
        self.assertEqual(sender.finish(), 0)

    def test_locks_are_let_go_of_beside(self):
        server, user = self.serve(locks=True), self.connect("vd-first")
        handle = user.open(server.path, READ)
        server.hold(SETLK, process=self.bed.daemon.pid)
        user.close_handle(handle)
        self.assertTrue(server.wait_kept(1, testbed.EVENT_DEADLINE))
        self.others_go_on()
        server.release()

    def test_closes_that_nobody_answers_pile_up_for_nobody_else(self):
        """Each open leaves an opener and a worker that cannot be killed, since they wait for the end of a close."""
        server, user = self.serve(), self.connect("vd-first")
        server.hold(FLUSH)
        calls = [user.begin(testbed.ROOT, testbed.MANAGER, "OpenVirtualDisk", "(suua{sv})", server.path, GET_INFO, 0, {})
                 for _ in range(12)]
        self.others_go_on()
        names = []
        for call in calls:
            with self.assertRaises(testbed.BusError) as failed:
                call.result()
            names.append(failed.exception.name.rpartition(".")[2])
        self.assertEqual(set(names), {"TimedOut", "LimitExceeded"})
        self.assertBusError("LimitExceeded", user.open, server.path, GET_INFO)
        self.others_go_on()
        server.release()
        self.bed.wait(lambda: not [name for _, name in testbed.processes() if name.startswith(("virtdisk-o", "virtdisk-w"))],
                      "the processes to end")
        user.close_handle(user.open(server.path, GET_INFO))


class Workers(Attack):
    """A worker reads what its user gives it, and may be that user's by now."""
    ANSWER = 2  # seconds that one worker is waited for: service-start.c

    def setUp(self):
        super().setUp()
        os.chmod(self.dir, 0o777)

    def attach(self, user, name):
        path = self.path(name)
        user.close_handle(user.create(path, 4 << 20))
        user.attach_image(path, route="fuse")
        return path

    def test_those_that_do_not_answer_delay_the_next_service_once(self):
        user = self.connect("vd-first")
        paths = [self.attach(user, f"{n}.vhdx") for n in range(8)]
        self.bed.stop_daemon()
        for pid in served.workers():
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        self.bed.start_daemon()
        self.assertLess(time.monotonic() - start, len(paths) * self.ANSWER / 2)
        user = self.connect("vd-first")
        for path in paths:
            user.detach_image(path)

    def test_memory_that_one_user_can_lock_has_a_ceiling(self):
        """A served disk locks tens of MiB in a worker that is not ended for want of memory."""
        most, user = 16, self.connect("vd-first")
        for n in range(most):
            self.attach(user, f"{n}.vhdx")
        path = self.path("more.vhdx")
        user.close_handle(user.create(path, 4 << 20))
        self.assertIn("16", self.assertBusError("LimitExceeded", user.attach_image, path, route="fuse"))
        other = self.connect("vd-second")
        others = self.attach(other, "others.vhdx")
        other.detach_image(others)
        raw = self.own_image()
        self.assertBusError("LimitExceeded", user.attach_image, raw, route="fuse")
        user.attach_image(raw)
        user.detach_image(raw)
        self.bed.stop_daemon()
        self.bed.start_daemon()
        user = self.connect("vd-first")
        self.assertBusError("LimitExceeded", user.attach_image, path, route="fuse")
        user.detach_image(self.path("0.vhdx"))
        user.attach_image(path, route="fuse")
        for name in ["more.vhdx", *(f"{n}.vhdx" for n in range(1, most))]:
            user.detach_image(self.path(name))


class Texts(Attack):
    def test_name_of_a_process_is_no_text(self):
        """The one in whose way a detach is, by name: any bytes."""
        image = self.own_image()
        os.chmod(image, 0o644)
        user = self.connect("vd-first")
        user.attach_image(image, read_only=True)
        other = self.connect("vd-second")
        handle = other.open(image, DETACH | GET_INFO)
        before, libc = open("/proc/self/comm", "rb").read().strip(), ctypes.CDLL(None)
        libc.prctl(15, b"\xff\n\x1b[2J", 0, 0, 0)  # PR_SET_NAME
        try:
            message = self.assertBusError("Busy", user.detach_image, image)
        finally:
            libc.prctl(15, before, 0, 0, 0)
        self.assertIn("\\xff", message)
        self.assertNotIn("\x1b", message + self.bed.daemon_log())
        other.close_handle(handle)
        user.detach_image(image)

    def test_long_and_crooked_names_of_options(self):
        user = self.connect("vd-first")
        message = self.assertBusError("InvalidParameter", user.attach_image, self.own_image(),
                                      **{"x\x1b[2J\n" + "y" * 100000: testbed.options(mode=0)["mode"]})
        self.assertFalse("\x1b" in message)
        self.assertLess(len(message), 50000)
        self.assertLess(len(self.bed.daemon_log()), 100000)


if __name__ == "__main__":
    sys.exit(testbed.main())
