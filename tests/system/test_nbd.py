#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
NO_LOCAL_HOST: no device, but a connection on which a worker speaks NBD. With QEMU as the client that others wrote; every
format; what is left when client, worker or service is killed.
"""
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

import served  # noqa: E402
import testbed  # noqa: E402
from client import as_bus_error  # noqa: E402
from served import ATTACH_RW, FIXED, MIB, READ, READ_ONLY, workers  # noqa: E402
from testbed import HANDLE, NAME, USERS  # noqa: E402

NO_LOCAL_HOST, PERMANENT, RESTRICTED_RANGE, AT_BOOT = 0x8, 0x4, 0x80, 0x400
WRITE = READ | ATTACH_RW
DEADLINE = 60  # seconds, of one program


class Connection:
    """The protocol as far as a test needs it: everything else is QEMU's."""

    def __init__(self, end):
        self.socket = end
        self.socket.settimeout(DEADLINE)

    def take(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def begin(self):
        """-> (size, flags)"""
        assert self.take(18)[:16] == b"NBDMAGICIHAVEOPT"
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        return struct.unpack(">QH", self.take(10))

    def ask(self, kind, offset=0, length=0, data=b""):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, offset, length or len(data)) + data)
        return struct.unpack(">IIQ", self.take(16))[1]

    def write(self, offset, data):
        return self.ask(1, offset, data=data)

    def read(self, offset, length):
        error = self.ask(0, offset, length)
        assert error == 0, os.strerror(error)
        return self.take(length)

    def is_over(self):
        ready, _, _ = select.select([self.socket], [], [], DEADLINE)
        try:
            return bool(ready) and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.socket.close()


class TestCase(served.TestCase):
    def attach_nbd(self, handle, flags=0, client=None, **opts):
        """-> the connection, a socket"""
        try:
            reply, fds = (client or self.root).connection.call_with_unix_fd_list_sync(
                NAME, handle, HANDLE, "AttachVirtualDisk",
                GLib.Variant("(ua{sv})", (flags | NO_LOCAL_HOST, testbed.options(**opts))), None,
                Gio.DBusCallFlags.NONE, testbed.CALL_DEADLINE * 1000, None, None)
        except GLib.Error as error:
            raise as_bus_error(error) from None
        end = socket.socket(fileno=fds.get(reply.unpack()[0]["nbd"]))
        self.addCleanup(end.close)
        return end

    def open_nbd(self, path, mask=WRITE, flags=0, **opts):
        """-> (handle, socket)"""
        handle = self.root.open(path, mask)
        return handle, self.attach_nbd(handle, flags | (READ_ONLY if mask == READ else 0), **opts)

    def connect_nbd(self, path, mask=WRITE, flags=0, **opts):
        handle, end = self.open_nbd(path, mask, flags, **opts)
        return handle, Connection(end)

    def qemu(self, program, *arguments, end=None, check=True):
        """IMAGE in the arguments is the connection, which ends with the program."""
        if not shutil.which(program):
            self.skipTest(f"{program} is not installed")
        fds = (end.fileno(),) if end else ()
        options = f"driver=nbd,server.type=fd,server.str={end.fileno()}" if end else ""
        done = subprocess.run([program, *(a.replace("IMAGE", options) for a in arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=DEADLINE, check=False, pass_fds=fds)
        if end:
            end.close()
        if check:
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def random_file(self, name, size):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(os.urandom(size))
        return path

    def await_detached(self, path):
        self.bed.wait(lambda: not self.is_attached(path), "the disk to be detached")

    def is_attached(self, path):
        return any(properties.get(testbed.DISK, {}).get("Path") == path for properties in self.root.objects().values())


class Clients(TestCase):
    """QEMU reads and writes every format through its connection what it reads and writes in the file itself."""

    def round_trip(self, path, kind, size):
        source = self.random_file("source", 5 * MIB)
        os.truncate(source, size)
        handle, end = self.open_nbd(path)
        self.qemu("qemu-img", "convert", "-n", "--target-image-opts", "-f", "raw", source, "IMAGE", end=end)
        self.await_detached(path)
        end = self.attach_nbd(handle, READ_ONLY)
        self.qemu("qemu-img", "compare", "--image-opts", f"driver=raw,file.driver=file,file.filename={source}", "IMAGE", end=end)
        self.root.close_handle(handle)
        self.assertNothingServes()
        self.qemu("qemu-img", "compare", "-f", "raw", "-F", kind, source, path)

    def test_vhdx(self):
        self.round_trip(self.make("disk", 64 * MIB), "vhdx", 64 * MIB)
        self.check(self.image("disk"))

    def test_fixed_vhdx(self):
        self.round_trip(self.make("disk", 64 * MIB, flags=FIXED), "vhdx", 64 * MIB)

    def test_raw(self):
        path = self.random_file("disk.img", 64 * MIB)
        self.round_trip(path, "raw", 64 * MIB)

    def test_iso(self):
        path = self.path("disc.iso")
        testbed.images.iso(path)
        handle, end = self.open_nbd(path, READ)
        self.qemu("qemu-img", "compare", "--image-opts", f"driver=raw,file.driver=file,file.filename={path}", "IMAGE", end=end)
        self.await_detached(path)
        end = self.attach_nbd(handle, READ_ONLY)
        done = self.qemu("qemu-io", "--image-opts", "IMAGE", "-c", "write 0 4k", end=end, check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.root.close_handle(handle)

    def test_chain(self):
        parent = self.make("parent", 64 * MIB)
        handle, end = self.open_nbd(parent)
        self.qemu("qemu-io", "--image-opts", "IMAGE", "-c", "write -P 1 0 8M", "-c", "flush", end=end)
        self.root.close_handle(handle)
        child = self.make("child", parent="parent")
        handle, end = self.open_nbd(child)
        self.qemu("qemu-io", "--image-opts", "IMAGE", "-c", "write -P 2 1M 64k", "-c", "discard 4M 1M", "-c", "write -z 5M 1M",
                  "-c", "read -P 1 0 1M", "-c", "read -P 2 1M 64k", "-c", "read -P 0 5M 1M", end=end)
        self.root.close_handle(handle)
        self.assertNothingServes()
        handle, connection = self.connect_nbd(child, READ)
        connection.begin()
        self.assertEqual(connection.read(MIB, 512), b"\2" * 512)
        self.assertEqual(connection.read(3 * MIB, 512), b"\1" * 512)
        self.root.close_handle(handle)
        handle, connection = self.connect_nbd(parent, READ)
        connection.begin()
        self.assertEqual(connection.read(MIB, 512), b"\1" * 512)
        self.root.close_handle(handle)

    def test_a_range(self):
        path = self.random_file("disk.img", 16 * MIB)
        handle, connection = self.connect_nbd(path, flags=RESTRICTED_RANGE, version=2, restricted_offset=MIB,
                                              restricted_length=2 * MIB)
        self.assertEqual(connection.begin()[0], 2 * MIB)
        self.assertEqual(connection.write(0, b"x" * 512), 0)
        self.root.close_handle(handle)
        with open(path, "rb") as file:
            file.seek(MIB)
            self.assertEqual(file.read(512), b"x" * 512)

    def test_nbdinfo_and_nbdcopy(self):
        for program in ("nbdinfo", "nbdcopy"):
            if not shutil.which(program):
                self.skipTest(f"{program} is not installed")
        path = self.make("disk", 64 * MIB)
        copy = self.path("copy")
        command = f"nbdinfo --size $VIRTDISK_NBD_URI && nbdcopy $VIRTDISK_NBD_URI {copy}"
        done = self.bed.virtdisk("nbd", "--read-only", path, "--", "sh", "-c", command)
        self.assertIn(str(64 * MIB), done.stdout)
        self.assertEqual(os.path.getsize(copy), 64 * MIB)


class VhdClients(TestCase):
    extension, kind = ".vhd", "vpc"

    round_trip = Clients.round_trip

    def test_vhd(self):
        self.round_trip(self.make("disk", 64 * MIB), "vpc", 64 * MIB)

    def test_fixed_vhd(self):
        self.round_trip(self.make("disk", 64 * MIB, flags=FIXED), "vpc", 64 * MIB)


class Rules(TestCase):
    def test_there_is_no_device(self):
        path = self.make("disk", 64 * MIB)
        loops = testbed.loops(self.dir)
        handle, connection = self.connect_nbd(path)
        seen = self.properties(path)
        self.assertEqual(connection.begin()[0], 64 * MIB)
        self.assertEqual((seen["Route"], seen["Device"], seen["DeviceNumber"], seen["DiskSequence"], seen["Lifetime"]),
                         ("nbd", "", 0, 0, "handle"))
        self.assertEqual(self.root.all_paths(), [])
        self.assertEqual(testbed.loops(self.dir), loops)
        self.assertBusError("DeviceNotExist", self.root.physical_path, handle)
        self.assertBusError("BadCommand", self.attach_nbd, handle)
        self.assertBusError("SharingViolation", self.root.attach_image, path)
        self.root.detach(handle)
        self.assertTrue(connection.is_over())
        self.assertBusError("NotFound", self.root.detach, handle)
        self.root.close_handle(handle)
        self.assertNothingServes()

    def test_what_does_not_go_together(self):
        handle = self.root.open(self.make("disk", 64 * MIB), WRITE)
        for flags, how in [(PERMANENT, {}), (AT_BOOT, {}), (0, {"lifetime": "session"}), (0, {"lifetime": "permanent"}),
                           (0, {"route": "loop"}), (0, {"route": "fuse"}), (0, {"zero_copy": True}), (0, {"sector_size": 512}),
                           (0, {"partition_scan": False}), (0, {"mode": 0o600}), (0, {"detach_on_unmount": True})]:
            self.assertBusError("InvalidParameter", self.attach_nbd, handle, flags, **how)
        self.assertBusError("InvalidParameter", self.root.attach, handle, route="nbd")
        self.assertBusError("InvalidParameter", self.root.attach_image, self.image("disk"), flags=NO_LOCAL_HOST)
        self.assertBusError("AccessDenied", self.attach_nbd, self.root.open(self.make("other", 64 * MIB), READ))

    def test_it_takes_the_privilege_that_a_device_takes(self):
        user = self.connect("vd-first")
        path = self.path("user.img")
        with open(path, "wb") as file:
            file.truncate(16 * MIB)
        os.chown(path, *USERS["vd-first"][:2])
        handle = user.open(path, WRITE)
        self.bed.polkit(manage_volume="no", attach_read_only="yes")
        self.assertBusError("PrivilegeNotHeld", self.attach_nbd, handle, client=user)
        connection = Connection(self.attach_nbd(handle, READ_ONLY, client=user))
        self.assertEqual(connection.begin(), (16 * MIB, 7))
        self.assertEqual(connection.write(0, b"x" * 512), 1)
        user.close_handle(handle)
        self.assertTrue(connection.is_over())


class Command(TestCase):
    """virtdisk nbd"""

    def start(self, *arguments):
        """-> (the process, what it printed first)"""
        argv = [testbed.program(self.bed.build, "virtdisk"), "nbd", *arguments]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=self.bed.environment())
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process, process.stdout.readline().strip()

    def client(self, path):
        end = socket.socket(socket.AF_UNIX)
        self.addCleanup(end.close)
        end.connect(path)
        return Connection(end)

    def test_one_client_after_the_other_at_a_socket(self):
        image, path = self.make("disk", 64 * MIB), self.path("a socket")
        process, uri = self.start(f"--socket={path}", image)
        self.assertEqual(uri, "nbd+unix:///?socket=" + path.replace(" ", "%20"))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        first, second = self.client(path), self.client(path)
        self.assertEqual(first.begin()[0], 64 * MIB)
        self.assertEqual(first.write(0, b"x" * (MIB // 2)), 0)
        first.close()
        second.begin()
        self.assertEqual(second.read(0, MIB // 2), b"x" * (MIB // 2))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE), 143)
        self.assertTrue(second.is_over())
        self.assertFalse(os.path.exists(path))
        self.await_detached(image)
        self.assertNothingServes()

    def test_a_command_with_an_address(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        source, image = self.random_file("source", 8 * MIB), self.make("disk", 8 * MIB)
        script = 'qemu-img convert -n -f raw -O raw "$0" "$VIRTDISK_NBD_URI" && qemu-img compare -f raw -F raw "$0" "$VIRTDISK_NBD_URI"'
        self.bed.virtdisk("nbd", image, "--", "sh", "-c", script, source)
        self.assertNothingServes()
        self.qemu("qemu-img", "compare", "-f", "raw", "-F", "vhdx", source, image)

    def test_a_command_with_a_descriptor(self):
        image = self.make("disk", 64 * MIB)
        script = 'head -c 8 <&3; test "$VIRTDISK_NBD_FD" = 3'
        self.assertEqual(self.bed.virtdisk("nbd", "--descriptor", "-r", image, "--", "sh", "-c", script).stdout, "NBDMAGIC")
        self.assertNotEqual(self.bed.virtdisk("nbd", image, "--", "false", check=False).returncode, 0)
        self.assertNothingServes()

    def test_what_is_refused(self):
        image, path = self.make("disk", 64 * MIB), self.path("socket")
        for arguments in ([image], ["--descriptor", image], ["--descriptor", f"--socket={path}", image, "--", "true"]):
            self.assertEqual(self.bed.virtdisk("nbd", *arguments, check=False).returncode, 2)
        with open(path, "w"):
            pass
        said = self.bed.virtdisk("nbd", f"--socket={path}", image, check=False)
        self.assertIn("Address already in use", said.stderr)
        self.assertTrue(os.path.exists(path))


class Ends(TestCase):
    """Whoever ends, and however: the image is whole, the disk detached, and can be attached again."""

    def begin(self):
        path = self.make("disk", 64 * MIB)
        handle, connection = self.connect_nbd(path)
        connection.begin()
        self.assertEqual(connection.write(MIB, b"a" * 4096), 0)
        self.assertEqual(connection.ask(3), 0)
        return path, handle, connection

    def finish(self, path, handle=None):
        """What was flushed is there."""
        handle = handle or self.root.open(path, WRITE)
        connection = Connection(self.attach_nbd(handle))
        connection.begin()
        self.assertEqual(connection.read(MIB, 4096), b"a" * 4096)
        connection.close()
        self.root.close_handle(handle)
        self.check(path)
        self.assertNothingServes()

    def test_the_client_hangs_up(self):
        path, handle, connection = self.begin()
        connection.socket.shutdown(socket.SHUT_RDWR)
        self.await_detached(path)
        self.finish(path, handle)

    def test_the_client_is_killed_in_the_midst_of_writing(self):
        path, handle, connection = self.begin()
        connection.socket.shutdown(socket.SHUT_RDWR)
        self.await_detached(path)
        end = self.attach_nbd(handle)
        options = f"driver=nbd,server.type=fd,server.str={end.fileno()}"
        if not shutil.which("qemu-io"):
            self.skipTest("qemu-io is not installed")
        writer = subprocess.Popen(["qemu-io", "--image-opts", options] + ["-c", "write 8M 32M", "-c", "discard 8M 32M"] * 500,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=(end.fileno(),))
        end.close()
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        self.assertIn(b"wrote", writer.stdout.readline())
        writer.kill()
        writer.stdout.close()
        self.await_detached(path)
        self.finish(path, handle)

    def test_the_caller_leaves_the_bus(self):
        client = self.connect()
        path = self.make("disk", 64 * MIB)
        handle = client.open(path, WRITE)
        connection = Connection(self.attach_nbd(handle, client=client))
        connection.begin()
        self.assertEqual(connection.write(MIB, b"a" * 4096), 0)
        client.close()
        self.assertTrue(connection.is_over())
        self.await_detached(path)
        self.finish(path)

    def test_the_worker_is_killed(self):
        path, handle, connection = self.begin()
        worker, = workers()
        os.kill(worker, signal.SIGKILL)
        self.assertTrue(connection.is_over())
        self.await_detached(path)
        self.assertEqual(workers(), [])
        self.finish(path, handle)

    def test_the_service_is_killed(self):
        path, handle, connection = self.begin()
        before = workers()
        self.bed.kill_daemon()
        self.assertEqual(connection.write(2 * MIB, b"b" * 4096), 0)
        self.bed.start_daemon()
        self.assertEqual(workers(), before)
        self.assertEqual((self.properties(path)["Route"], self.properties(path)["Device"]), ("nbd", ""))
        self.assertEqual(connection.read(2 * MIB, 4096), b"b" * 4096)
        self.root.detach(handle)
        self.assertTrue(connection.is_over())
        self.root.close_handle(handle)
        self.finish(path)

    def test_the_client_hangs_up_while_there_is_no_service(self):
        path, _, connection = self.begin()
        self.bed.stop_daemon()
        self.assertEqual(connection.write(2 * MIB, b"b" * 4096), 0)
        connection.close()
        self.bed.wait(lambda: not workers(), "the worker to end")
        self.bed.start_daemon()
        self.assertFalse(self.is_attached(path))
        self.finish(path)

    def test_worker_and_service_are_killed(self):
        path, _, connection = self.begin()
        self.bed.kill_daemon()
        worker, = workers()
        os.kill(worker, signal.SIGKILL)
        self.assertTrue(connection.is_over())
        self.bed.start_daemon()
        self.assertFalse(self.is_attached(path))
        self.finish(path)


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
