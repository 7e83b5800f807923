#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtdisk through introspection, against the mock service on a private bus.

Usage: gi-test.py MOCK-PROGRAM, with GI_TYPELIB_PATH and LD_LIBRARY_PATH set. Exit status 77: introspection is absent.
"""
import os
import subprocess
import sys
import tempfile
import unittest

try:
    import gi

    gi.require_version("Virtdisk", "1.0")
    from gi.repository import Gio, GLib, Virtdisk
except (ImportError, ValueError) as reason:
    print(f"skipped: {reason}")
    sys.exit(77)

MOCK = sys.argv.pop(1)


class Introspection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bus = Gio.TestDBus.new(Gio.TestDBusFlags.NONE)
        cls.bus.up()
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = cls.bus.get_bus_address()
        cls.mock = subprocess.Popen([MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert cls.mock.stdout.readline() == b"ready\n"
        cls.connection = Gio.DBusConnection.new_for_address_sync(
            cls.bus.get_bus_address(),
            Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
            None,
            None,
        )
        cls.client = Virtdisk.Client.new_for_connection(cls.connection, None)

    @classmethod
    def tearDownClass(cls):
        del cls.client
        cls.connection.close_sync(None)
        cls.mock.stdin.close()
        cls.mock.wait(10)
        cls.mock.stdout.close()
        cls.bus.stop()

    def open(self):
        parameters = Virtdisk.OpenParameters()
        parameters.set_read_only(True)
        parameters.set_version(2)
        self.assertEqual(parameters.to_variant().unpack(), {"read-only": True, "version": 2})
        return self.client.open_virtual_disk(
            "/a.vhd", Virtdisk.AccessMask.NONE, Virtdisk.OpenFlags.NONE, parameters, None
        )

    def test_handle(self):
        handle = self.open()
        ok, settled = handle.attach_virtual_disk(Virtdisk.AttachFlags.READ_ONLY, None, None)
        self.assertTrue(ok)
        self.assertFalse(settled)
        self.assertEqual(handle.get_virtual_disk_physical_path(None), "/dev/loop77")
        info = handle.get_virtual_disk_information(Virtdisk.InfoVersion.SIZE, None)
        self.assertEqual(info.get_virtual_size(), 1048576)
        self.assertEqual(info.to_variant().unpack()["SectorSize"], 512)
        self.assertEqual(handle.detach_virtual_disk(Virtdisk.DetachFlags.NONE, None, None), (True, True))
        self.assertTrue(handle.close(None))

    def test_job(self):
        told = []
        parameters = Virtdisk.OperationParameters()
        parameters.set_progress(lambda job: told.append(job.get_progress()))
        job = self.open().compact_virtual_disk(Virtdisk.CompactFlags.NONE, parameters, None)
        self.assertEqual(job.props.state, "done")
        self.assertEqual(job.props.rate, 7)
        self.assertEqual(job.get_results().unpack()["given-back"], 4096)
        self.assertEqual(told, [0.25])

    def test_changes(self):
        handle = self.open()
        self.assertTrue(
            handle.set_virtual_disk_information(Virtdisk.SetInfo.new_physical_sector_size(512), None)
        )
        self.assertEqual(handle.enumerate_virtual_disk_metadata(None), ["one", "two"])
        self.assertEqual(handle.get_virtual_disk_metadata("one", None).get_data(), b"\1\0\2")

    def test_error(self):
        handle = self.open()
        handle.close(None)
        with self.assertRaises(GLib.Error) as caught:
            handle.close(None)
        self.assertTrue(caught.exception.matches(Virtdisk.error_quark(), Virtdisk.Error.INVALID_HANDLE))
        self.assertEqual(Virtdisk.error_win32_name(Virtdisk.Error.INVALID_HANDLE), "ERROR_INVALID_HANDLE")
        self.assertEqual(Virtdisk.error_to_win32(Virtdisk.Error.SHARING_VIOLATION), 32)

    def test_descriptor(self):
        with tempfile.TemporaryFile() as image:
            handle = self.client.open_virtual_disk_fd(
                image.fileno(), "a.vhd", Virtdisk.AccessMask.ALL, Virtdisk.OpenFlags.NONE, None, None
            )
            self.assertTrue(handle.close(None))

    def test_disks(self):
        disk = next(d for d in self.client.get_disks() if d.props.device == "/dev/loop5")
        self.assertEqual(disk.props.virtual_size, 5000000000)
        self.assertEqual(disk.props.path_bytes.get_data(), b"/images/\xff.vhd\0")
        self.assertEqual(os.fsencode(disk.get_file_name()), b"/images/\xff.vhd")
        self.assertEqual(disk.get_file_systems().unpack(), [])

    def test_dependencies(self):
        entries = self.client.get_storage_dependency_information(
            "/dev/loop7", Virtdisk.DependencyFlags.DISK_HANDLE, 2, None
        )
        self.assertEqual(len(entries), 2)
        self.assertEqual(entries[0].host_volume_name, "/dev/sda1")
        self.assertEqual(
            self.client.get_all_attached_virtual_disk_physical_paths(None), ["/dev/loop7", "/dev/ublkb1"]
        )

    def test_async_and_signals(self):
        loop = GLib.MainLoop()
        seen = []

        def on_attached(client, result):
            seen.append(client.attach_image_finish(result))
            loop.quit()

        self.client.connect("disk-added", lambda client, disk: seen.append(disk))
        self.client.attach_image_async("/a.vhd", Virtdisk.AttachParameters(), None, on_attached)
        late = GLib.timeout_add_seconds(10, loop.quit)
        loop.run()
        GLib.source_remove(late)
        self.assertEqual([disk.get_device() for disk in seen], ["/dev/loop77"] * 2)
        self.assertIs(seen[0], seen[1])


if __name__ == "__main__":
    unittest.main()
