# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A desktop for tests: a session bus of a user with the service of the desktop on it, as it is installed, and those whom it
meets there and on the system bus: a file manager, a place for notifications, and UDisks2 (which mounts, for the service
looks at what is really mounted).
"""
import glob
import os
import select
import shutil
import stat
import subprocess
import unittest

import actors
import attaching
import testbed
from client import BUS_ADDRESS
from gi.repository import GLib, Gio
from machine import START_DEADLINE, Expired, end_process, mounts, program

USER = "vd-first"
DESKTOP = "org.virtdisk1.Desktop"
OBJECTS = "/org/freedesktop/UDisks2/block_devices/"

SESSION_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><auth>EXTERNAL</auth><listen>{address}</listen><servicedir>{services}</servicedir>
<policy context="default"><allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy>
</busconfig>
"""

FILE_MANAGER_XML = """<node><interface name="org.freedesktop.FileManager1">
<method name="ShowFolders"><arg type="as" direction="in"/><arg type="s" direction="in"/></method></interface></node>"""

NOTIFICATIONS_XML = """<node><interface name="org.freedesktop.Notifications">
<method name="GetCapabilities"><arg type="as" direction="out"/></method>
<method name="Notify"><arg type="s" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
<arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="as" direction="in"/><arg type="a{sv}" direction="in"/>
<arg type="i" direction="in"/><arg type="u" direction="out"/></method>
<method name="CloseNotification"><arg type="u" direction="in"/></method>
<signal name="ActionInvoked"><arg type="u"/><arg type="s"/></signal>
<signal name="NotificationClosed"><arg type="u"/><arg type="u"/></signal></interface></node>"""

UDISKS_XML = """<node><interface name="org.freedesktop.UDisks2.Manager">
<method name="ResolveDevice"><arg type="a{sv}" direction="in"/><arg type="a{sv}" direction="in"/>
<arg type="ao" direction="out"/></method></interface>
<interface name="org.freedesktop.UDisks2.Block"><property name="IdUUID" type="s" access="read"/></interface>
<interface name="org.freedesktop.UDisks2.Filesystem">
<method name="Mount"><arg type="a{sv}" direction="in"/><arg type="s" direction="out"/></method>
<method name="Unmount"><arg type="a{sv}" direction="in"/></method>
<property name="MountPoints" type="aay" access="read"/></interface></node>"""


class OnBus(actors.Actor):
    """An actor that owns a name."""
    NAME = ""

    def own(self):
        self.connection.set_exit_on_close(False)
        self.connection.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
                                  GLib.Variant("(su)", (self.NAME, 4)), None, 0, 10000, None)

    def stop(self):
        # The bus may have ended before.
        if not self.connection.is_closed():
            super().stop()


class FileManager(OnBus):
    NAME = "org.freedesktop.FileManager1"

    def enter(self):
        self.shown = []
        node = Gio.DBusNodeInfo.new_for_xml(FILE_MANAGER_XML)
        self.connection.register_object("/org/freedesktop/FileManager1", node.interfaces[0], self._on_call, None, None)
        self.own()

    def _on_call(self, _connection, _sender, _path, _interface, _method, arguments, invocation):
        self.shown.append(arguments.unpack()[0])
        invocation.return_value(None)


class Notifications(OnBus):
    """What is on screen: {id: {"summary", "body", "actions"}}; said has all of it in order."""
    NAME = "org.freedesktop.Notifications"
    PATH = "/org/freedesktop/Notifications"

    def enter(self):
        self.screen, self.said, self._next = {}, [], 1
        node = Gio.DBusNodeInfo.new_for_xml(NOTIFICATIONS_XML)
        self.connection.register_object(self.PATH, node.interfaces[0], self._on_call, None, None)
        self.own()

    def _on_call(self, _connection, _sender, _path, _interface, method, arguments, invocation):
        if method == "GetCapabilities":
            invocation.return_value(GLib.Variant("(as)", (["actions", "body", "body-markup"],)))
        elif method == "CloseNotification":
            self.screen.pop(arguments.unpack()[0], None)
            invocation.return_value(None)
        else:
            _name, number, _icon, summary, body, actions, _hints, _timeout = arguments.unpack()
            number = number or self._next
            self._next = max(self._next, number + 1)
            note = {"id": number, "summary": summary, "body": body, "actions": actions[::2]}
            self.screen[number] = note
            self.said.append(note)
            invocation.return_value(GLib.Variant("(u)", (number,)))

    def emit(self, signal, arguments):
        def send():
            self.connection.emit_signal(None, self.PATH, self.NAME, signal, arguments)
            self.connection.flush_sync(None)

        self.invoke(send)

    def press(self, number, key):
        self.emit("ActionInvoked", GLib.Variant("(us)", (number, key)))

    def close(self, number):
        self.screen.pop(number, None)
        self.emit("NotificationClosed", GLib.Variant("(uu)", (number, 2)))


class UDisks(OnBus):
    """
    Mounts below folder. refuse: D-Bus name of the error that Mount ends with, by the options it was asked with or None;
    stale: how often a device is said to be what it was before.
    """
    NAME = "org.freedesktop.UDisks2"

    def __init__(self, folder):
        super().__init__(BUS_ADDRESS)
        self.folder, self.refuse, self.stale, self.options = folder, lambda _options: None, 0, []

    def enter(self):
        self._node = Gio.DBusNodeInfo.new_for_xml(UDISKS_XML)
        self._known = set()
        self.connection.register_object("/org/freedesktop/UDisks2/Manager", self._node.interfaces[0], self._on_resolve, None,
                                        None)
        self.own()

    def _on_resolve(self, _connection, _sender, _path, _interface, _method, arguments, invocation):
        name = os.path.basename(arguments.unpack()[0]["path"])
        if name not in self._known:
            self._known.add(name)
            for interface in self._node.interfaces[1:]:
                self.connection.register_object(OBJECTS + name, interface, self._on_call, self._on_get, None)
        invocation.return_value(GLib.Variant("(ao)", ([OBJECTS + name],)))

    def _on_get(self, connection, _sender, path, _interface, name):
        if name == "MountPoints":
            return GLib.Variant("aay", [])
        if self.stale > 0:
            self.stale -= 1
            connection.emit_signal(None, path, "org.freedesktop.DBus.Properties", "PropertiesChanged",
                                   GLib.Variant("(sa{sv}as)", ("org.freedesktop.UDisks2.Block", {}, [])))
            return GLib.Variant("s", "of-another-disk")
        found = subprocess.run(["blkid", "-p", "-o", "value", "-s", "UUID", "/dev/" + os.path.basename(path)],
                               capture_output=True, text=True, check=False)
        return GLib.Variant("s", found.stdout.strip())

    def _on_call(self, _connection, _sender, path, _interface, method, arguments, invocation):
        device = "/dev/" + os.path.basename(path)
        if method == "Unmount":
            self._answer(invocation, ["umount", device], "DeviceBusy", None)
            return
        options = arguments.unpack()[0].get("options", "")
        self.options.append(options)
        refused = self.refuse(options)
        if refused:
            invocation.return_dbus_error(f"{self.NAME}.Error.{refused}", "UDisks says no.")
            return
        point = os.path.join(self.folder, os.path.basename(device))
        os.makedirs(point, exist_ok=True)
        self._answer(invocation, ["mount", *(["-o", options] if options else []), device, point], "Failed",
                     GLib.Variant("(s)", (point,)))

    def _answer(self, invocation, argv, error, value):
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            invocation.return_value(value)
        else:
            invocation.return_dbus_error(f"{self.NAME}.Error.{error}", result.stderr.strip())


class TestCase(attaching.TestCase):
    """self.open(...) is what a double click does, and waits for what comes of it."""
    udisks_runs = True

    def setUp(self):
        super().setUp()
        if not program(self.bed.build, "virtdisk-desktop"):
            self.skipTest("the service of the desktop is not in the build tree")
        if not os.path.exists("/usr/share/dbus-1/system.d/org.freedesktop.UDisks2.conf"):
            self.skipTest("udisks2, whose bus policy lets its name be owned, is not installed")
        self.bed.polkit(attach_read_only="yes", manage_volume="yes")
        self.folder = self.path("home")
        os.makedirs(self.folder)
        os.chown(self.folder, *testbed.USERS[USER][:2])
        self._copy_programs()
        self.start_session()
        self.files = self.actor(FileManager(self.address))
        self.notes = self.actor(Notifications(self.address))
        os.makedirs(self.path("media"))
        self.udisks = self.actor(UDisks(self.path("media"))) if self.udisks_runs else None

    def actor(self, actor):
        return self.bed._actor(actor)

    def _copy_programs(self):
        """Where every account may execute them, with the library beside them."""
        for name in ("virtdisk-desktop", "virtdisk-open"):
            shutil.copy(program(self.bed.build, name), self.path(name))
        for library in glob.glob(f"{self.bed.build}/client/lib/libvirtdisk.so.*"):
            if stat.S_ISREG(os.stat(library).st_mode) and not library.endswith(".p"):
                shutil.copy(library, self.dir)

    def start_session(self):
        """The bus ends with the test, and what it started with it."""
        os.makedirs(self.path("services"))
        with open(self.path("services", f"{DESKTOP}.service"), "w") as file:
            file.write(f"[D-BUS Service]\nName={DESKTOP}\nExec={self.path('virtdisk-desktop')}\n")
        self.address = f"unix:path={self.path('home', 'bus')}"
        with open(self.path("session.conf"), "w") as file:
            file.write(SESSION_CONFIG.format(address=self.address, services=self.path("services")))
        reader, writer = os.pipe()
        self.session = self.bed.background(
            ["dbus-daemon", f"--config-file={self.path('session.conf')}", "--nofork", "--nopidfile",
             f"--print-address={writer}"], user=USER, log="session.log", pass_fds=[writer],
            environment={"LD_LIBRARY_PATH": self.dir, "G_MESSAGES_DEBUG": "all"})
        os.close(writer)
        readable, _, _ = select.select([reader], [], [], START_DEADLINE)
        answer = os.read(reader, 4096) if readable else b""
        os.close(reader)
        if not answer:
            raise Expired("the session bus did not start")
        self.addCleanup(self.end_session)

    def end_session(self):
        """Everybody on it ends with the bus, as at the end of a session."""
        end_process(self.session)
        self.bed.wait(lambda: self.service_pid() is None, "the service of the desktop to end")

    def service_pid(self):
        for name in glob.glob("/proc/[0-9]*/exe"):
            try:
                if os.readlink(name) == self.path("virtdisk-desktop"):
                    return int(name.split("/")[2])
            except OSError:
                continue
        return None

    def open(self, *arguments, user=USER, deadline=60):
        """virtdisk-open, until it ends -> CompletedProcess. The actors are on threads of their own."""
        return subprocess.run(
            self.bed.as_user([self.path("virtdisk-open"), *arguments], user), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=deadline, cwd=self.folder, check=False,
            env=self.bed.environment(DBUS_SESSION_BUS_ADDRESS=self.address, LD_LIBRARY_PATH=self.dir))

    def note(self, text, deadline=testbed.EVENT_DEADLINE):
        """Waits for a notification whose summary or body has text -> it."""
        def find():
            for said in reversed(self.notes.said):
                if text in said["summary"] or text in said["body"]:
                    return said
            return None

        return self.poll(find, f"the notification {text!r}; said were {[n['summary'] for n in self.notes.said]}", deadline)

    def poll(self, predicate, what, deadline=testbed.EVENT_DEADLINE):
        """What happens on the session bus wakes nobody here: looks again ten times a second."""
        timer = GLib.timeout_add(100, lambda: True)
        try:
            return self.bed.wait(predicate, what, deadline)
        finally:
            GLib.source_remove(timer)

    def assertShown(self, *folders):
        """The file manager was asked last to show these."""
        self.poll(lambda: self.files.shown and self.files.shown[-1] == [f"file://{folder}" for folder in folders],
                  f"{folders} to be shown; shown were {self.files.shown}")

    def mounted(self):
        return [point for point in mounts() if point.startswith(self.path("media"))]
