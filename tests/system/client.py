# SPDX-License-Identifier: LGPL-2.1-or-later
"""Callers of the service: connections as some user, and programs on a terminal."""
import fcntl
import os
import pty
import select
import subprocess
import termios
import time

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

from machine import CALL_DEADLINE, EVENT_DEADLINE, Expired  # noqa: E402

NAME = "org.virtdisk1"
ROOT = "/org/virtdisk1"
MANAGER, DISK, HANDLE, JOB = (f"{NAME}.{interface}" for interface in ("Manager", "Disk", "Handle", "Job"))
PROPERTIES = "org.freedesktop.DBus.Properties"
BUS_ADDRESS = "unix:path=/run/dbus/system_bus_socket"

# Types of options, as org.virtdisk1.xml has them; a GLib.Variant as value overrides.
OPTION_TYPES = {"device-id": "u", "vendor-id": "s", "version": "u", "rw-depth": "u", "get-info-only": "b",
                "read-only": "b", "resiliency-guid": "s", "snapshot-id": "s", "path": "s", "flags": "u",
                "open-flags": "u", "lifetime": "s", "detach-on-unmount": "b", "sector-size": "u",
                "partition-scan": "b", "owner-uid": "u", "owner-gid": "u", "mode": "u", "restricted-offset": "t",
                "restricted-length": "t", "route": "s", "zero-copy": "b", "ignore-parent-timestamp": "b",
                "unique-id": "s", "block-size": "u", "physical-sector-size": "u", "parent-path": "s",
                "parent-device-id": "u", "parent-vendor-id": "s", "force": "b", "when-idle": "b", "repair": "b",
                "provider-specific-flags": "u", "job": "s", "async": "b", "detach-job": "b", "reserved": "u",
                "file-systems": "b", "merge-depth": "u", "merge-source-depth": "u", "merge-target-depth": "u",
                "source-path": "s", "source-device-id": "u", "source-vendor-id": "s", "verify": "b",
                "range-count": "u"}

class BusError(Exception):
    """An error reply: name is the D-Bus error name, message the text."""

    def __init__(self, name, message):
        super().__init__(f"{name}: {message}")
        self.name, self.message = name, message


def as_bus_error(error):
    name = Gio.DBusError.get_remote_error(error)
    if not name:
        return error
    return BusError(name, error.message.removeprefix(f"GDBus.Error:{name}: "))


def options(**values):
    """options(read_only=True, async_=True) -> a{sv} with "read-only" and "async"; types by OPTION_TYPES."""
    result = {}
    for key, value in values.items():
        key = key.rstrip("_").replace("_", "-")
        result[key] = value if isinstance(value, GLib.Variant) else GLib.Variant(OPTION_TYPES[key], value)
    return result


class Pending:
    """A call under way."""

    def __init__(self, bed):
        self._bed, self.done, self._value, self._error = bed, False, None, None

    def _finish(self, connection, result):
        try:
            value, fds = connection.call_with_unix_fd_list_finish(result)
            self._value = value.unpack()
        except GLib.Error as error:
            self._error = as_bus_error(error)
        self.done = True

    def result(self, deadline=CALL_DEADLINE):
        self._bed.wait(lambda: self.done, "the answer to a call", deadline)
        if self._error:
            raise self._error
        return self._value


class Client:
    """A connection to the bus as some user; leaving it (close, or the end of the test) ends its handles."""

    def __init__(self, bed, user):
        self.bed, self.user = bed, user
        with bed.rights_of(user):
            self.connection = Gio.DBusConnection.new_for_address_sync(
                BUS_ADDRESS,
                Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
                None, None)
        self.connection.set_exit_on_close(False)

    @property
    def name(self):
        return self.connection.get_unique_name()

    def begin(self, path, interface, method, signature, *arguments, interactive=False, fds=(), deadline=CALL_DEADLINE):
        """Starts a call; .result() waits. fds: descriptors, to which "h" arguments are indices."""
        pending = Pending(self.bed)
        flags = Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION if interactive else Gio.DBusCallFlags.NONE
        fd_list = Gio.UnixFDList.new()
        for fd in fds:
            fd_list.append(fd)
        self.connection.call_with_unix_fd_list(
            NAME, path, interface, method, GLib.Variant(signature, arguments) if signature else None, None, flags,
            int(deadline * 1000), fd_list if fds else None, None, lambda source, result: pending._finish(source, result))
        return pending

    def call(self, path, interface, method, signature=None, *arguments, **how):
        """Calls and returns the tuple of results; raises BusError."""
        return self.begin(path, interface, method, signature, *arguments, **how).result(
            how.get("deadline", CALL_DEADLINE) + 5)

    def attach_image(self, path, interactive=False, **opts):
        """-> (disk, device, results)"""
        return self.call(ROOT, MANAGER, "AttachImage", "(sa{sv})", path, options(**opts), interactive=interactive)

    def detach_image(self, path, interactive=False, **opts):
        """-> results"""
        return self.call(ROOT, MANAGER, "DetachImage", "(sa{sv})", path, options(**opts), interactive=interactive)[0]

    def open(self, path, access_mask, flags=0, **opts):
        """-> object path of the handle"""
        return self.call(ROOT, MANAGER, "OpenVirtualDisk", "(suua{sv})", path, access_mask, flags, options(**opts))[0]

    def open_fd(self, fd, access_mask, flags=0, **opts):
        return self.call(ROOT, MANAGER, "OpenVirtualDiskFd", "(huua{sv})", 0, access_mask, flags, options(**opts),
                         fds=[fd])[0]

    def create(self, path, size, flags=0, access_mask=0, **opts):
        """With version 2 unless said otherwise -> object path of the handle"""
        opts.setdefault("version", 2)
        return self.call(ROOT, MANAGER, "CreateVirtualDisk", "(suuta{sv})", path, access_mask, flags, size,
                         options(**opts))[0]

    def add_parent(self, handle, path):
        self.call(handle, HANDLE, "AddVirtualDiskParent", "(sa{sv})", path, {})

    def add_parent_fd(self, handle, fd):
        self.call(handle, HANDLE, "AddVirtualDiskParentFd", "(ha{sv})", 0, {}, fds=[fd])

    def attach(self, handle, flags=0, interactive=False, **opts):
        return self.call(handle, HANDLE, "AttachVirtualDisk", "(ua{sv})", flags, options(**opts),
                         interactive=interactive)[0]

    def detach(self, handle, flags=0, **opts):
        return self.call(handle, HANDLE, "DetachVirtualDisk", "(ua{sv})", flags, options(**opts))[0]

    def physical_path(self, handle):
        return self.call(handle, HANDLE, "GetVirtualDiskPhysicalPath", "(a{sv})", {})[0]

    def info(self, handle, version, **opts):
        return self.call(handle, HANDLE, "GetVirtualDiskInformation", "(ua{sv})", version, options(**opts))[0]

    def operate(self, handle, method, signature, *arguments, deadline=CALL_DEADLINE, **opts):
        """A method of a handle whose last argument is options -> what it returns, or None"""
        result = self.call(handle, HANDLE, method, f"({signature}a{{sv}})", *arguments, options(**opts), deadline=deadline)
        return result[0] if len(result) == 1 else result or None

    def compact(self, handle, flags=0, **opts):
        """-> object path of the job, which has ended unless async_"""
        return self.operate(handle, "CompactVirtualDisk", "u", flags, **opts)

    def expand(self, handle, size, flags=0, **opts):
        return self.operate(handle, "ExpandVirtualDisk", "ut", flags, size, **opts)

    def resize(self, handle, size, flags=0, **opts):
        return self.operate(handle, "ResizeVirtualDisk", "ut", flags, size, **opts)

    def merge(self, handle, flags=0, **opts):
        return self.operate(handle, "MergeVirtualDisk", "u", flags, **opts)

    def mirror(self, handle, path, flags=0, **opts):
        return self.operate(handle, "MirrorVirtualDisk", "usu", 1, path, flags, **opts)

    def break_mirror(self, handle, **how):
        self.operate(handle, "BreakMirrorVirtualDisk", "u", 0, **how)

    def set_info(self, handle, version, **info):
        """set_info(handle, 2, UniqueIdentifier="..."): strings, numbers and truth"""
        types = {str: "s", bool: "b", int: "u"}
        values = {key: GLib.Variant(types[type(value)], value) for key, value in info.items()}
        self.operate(handle, "SetVirtualDiskInformation", "ua{sv}", version, values)

    def progress(self, handle):
        """-> (operation_status, current_value, completion_value)"""
        return self.operate(handle, "GetVirtualDiskOperationProgress", "")

    def wait_job(self, job, deadline=CALL_DEADLINE):
        """-> results"""
        return self.call(job, JOB, "Wait", "(a{sv})", {}, deadline=deadline)[0]

    def cancel_job(self, job, interactive=False):
        self.call(job, JOB, "Cancel", "(a{sv})", {}, interactive=interactive)

    def close_handle(self, handle):
        self.call(handle, HANDLE, "Close", "(a{sv})", {})

    def all_paths(self):
        return self.call(ROOT, MANAGER, "GetAllAttachedVirtualDiskPhysicalPaths", "(a{sv})", {})[0]

    def disk_for_path(self, path):
        return self.call(ROOT, MANAGER, "GetDiskForPath", "(sa{sv})", path, {})[0]

    def properties(self, path, interface=DISK):
        return self.call(path, PROPERTIES, "GetAll", "(s)", interface)[0]

    def objects(self):
        """{path: {interface: properties}}"""
        return self.call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]

    def close(self):
        if not self.connection.is_closed():
            self.connection.close_sync(None)


class Terminal:
    """A program on a terminal of its own: expect() what it prints, send() what a person would type."""

    def __init__(self, bed, argv, user, **how):
        self.output = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(bed.as_user(argv, user), stdin=slave, stdout=slave, stderr=slave,
                                        preexec_fn=self._own_terminal, cwd="/", env=bed.environment(), **how)
        os.close(slave)

    @staticmethod
    def _own_terminal():
        os.setsid()
        fcntl.ioctl(0, 0x540E, 0)  # TIOCSCTTY

    def _read(self, end):
        readable, _, _ = select.select([self._master], [], [], max(0, end - time.monotonic()))
        if not readable:
            return False
        try:
            data = os.read(self._master, 4096)
        except OSError:  # EIO: the last one closed the other side
            data = b""
        self.output += data.decode(errors="replace")
        return bool(data)

    def expect(self, text, deadline=EVENT_DEADLINE):
        end = time.monotonic() + deadline
        while text not in self.output:
            if not self._read(end):
                raise Expired(f"{text!r} did not appear; seen: {self.output!r}")

    def expect_silence(self, deadline=EVENT_DEADLINE):
        """Until what is typed is not shown: whoever asks for a password drops what came before. No event tells of it."""
        end = time.monotonic() + deadline
        while termios.tcgetattr(self._master)[3] & termios.ECHO:
            if time.monotonic() > end:
                raise Expired(f"what is typed is still shown; seen: {self.output!r}")
            select.select([], [], [], 0.01)

    def send(self, line):
        os.write(self._master, line.encode() + b"\n")

    def finish(self, deadline=EVENT_DEADLINE):
        """Reads to the end -> exit code."""
        end = time.monotonic() + deadline
        while self._read(end):
            pass
        code = self.process.wait(max(0.1, end - time.monotonic()))
        os.close(self._master)
        return code
