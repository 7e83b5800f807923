# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests of attached disks share: attaching through a handle, callers in a process of their own, being gone."""
import os
import subprocess
import sys

import testbed
from testbed import images, loops

ATTACH_RO, ATTACH_RW, DETACH, GET_INFO = 0x10000, 0x20000, 0x40000, 0x80000
ALL = ATTACH_RW | DETACH | GET_INFO

# The time after the last unmount that still counts as use, in seconds: manager-lifetime.c.
GRACE = 2.0

# A caller of its own: attaches through a handle, says so, and stays until it reads a line.
CALLER = """
import sys
import gi
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
bus = Gio.DBusConnection.new_for_address_sync("unix:path=/run/dbus/system_bus_socket",
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
def call(path, interface, method, arguments):
    return bus.call_sync("org.virtdisk1", path, "org.virtdisk1." + interface, method, arguments, None, 0, 30000, None)
handle = call("/org/virtdisk1", "Manager", "OpenVirtualDisk",
              GLib.Variant("(suua{sv})", (sys.argv[1], int(sys.argv[2]), 0, {}))).unpack()[0]
if sys.argv[3:]:
    call(handle, "Handle", "AttachVirtualDisk", GLib.Variant("(ua{sv})", (0, {"lifetime": GLib.Variant("s", sys.argv[3])})))
print("ready", bus.get_unique_name(), flush=True)
sys.stdin.readline()
"""

# Holds what it is given: a file or node open, or a folder as its current directory.
HOLDER = """
import os, sys
if os.path.isdir(sys.argv[1]):
    os.chdir(sys.argv[1])
else:
    file = open(sys.argv[1], "rb")
print("holding", flush=True)
sys.stdin.readline()
"""


class TestCase(testbed.TestCase):
    def image(self, name="disk.img", fs="ext4", size=16 << 20, owner=None):
        path = images.raw(self.path(name), size, fs)
        if owner is not None:
            os.chown(path, testbed.USERS[owner][0], testbed.USERS[owner][1])
            os.chmod(path, 0o600)
        return path

    def attach_handle(self, image, client=None, access=ALL, **options):
        """-> (handle, device)"""
        client = client or self.root
        handle = client.open(image, access)
        client.attach(handle, **options)
        return handle, client.physical_path(handle)

    def caller(self, image, access=ALL, lifetime="handle", user="root"):
        """A process that has attached image (lifetime "": only opened it)."""
        terminal = self.bed.terminal([sys.executable, "-c", CALLER, image, str(access), *([lifetime] if lifetime else [])],
                                     user=user)
        terminal.expect("ready")
        return terminal

    def holder(self, path):
        terminal = self.bed.terminal([sys.executable, "-c", HOLDER, path])
        terminal.expect("holding")
        return terminal

    def mount_noticed(self, image, device, name="mnt"):
        """Mounts, and waits until the service knows: a mount that comes and goes between two of its looks is none."""
        point = self.bed.mount(device, name)
        self.bed.wait(lambda: any(image in text and "WasMounted=true" in text
                                  for text in testbed.texts(f"{testbed.RUNDIR}/disks")),
                      f"the mount of {os.path.basename(image)} to be recorded")
        return point

    def state(self, image):
        """State of the disk of this image on the bus; None: not attached."""
        for interfaces in self.root.objects().values():
            disk = interfaces.get(testbed.DISK)
            if disk and disk["Path"] == image:
                return disk["State"]
        return None

    def wait_gone(self, image, what="the disk to go", deadline=testbed.EVENT_DEADLINE):
        """From the bus and from the kernel."""
        self.bed.wait(lambda: self.state(image) is None and not [row for row in loops(self.dir) if row[1] == image],
                      f"{what} ({os.path.basename(image)})", deadline)

    def assertAttached(self, image):
        self.assertIn(self.state(image), ("attached", "attached-not-open"))
        self.assertEqual(len([row for row in loops(self.dir) if row[1] == image]), 1)

    def assertGone(self, image):
        self.assertIsNone(self.state(image))
        self.assertEqual([row for row in loops(self.dir) if row[1] == image], [])

    def assertFree(self, image):
        """Nobody holds a lock on it: QEMU may write to it, and it can be attached again."""
        subprocess.run(["qemu-io", "-f", "raw", "-c", "read 0 512", image], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)
        self.root.attach_image(image)
        self.root.detach_image(image)
        self.assertGone(image)
