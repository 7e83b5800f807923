#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What callers, files and people must not be able to do to the service: whatever comes in, the answer is an error by its
name, nothing is left behind (loop devices, descriptors, files, processes), and others are served meanwhile.
"""
import contextlib
import errno
import mmap
import os
import re
import socket
import stat
import struct
import sys
import time

import testbed
from client import BUS_ADDRESS
from testbed import HANDLE, MANAGER, ROOT, BusError, images
from world import ALL, READ, World

GET_INFO, ATTACH_RW, DETACH = 0x80000, 0x20000, 0x40000
RAW = 100
PROMPT = 5  # seconds, for an answer to a caller who has nothing to do with the trouble
LEAVE = 15  # seconds, until what a call held is given back

# Renames links to one name and the other over a third in turn, for ever: each lookup of it finds the one or the other.
SWAPPER = """
import os, sys
target, first, second = sys.argv[1:]
while True:
    for name in (second, first):  # the target is first now, and a rename over a link of the same file does nothing
        os.link(name, target + ".new", follow_symlinks=False)
        os.rename(target + ".new", target)
"""


class BadInput(World):
    def setUp(self):
        super().setUp()
        self.second = self.connect("vd-second")
        # What is made once and kept (polkit's proxy, threads' descriptors) is made now.
        with contextlib.suppress(BusError):
            self.user.attach_image(self.file("first.iso"))
        self.root.close_handle(self.root.open(self.file("first.img"), READ))
        self.root.detach_image(self.root.attach_image(self.file("first.img"))[1])
        self._fds = self.bed.daemon_fds()
        self._world = self.bed.snapshot()

    def settled(self):
        """What could leak, compared with before; empty when all is as it was."""
        now, world = self.bed.daemon_fds(), self.bed.snapshot()
        left = {kind: [item for item in world[kind] if item not in before] for kind, before in self._world.items()}
        if now != self._fds:
            left["descriptors"] = (self._fds, now)
        return {kind: items for kind, items in left.items() if items}

    def assertUnharmed(self):
        """Nothing leaked, and somebody else is served."""
        self.assertServes()
        end = time.monotonic() + LEAVE
        while self.settled():
            self.assertLess(time.monotonic(), end, f"left behind: {self.settled()}\n{self.bed.daemon_log()}")
            self.root.all_paths()  # the service takes part in the wait: each answer is a turn of its loop
        self.assertIsNone(self.bed.daemon.poll())

    def assertServes(self):
        self.second.call(ROOT, MANAGER, "GetAllAttachedVirtualDiskPhysicalPaths", "(a{sv})", {}, deadline=PROMPT)
        handle = self.second.call(ROOT, MANAGER, "OpenVirtualDisk", "(suua{sv})", self.file("others.iso"), READ, 0, {},
                                  deadline=PROMPT)[0]
        self.second.close_handle(handle)

    def device_io(self, device, flags, offset, data=None, length=4096):
        """One direct read or write -> bytes read; raises OSError."""
        buffer = mmap.mmap(-1, length)
        fd = os.open(device, flags | os.O_DIRECT | os.O_CLOEXEC)
        try:
            if data is None:
                return os.preadv(fd, [buffer], offset)
            buffer.write(data.ljust(length, b"\0"))
            return os.pwritev(fd, [buffer], offset)
        finally:
            os.close(fd)


class Files(BadInput):
    def node(self, name, mode, number=0):
        os.mknod(self.path(name), mode | 0o666, number)
        return self.path(name)

    def listening(self, name):
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(self.path(name))
        return self.path(name)

    def refused(self, name, path):
        for mask in (READ, ALL):
            self.assertBusError(name, self.root.call, ROOT, MANAGER, "OpenVirtualDisk", "(suua{sv})", path, mask, 0,
                                testbed.options(device_id=RAW), deadline=PROMPT)
        self.assertUnharmed()

    def test_empty_and_truncated(self):
        for name, size, error in (("e.img", 0, "VhdInvalidSize"), ("e.vhd", 0, "VhdDriveFooterMissing"),
                                  ("e.iso", 0, "FileCorrupt"), ("t.img", 1000, "VhdInvalidSize"),
                                  ("t.vhd", 4 << 20, "VhdDriveFooterMissing"), ("t.iso", 33000, "FileCorrupt")):
            with self.subTest(name):
                self.assertBusError(error, self.root.attach_image, self.resized(name, size))
        self.assertUnharmed()

    def test_truncated_below_what_the_footer_says(self):
        path = self.file("short.vhd")
        with open(path, "rb") as file:
            footer = file.read()[-512:]
        with open(path, "r+b") as file:
            file.truncate(1 << 20)
            file.seek(1 << 20)
            file.write(footer)
        self.assertBusError("VhdInvalidFileSize", self.root.attach_image, path)
        self.assertUnharmed()

    def test_folder(self):
        self.refused("NotARegularFile", self.dir)

    def test_fifo_does_not_block(self):
        self.refused("NotARegularFile", self.node("pipe.img", stat.S_IFIFO))

    def test_socket(self):
        self.refused("NotARegularFile", self.listening("socket.img"))

    def test_device_nodes(self):
        self.refused("NotARegularFile", self.node("null.img", stat.S_IFCHR, os.makedev(1, 3)))
        self.refused("NotARegularFile", self.node("loop.img", stat.S_IFBLK, os.makedev(7, 0)))

    def test_windows_into_the_kernel(self):
        for path in ("/proc/version", "/proc/sys/kernel/ostype", "/sys/kernel/uevent_seqnum"):
            with self.subTest(path):
                self.assertBusError("NotARegularFile", self.root.open, path, READ, device_id=RAW)
        self.assertUnharmed()

    def test_long_paths(self):
        for length in (4097, 65536, 1 << 20):
            with self.subTest(length):
                self.assertBusError("NameTooLong", self.root.open, "/" + "x/" * (length // 2) + "a.img", READ)
                self.assertBusError("NameTooLong", self.root.disk_for_path, "/" + "x" * length)
        self.assertBusError("NameTooLong", self.root.attach_image, self.path("n" * 256 + ".img"))
        self.assertUnharmed()

    def test_longest_path_that_there_is(self):
        """One that the kernel takes is taken."""
        folder = self.path()
        while len(folder) + 201 < 4080:
            folder += "/" + "d" * 200
        os.makedirs(folder, exist_ok=True)
        path = folder + "/" + "i" * (4095 - len(folder) - 5) + ".img"
        self.assertEqual(len(path), 4095)
        images.raw(path, 1 << 20)
        self.root.close_handle(self.root.open(path, READ))
        self.assertUnharmed()


class Descriptors(BadInput):
    def refused(self, name, fd, mask=READ):
        try:
            self.assertBusError(name, self.root.open_fd, fd, mask, device_id=RAW)
        finally:
            os.close(fd)

    def test_what_is_no_image(self):
        pipe, other = os.pipe()
        os.close(other)
        unnamed = os.open(self.dir, os.O_TMPFILE | os.O_RDWR)
        os.truncate(unnamed, 1 << 20)
        gone = self.path("gone.img")
        deleted = os.open(self.file("gone.img"), os.O_RDONLY)
        os.unlink(gone)
        memory = os.memfd_create("a.img")
        os.truncate(memory, 1 << 20)
        for what, fd in (("memfd", memory), ("pipe", pipe), ("folder", os.open(self.dir, os.O_RDONLY)),
                         ("socket", socket.socket(socket.AF_UNIX).detach()),
                         ("device", os.open("/dev/zero", os.O_RDONLY)), ("proc", os.open("/proc/version", os.O_RDONLY)),
                         ("eventfd", os.eventfd(0)), ("unnamed", unnamed), ("deleted", deleted)):
            with self.subTest(what):
                self.refused("NotARegularFile", fd)
        self.assertUnharmed()

    def test_modes(self):
        path = self.file("a.img")
        for flags in (os.O_PATH, os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_RDONLY | os.O_APPEND,
                      os.O_RDWR | os.O_DIRECT):
            with self.subTest(oct(flags)):
                self.refused("InvalidParameter", os.open(path, flags))
        self.refused("AccessDenied", os.open(path, os.O_RDONLY), ATTACH_RW)
        self.assertUnharmed()

    def test_numbers_of_no_descriptor(self):
        fd = self.fd("a.img")
        for sent, number in (([fd], 1), ([fd], 1000), ([fd], -1), ([fd], -2147483648), ([fd], 2147483647), ([], 0),
                             ([], -1)):
            with self.subTest(number, sent=len(sent)):
                self.assertBusError("InvalidParameter", self.root.call, ROOT, MANAGER, "OpenVirtualDiskFd",
                                    "(huua{sv})", number, READ, 0, {}, fds=sent)
        self.assertUnharmed()

    def test_more_descriptors_than_asked_for(self):
        """Those that nobody asked for are closed."""
        fd = self.fd("a.img")
        handle = self.root.call(ROOT, MANAGER, "OpenVirtualDiskFd", "(huua{sv})", 3, READ, 0, {}, fds=[fd] * 10)[0]
        self.root.close_handle(handle)
        self.root.call(ROOT, MANAGER, "GetAllAttachedVirtualDiskPhysicalPaths", "(a{sv})", {}, fds=[fd] * 10)
        self.assertUnharmed()

    def test_name_that_is_not_utf8(self):
        """It cannot be sent as a string; by descriptor it works."""
        path = os.path.join(os.fsencode(self.path()), b"\xff\xfe\n.img")
        images.raw(path, 1 << 20)
        fd = os.open(path, os.O_RDWR)
        try:
            handle = self.root.open_fd(fd, ALL)
        finally:
            os.close(fd)
        self.root.attach(handle)
        disk = self.root.disk_for_path(self.root.physical_path(handle))
        properties = self.root.properties(disk)
        self.assertTrue(properties["Path"].endswith("/\\xff\\xfe\\x0a.img"), properties["Path"])
        self.assertEqual(bytes(properties["PathBytes"]), path + b"\0")
        self.root.detach(handle)
        self.root.close_handle(handle)
        self.assertUnharmed()


class Malformed(BadInput):
    """Messages that no library sends."""

    def talk(self):
        """A connection to the bus by hand, after Hello."""
        line = socket.socket(socket.AF_UNIX)
        self.addCleanup(line.close)
        line.settimeout(PROMPT)
        line.connect(BUS_ADDRESS.removeprefix("unix:path="))
        line.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        self.assertTrue(line.recv(4096).startswith(b"OK"))
        line.sendall(b"BEGIN\r\n")
        line.sendall(self.message("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"))
        self.assertTrue(line.recv(4096))
        return line

    @staticmethod
    def message(destination, path, interface, member, signature="", body=b"", serial=1):
        def text(value):
            return struct.pack("<I", len(value)) + value + b"\0"

        def field(code, kind, value):
            return struct.pack("<B", code) + bytes([len(kind)]) + kind + b"\0" + value

        fields = b""
        for code, kind, value in ((1, b"o", path), (2, b"s", interface), (3, b"s", member), (6, b"s", destination)):
            fields += bytes(-len(fields) % 8) + field(code, kind, text(value.encode()))
        if signature:
            fields += bytes(-len(fields) % 8) + field(8, b"g", bytes([len(signature)]) + signature.encode() + b"\0")
        head = struct.pack("<cBBBIII", b"l", 1, 0, 1, len(body), serial, len(fields)) + fields
        return head + bytes(-len(head) % 8) + body

    def open_body(self, path):
        """(suua{sv}) without options"""
        body = struct.pack("<I", len(path)) + path + b"\0"
        body += bytes(-len(body) % 4) + struct.pack("<III", READ, 0, 0)
        return body + bytes(-len(body) % 8)

    def send(self, signature, body):
        line = self.talk()
        line.sendall(self.message(testbed.NAME, ROOT, MANAGER, "OpenVirtualDisk", signature, body, 2))
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := line.recv(4096):
                received += chunk
                if b"org.virtdisk1.Error" in received or b"/handle/" in received or b"DBus.Error" in received:
                    break
        return received

    def test_well_formed(self):
        """The builder itself: what it makes is understood."""
        self.assertIn(b"/org/virtdisk1/handle/", self.send("suua{sv}", self.open_body(self.file("a.img").encode())))

    def test_path_that_is_not_utf8(self):
        self.assertNotIn(b"/handle/", self.send("suua{sv}", self.open_body(b"/tmp/\xff\xfe.img")))
        self.assertUnharmed()

    def test_path_with_a_nul(self):
        self.assertNotIn(b"/handle/", self.send("suua{sv}", self.open_body(b"/tmp/a\0.img")))
        self.assertUnharmed()

    def test_other_arguments(self):
        for signature, arguments in (("", ()), ("(s)", ("x",)), ("(uuua{sv})", (1, 2, 3, {})),
                                     ("(suua{sv}s)", ("x", 1, 2, {}, "more"))):
            with self.subTest(signature):
                self.assertBusError("org.freedesktop.DBus.Error.InvalidArgs", self.root.call, ROOT, MANAGER,
                                    "OpenVirtualDisk", signature or None, *arguments)
        self.assertUnharmed()

    def test_option_given_twice(self):
        entry = struct.pack("<I", 7) + b"version\0" + b"\1u\0" + bytes(1) + struct.pack("<I", 1)
        array = entry + bytes(-len(entry) % 8) + entry
        path = self.file("a.img").encode()
        body = struct.pack("<I", len(path)) + path + b"\0"
        body += bytes(-len(body) % 4) + struct.pack("<II", READ, 0) + struct.pack("<I", len(array))
        body += bytes(-len(body) % 8) + array
        self.assertIn(b"given twice", self.send("suua{sv}", body))
        self.assertUnharmed()


class Races(BadInput):
    """Between the look and the use."""

    def swap(self, target, first, second):
        """Names the file target now this, now that, until the end of the test."""
        os.chown(os.path.dirname(target), *testbed.USERS["vd-first"][:2])
        os.link(first, target, follow_symlinks=False)
        self._swapper = self.bed.background([sys.executable, "-c", SWAPPER, target, first, second])

    def assertOnlyOwnOpens(self, target, own_size):
        """Opens target many times as the user: it is always the user's own image or an error."""
        outcomes = {"opened": 0, "refused": 0}
        allowed = {f"{testbed.NAME}.Error.{name}" for name in ("AccessDenied", "FileNotFound", "FileChanged",
                                                               "NotARegularFile")}
        end = time.monotonic() + 60
        while min(outcomes.values()) < 20:
            self.assertLess(time.monotonic(), end, f"the race has one side only: {outcomes}")
            try:
                handle = self.user.open(target, GET_INFO)
            except BusError as error:
                self.assertIn(error.name, allowed, error.message)
                outcomes["refused"] += 1
                continue
            self.assertEqual(self.user.info(handle, 1)["VirtualSize"], own_size)
            self.user.close_handle(handle)
            outcomes["opened"] += 1
        self.assertIsNone(self._swapper.poll(), "nothing was swapped")

    def test_symbolic_links(self):
        own, secret = self.own("own.img"), self.file("hidden.img", mode=0o600)
        os.truncate(secret, 2 << 20)
        os.mkdir(self.path("links"))
        self.swap(self.path("links/a.img"), self.link("links/one", own), self.link("links/two", secret))
        self.assertOnlyOwnOpens(self.path("links/a.img"), 4 << 20)
        self.assertServes()

    def test_hard_links(self):
        os.mkdir(self.path("links"))
        own, secret = self.own("links/own.img"), self.file("links/secret.img", mode=0o600)
        os.truncate(secret, 2 << 20)
        self.swap(self.path("links/a.img"), own, secret)
        self.assertOnlyOwnOpens(self.path("links/a.img"), 4 << 20)
        self.assertServes()

    def test_file_and_fifo(self):
        """A FIFO in place of the file that was looked at does not hold the opener up."""
        os.mkdir(self.path("links"))
        own, pipe = self.own("links/own.img"), self.path("links/pipe")
        os.mkfifo(pipe, 0o666)
        os.chown(pipe, *testbed.USERS["vd-first"][:2])
        self.swap(self.path("links/a.img"), own, pipe)
        self.assertOnlyOwnOpens(self.path("links/a.img"), 4 << 20)
        self.assertServes()

    def test_two_clients_want_one_image(self):
        one, two = self.connect(), self.connect()
        for _ in range(10):
            self.next_call()
            path, results, errors = self.file("a.vhd"), [], []
            for call in [client.begin(ROOT, MANAGER, "AttachImage", "(sa{sv})", path, {}) for client in (one, two)]:
                try:
                    results.append(call.result())
                except BusError as error:
                    errors.append(error.name)
            self.assertEqual((len(results), errors), (1, [f"{testbed.NAME}.Error.SharingViolation"]))
            self.root.detach_image(results[0][1])
        self.assertUnharmed()

    def test_two_clients_detach_one_image(self):
        one, two = self.connect(), self.connect()
        allowed = {f"{testbed.NAME}.Error.{name}" for name in ("NotFound", "VhdInvalidState", "Busy")}
        for _ in range(5):
            self.next_call()
            device, detached = self.root.attach_image(self.file("a.vhd"))[1], 0
            for call in [client.begin(ROOT, MANAGER, "DetachImage", "(sa{sv})", device, {}) for client in (one, two)]:
                try:
                    call.result()
                    detached += 1
                except BusError as error:
                    self.assertIn(error.name, allowed, error.message)
            self.assertGreaterEqual(detached, 1)
        self.assertUnharmed()


class Hosts(BadInput):
    def test_file_that_shrinks_while_attached(self):
        path = images.write_file(self.path("shrinks.img"), 8 << 20, b"data")
        device = self.root.attach_image(path)[1]
        self.assertEqual(self.device_io(device, os.O_RDONLY, 4 << 20), 4096)
        os.truncate(path, 4096)
        with self.assertRaises(OSError) as caught:
            self.device_io(device, os.O_RDONLY, 4 << 20)
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertServes()
        self.root.detach_image(device)
        self.assertUnharmed()

    def test_file_that_shrinks_before_it_is_attached(self):
        handle = self.root.open(self.file("a.vhd"), ALL)
        os.truncate(self.file("a.vhd"), 512)
        self.assertBusError("FileChanged", self.root.attach, handle)
        self.root.close_handle(handle)
        self.assertUnharmed()

    def test_full_file_system(self):
        point = self.file_system("ext4", 16 << 20)
        self._world = self.bed.snapshot()
        device = self.root.attach_image(images.raw(f"{point}/a.img", 64 << 20))[1]
        with self.assertRaises(OSError) as caught:
            for offset in range(0, 64 << 20, 1 << 20):
                self.device_io(device, os.O_RDWR, offset, b"x", 1 << 20)
        self.assertIn(caught.exception.errno, (errno.ENOSPC, errno.EIO))
        self.assertServes()
        self.root.detach_image(device)
        self.assertUnharmed()


class Departures(BadInput):
    """A caller leaves the bus while its call is under way, after a number of turns of the service."""
    TURNS = (0, 1, 2, 4, 8, 16, 32, 64)

    def leave(self, turns, prepare, method, signature, *arguments):
        client = self.connect()
        path, interface = prepare(client)
        client.begin(path, interface, method, signature, *arguments)
        client.connection.flush_sync(None)
        for _ in range(turns):
            self.root.all_paths()
        client.close()

    def test_opening(self):
        for turns in self.TURNS:
            with self.subTest(turns):
                self.leave(turns, lambda _: (ROOT, MANAGER), "OpenVirtualDisk", "(suua{sv})", self.file("a.vhd"), ALL, 0,
                           {})
                self.assertUnharmed()

    def test_attaching_for_the_life_of_a_handle(self):
        for turns in self.TURNS:
            with self.subTest(turns):
                self.leave(turns, lambda client: (client.open(self.file("a.vhd"), ALL), HANDLE), "AttachVirtualDisk",
                           "(ua{sv})", 0, {})
                self.bed.wait(lambda: not self.root.all_paths(), "the device to go")
                self.assertUnharmed()

    def test_attaching_permanently(self):
        """Attached or not, but the one or the other."""
        for turns in self.TURNS:
            with self.subTest(turns):
                self.leave(turns, lambda _: (ROOT, MANAGER), "AttachImage", "(sa{sv})", self.file("a.vhd"), {})
                end = time.monotonic() + LEAVE
                while self.settled():
                    self.assertLess(time.monotonic(), end, f"neither attached nor gone: {self.settled()}")
                    for device in self.root.all_paths():
                        with contextlib.suppress(BusError):
                            self.root.detach_image(device)
                self.assertUnharmed()

    def test_detaching(self):
        for turns in self.TURNS:
            with self.subTest(turns):
                device = self.root.attach_image(self.file("a.vhd"))[1]
                self.leave(turns, lambda _, device=device: (ROOT, MANAGER), "DetachImage", "(sa{sv})", device, {})
                with contextlib.suppress(BusError):
                    self.root.detach_image(device)
                self.assertUnharmed()

    def test_program_that_is_killed(self):
        for turns in self.TURNS:
            program = self.bed.background(["gdbus", "call", "--system", "--dest", testbed.NAME, "--object-path", ROOT,
                                           "--method", MANAGER + ".OpenVirtualDisk", self.file("a.vhd"), str(ALL), "0",
                                           "{}"])
            for _ in range(turns):
                self.root.all_paths()
            program.kill()
            program.wait()
        self.assertUnharmed()

    def test_while_a_person_thinks(self):
        person = self.bed.person()
        person.answer = "think"
        client = self.connect("vd-first")
        client.begin(ROOT, MANAGER, "AttachImage", "(sa{sv})", self.own("a.img"), {}, interactive=True)
        client.connection.flush_sync(None)
        self.bed.wait(person.being_asked.is_set, "the question")
        self.assertServes()
        client.close()
        self.assertTrue(person.was_cancelled.wait(PROMPT), "the dialog stays although nobody waits for it")
        self.assertUnharmed()


class Crowds(BadInput):
    def test_a_thousand_opens_at_once(self):
        path = self.file("a.vhd")
        clients = [self.connect("vd-first") for _ in range(20)]  # the bus itself bounds the calls of one connection
        calls = [client.begin(ROOT, MANAGER, "OpenVirtualDisk", "(suua{sv})", path, GET_INFO, 0, {},
                              deadline=testbed.tap.TEST_DEADLINE) for _ in range(50) for client in clients]
        self.assertServes()
        opened = 0
        for call in calls:
            try:
                call.result(testbed.tap.TEST_DEADLINE)
                opened += 1
            except BusError as error:
                self.assertEqual(error.name, f"{testbed.NAME}.Error.LimitExceeded", error.message)
        self.assertTrue(0 < opened <= 256, opened)
        self.assertLess(opened, len(calls))
        for client in clients:
            client.close()
        self.assertUnharmed()

    def test_more_handles_than_one_user_may_hold(self):
        fd, handles = self.fd("a.img"), []
        with self.assertRaises(BusError) as caught:
            for _ in range(1000):
                handles.append(self.user.open_fd(fd, GET_INFO))
        self.assertEqual(caught.exception.name, f"{testbed.NAME}.Error.LimitExceeded", caught.exception.message)
        self.assertEqual(len(handles), int(re.search(r"has (\d+) open handles", caught.exception.message)[1]))
        self.assertServes()
        self.user.close_handle(handles.pop())
        handles.append(self.user.open_fd(fd, GET_INFO))
        self.user.close()
        self.assertUnharmed()


class Prompts(BadInput):
    def attach(self):
        return self.user.begin(ROOT, MANAGER, "AttachImage", "(sa{sv})", self.own("a.img"), {}, interactive=True)

    def test_dismissed(self):
        person = self.bed.person()
        person.answer = "dismiss"
        self.assertBusError("AuthorizationDismissed", self.attach().result)
        self.assertEqual(len(person.asked), 1)
        self.assertUnharmed()

    def test_polkitd_is_killed_while_a_person_thinks(self):
        person = self.bed.person()
        person.answer = "think"
        call = self.attach()
        self.bed.wait(person.being_asked.is_set, "the question")
        self.bed.stop_polkit()
        self.assertBusError("PrivilegeNotHeld", call.result)
        self.assertServes()
        self.assertBusError("PrivilegeNotHeld", self.attach().result)
        self.bed.start_polkit()
        self._world = self._before = self.bed.snapshot()
        self.bed.polkit(manage_volume="yes")
        self.root.detach_image(self.attach().result()[1])
        self.assertUnharmed()

    def test_file_that_changes_while_a_person_thinks(self):
        person = self.bed.person()
        path = self.own("a.img")
        person.meanwhile = lambda: os.truncate(path, 8 << 20)
        self.assertBusError("FileChanged", self.attach().result)
        self.assertUnharmed()

    def test_image_attached_by_another_while_a_person_thinks(self):
        person = self.bed.person()
        path = self.own("a.img")
        person.meanwhile = lambda: self.bed.run(["gdbus", "call", "--system", "--dest", testbed.NAME, "--object-path",
                                                 ROOT, "--method", MANAGER + ".AttachImage", path, "{}"])
        self.assertBusError("SharingViolation", self.attach().result)
        self.root.detach_image(path)
        self.assertUnharmed()


if __name__ == "__main__":
    sys.exit(testbed.main())
