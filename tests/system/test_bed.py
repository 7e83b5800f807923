#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test bed itself: what the other tests take for granted."""
import os
import subprocess
import sys
import threading

import testbed
from gi.repository import GLib
from testbed import images

ACTION = "org.freedesktop.policykit.exec"


class Bed(testbed.TestCase):
    daemon = False

    def ask(self, client, action, interactive=True):
        """CheckAuthorization for the caller itself -> (granted, a question is needed)"""
        subject = ("system-bus-name", {"name": GLib.Variant("s", client.name)})
        return client.connection.call_sync(
            "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
            "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization",
            GLib.Variant("((sa{sv})sa{ss}us)", (subject, action, {}, 1 if interactive else 0, "")), None, 0, 20000,
            None).unpack()[0][:2]

    def test_clients_are_who_they_say(self):
        for user, (uid, gid, groups) in testbed.USERS.items():
            client = self.connect(user)
            credentials = self.root.connection.call_sync(
                "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionCredentials",
                GLib.Variant("(s)", (client.name,)), None, 0, 5000, None).unpack()[0]
            self.assertEqual(credentials["UnixUserID"], uid)
            self.assertEqual(sorted(credentials["UnixGroupIDs"]), sorted([gid, *groups]))
        self.assertEqual((os.geteuid(), os.getegid()), (0, 0))

    def test_programs_run_as_users(self):
        result = self.bed.run(["id", "-u"], user="vd-second")
        self.assertEqual(result.stdout, "60002\n")
        with self.assertRaises(AssertionError):
            self.bed.run(["cat", "/etc/shadow"], user="vd-second")

    def test_polkit_refuses_without_a_person(self):
        self.assertEqual(self.ask(self.connect("vd-first"), ACTION), (False, True))

    def test_person_accepts(self):
        person = self.bed.person()
        self.assertEqual(self.ask(self.connect("vd-first"), ACTION), (True, False))
        self.assertEqual([row[0] for row in person.asked], [ACTION])

    def test_person_dismisses(self):
        person = self.bed.person()
        person.answer = "dismiss"
        self.assertFalse(self.ask(self.connect("vd-first"), ACTION)[0])

    def test_person_gives_a_wrong_password(self):
        person = self.bed.person()
        person.answer = "wrong"
        self.assertFalse(self.ask(self.connect("vd-first"), ACTION)[0])

    def test_polkit_dies_while_the_person_thinks(self):
        person = self.bed.person()
        person.answer = "think"
        client = self.connect("vd-first")
        failures = []

        def ask():
            try:
                self.ask(client, ACTION)
            except GLib.Error as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        self.assertTrue(person.being_asked.wait(10))
        self.bed.stop_polkit()
        thread.join(20)
        self.assertEqual(len(failures), 1)

    def test_login_session_ends(self):
        logind = self.bed.logind()
        path = self.root.connection.call_sync("org.freedesktop.login1", "/org/freedesktop/login1",
                                              "org.freedesktop.login1.Manager", "GetSessionByPID",
                                              GLib.Variant("(u)", (os.getpid(),)), None, 0, 5000, None).unpack()[0]
        self.assertEqual(path, logind.path)
        ended = []
        self.root.connection.signal_subscribe("org.freedesktop.login1", None, "SessionRemoved", None, None, 0,
                                              lambda *args: ended.append(args[5].unpack()))
        self.root.connection.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", None,
                                       None, 0, 5000, None)  # the bus knows by now who listens
        logind.end_session()
        self.bed.wait(lambda: ended, "SessionRemoved")
        self.assertEqual(ended[0][0], "c1")

    def test_terminal(self):
        terminal = self.bed.terminal(["sh", "-c", "printf 'name? '; read name; echo hello $name; exit 3"])
        terminal.expect("name?")
        terminal.send("world")
        self.assertEqual(terminal.finish(), 3)
        self.assertIn("hello world", terminal.output)

    def test_real_password_on_a_real_terminal(self):
        agent = self.bed.text_agent()
        client, granted = self.connect("vd-first"), []
        asker = threading.Thread(target=lambda: granted.append(self.ask(client, ACTION)))
        asker.start()
        agent.expect("Password:")
        agent.expect_silence()
        agent.send(testbed.PASSWORD)
        agent.expect("AUTHENTICATION COMPLETE")
        asker.join(20)
        self.assertEqual(granted, [(True, False)])

    def test_own_vhd_is_what_others_call_a_vhd(self):
        ours = images.vhd_fixed(self.path("ours.vhd"), 8 << 20)
        info = self.bed.run(["qemu-img", "info", "--output=json", "-f", "vpc", ours]).stdout
        self.assertIn('"virtual-size": %d' % (8 << 20), info)

    def test_iso(self):
        path = images.iso(self.path("a.iso"), {"sub/file": b"content"})
        with open(path, "rb") as file:
            file.seek(0x8001)
            self.assertEqual(file.read(5), b"CD001")

    def test_a_leak_is_seen(self):
        path = images.raw(self.path("leak.img"))
        before = self.bed.snapshot()
        device = self.bed.run(["losetup", "-f", "--show", path]).stdout.strip()
        try:
            self.assertNotEqual(before["loop devices"], self.bed.snapshot()["loop devices"])
        finally:
            self.bed.run(["losetup", "-d", device])
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        try:
            self.assertIn((process.pid, "cat"), self.bed.snapshot()["processes"])
        finally:
            process.communicate()

    def test_what_a_failed_test_left_is_undone(self):
        self.bed.start_daemon()
        path = self.path("left.vhdx")
        self.root.close_handle(self.root.create(path, 64 << 20))
        device = self.root.attach_image(path, route="fuse")[1]
        backing = f"/sys/block/{os.path.basename(device)}/loop/backing_file"
        self.assertTrue(os.path.exists(backing))
        self.bed.kill_daemon()
        self.bed.clean()
        self.bed.wait(lambda: not os.path.exists(backing), f"{device} to be detached")
        self.bed.wait(lambda: self.bed.snapshot() == self._before, "the world as it was")

    def test_expired_deadline_says_what_was_awaited(self):
        with self.assertRaisesRegex(testbed.Expired, "the impossible: not within 0.1 s"):
            self.bed.wait(lambda: False, "the impossible", 0.1)


if __name__ == "__main__":
    sys.exit(testbed.main())
