#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A double click and what comes of it: shown, ejected, shown again, and a sentence for each thing that can go wrong."""
import os
import time

import desktop
import testbed
from desktop import USER


class Desktop(desktop.TestCase):
    def mine(self, name="disk.img", fs="ext4", size=16 << 20):
        path = self.image(os.path.join("home", name), fs, size)
        os.chown(path, *testbed.USERS[USER][:2])
        return path

    def test_open_shows_the_folder_and_eject_ends_it(self):
        image = self.mine()
        opened = self.open(image)
        self.assertEqual((opened.returncode, opened.stderr), (0, ""))
        folder = opened.stdout.strip()
        self.assertEqual(self.mounted(), [folder])
        self.assertShown(folder)
        note = self.note("is open")
        self.assertEqual(note["actions"], ["default", "eject"])
        self.assertEqual(self.udisks.options, ["ro,nosuid,nodev"])
        self.notes.press(note["id"], "eject")
        self.wait_gone(image)
        self.assertEqual(self.note("was ejected")["id"], note["id"])

    def test_open_again_shows_the_folder_again(self):
        image = self.mine()
        folder = self.open(image).stdout.strip()
        self.assertShown(folder)
        self.files.shown.clear()
        again = self.open(image)
        self.assertEqual((again.returncode, again.stdout.strip()), (0, folder))
        self.assertShown(folder)
        self.assertEqual(len(self.udisks.options), 1)
        self.assertEqual(self.open("--eject", image).returncode, 0)
        self.assertGone(image)

    def test_writable_is_asked_for_and_writes(self):
        image = self.mine()
        self.bed.polkit(attach_read_only="yes", manage_volume="no")
        refused = self.open("--writable", image)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("not permitted", refused.stderr)
        self.assertGone(image)
        self.bed.polkit(attach_read_only="yes", manage_volume="yes")
        folder = self.open("--writable", image).stdout.strip()
        with open(os.path.join(folder, "written"), "w") as file:
            file.write("yes")
        self.assertEqual(self.open("-e", image).returncode, 0)
        folder = self.open(image).stdout.strip()
        self.assertTrue(os.path.exists(os.path.join(folder, "written")))
        refused = self.open("--writable", image)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is open for reading", refused.stderr)
        self.open("--eject", image)

    def test_still_busy_names_who(self):
        image = self.mine()
        folder = self.open(image).stdout.strip()
        holder = self.holder(folder)
        refused = self.open("--eject", image)
        self.assertEqual(refused.returncode, 1)
        note = self.note("is still in use")
        self.assertIn(f"pid {holder.process.pid}", note["body"])
        self.assertIn(folder, note["body"])
        self.assertEqual(note["actions"], ["default", "eject"])
        self.assertAttached(image)
        holder.send("")
        holder.finish()
        self.notes.press(note["id"], "eject")
        self.wait_gone(image)

    def test_unmounting_in_the_file_manager_ends_it(self):
        image = self.mine()
        folder = self.open(image).stdout.strip()
        note = self.note("is open")
        self.bed.unmount(folder)
        self.wait_gone(image)
        self.poll(lambda: note["id"] not in self.notes.screen, "the notification to be withdrawn")

    def test_what_udisks_still_takes_for_another_disk_is_waited_for(self):
        self.udisks.stale = 3
        image = self.mine()
        self.assertEqual(self.open(image).returncode, 0)
        self.assertEqual(self.udisks.stale, 0)
        self.open("--eject", image)

    def test_nothing_on_it(self):
        image = self.mine(fs=None)
        empty = self.open(image)
        self.assertEqual(empty.returncode, 1)
        self.assertIn("holds no files", empty.stderr)
        self.assertEqual(self.note("holds no files")["actions"], ["open-writable"])
        self.wait_gone(image)  # when udev has looked at it
        self.notes.press(self.note("holds no files")["id"], "open-writable")
        self.note("ready to be formatted")
        self.assertAttached(image)
        self.open("--eject", image)

    def test_what_refuses_to_be_written_to_is_read(self):
        image = self.mine()
        self.udisks.refuse = lambda options: None if options.startswith("ro") else "Failed"
        opened = self.open("--writable", image)
        self.assertEqual(opened.returncode, 0)
        self.assertIn("can only be read", opened.stderr)
        self.assertEqual(self.udisks.options, ["nosuid,nodev", "ro,nosuid,nodev"])
        self.open("--eject", image)

    def test_a_file_system_that_cannot_be_mounted(self):
        image = self.mine()
        self.udisks.refuse = lambda options: "Failed"
        opened = self.open(image)
        self.assertEqual(opened.returncode, 1)
        note = self.note("cannot be shown")
        self.assertIn("UDisks says no. Check the image", note["body"])
        self.assertEqual(note["actions"], ["check"])
        self.assertGone(image)
        self.notes.press(note["id"], "check")
        self.note("is in order")
        self.udisks.refuse = lambda options: "NotAuthorized"
        self.assertIn("You may not mount", self.open(image).stderr)
        self.assertGone(image)

    def test_in_use_elsewhere(self):
        image = self.mine()
        self.root.attach_image(image)
        refused = self.open(image)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is in use. ", refused.stderr)
        self.assertIn("attached already", refused.stderr)
        self.root.detach_image(image)

    def test_what_is_no_image_is_damaged_or_is_not_there(self):
        broken = self.mine("broken.vhdx", None)
        rows = [(broken, "broken.vhdx"), (self.path("home", "none.iso"), "is not there any more"),
                (self.folder, "is not a disk image")]
        for path, text in rows:
            with self.subTest(os.path.basename(path)):
                refused = self.open(path)
                self.assertEqual(refused.returncode, 1)
                self.assertIn(text, refused.stderr)
                self.assertNotIn("ERROR_", refused.stderr)
        self.assertIn("is damaged", self.note("broken.vhdx")["summary"])
        other = self.image("of-root.img")
        os.chmod(other, 0o600)
        self.assertIn("You may not open", self.open(other).stderr)

    def test_a_download_is_marked_and_its_programs_do_not_start(self):
        image = self.mine()
        try:
            os.setxattr(image, "user.xdg.origin.url", b"https://example.org/files/disk.img")
        except OSError:
            self.skipTest("no user attributes on the file system of the test bed")
        opened = self.open(image)
        self.assertEqual(opened.returncode, 0)
        self.assertIn("downloaded from example.org", self.note("is open")["body"])
        self.assertEqual(self.udisks.options, ["ro,nosuid,nodev,noexec"])
        disk = self.root.disk_for_path(image)
        properties = self.root.properties(disk)
        self.assertEqual(properties["OriginUrl"], "https://example.org/files/disk.img")
        asked = self.bed.polkit_asked()[-1]
        self.assertEqual(asked["origin"], "https://example.org/files/disk.img")
        self.assertIn("It was downloaded from", asked["polkit.message"])
        if testbed.udevd_answers():
            known = self.bed.run(["udevadm", "info", "--query=property", f"--name={properties['Device']}"]).stdout
            self.assertIn("UDISKS_AUTO=0", known)
        self.open("--eject", image)

    def test_a_crash_of_the_service_leaves_a_disk_of_the_session(self):
        logind = self.bed.logind(testbed.USERS[USER][0])
        image = self.mine()
        folder = self.open(image).stdout.strip()
        self.assertEqual(self.root.properties(self.root.disk_for_path(image))["Lifetime"], "session")
        os.kill(self.service_pid(), 9)
        self.poll(lambda: self.service_pid() is None, "the service to be gone")
        again = self.open(image)
        self.assertEqual((again.returncode, again.stdout.strip()), (0, folder))
        self.bed.unmount(folder)
        self.wait_gone(image)
        folder = self.open(image).stdout.strip()
        os.kill(self.service_pid(), 9)
        logind.end_session()
        self.bed.run(["umount", folder], check=False)
        self.wait_gone(image)

    def test_check_compact_and_create(self):
        created = self.open("--create", self.folder)
        self.assertEqual(created.returncode, 0, created.stderr)
        path = os.path.join(self.folder, "New Disk.vhdx")
        self.assertEqual(os.stat(path).st_uid, testbed.USERS[USER][0])
        self.assertEqual(self.open("--create", self.folder).returncode, 0)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "New Disk 2.vhdx")))
        checked = self.open("--check", path)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        self.note("is in order")
        compacted = self.open("--compact", path)
        self.assertEqual((compacted.returncode, compacted.stderr), (0, ""))
        self.note("is compacted")

    def test_an_open_image_costs_little(self):
        """The figures are for the service when nothing happens: private memory, and how often it wakes up in three seconds."""
        self._asleep = (0, -1)
        image = self.mine()
        self.open(image)
        self.note("is open")
        pid = self.service_pid()
        threads = f"/proc/{pid}/task"
        # The thread that did the work is kept for a while by GLib.
        self.poll(lambda: "pool" not in "".join(testbed.read(f"{threads}/{name}/comm") for name in os.listdir(threads)),
                  "the thread that did the work to end", 60)
        self.poll(lambda: self.sleeps_for(3, pid), "three seconds without waking up", 60)
        rollup = dict(line.split()[:2] for line in testbed.read(f"/proc/{pid}/smaps_rollup").splitlines()[1:])
        private = int(rollup["Private_Clean:"]) + int(rollup["Private_Dirty:"])
        print(f"# the service, idle: {rollup['Rss:']} KiB resident, {rollup['Pss:']} KiB proportional, {private} KiB its own")
        if not self.sanitized():
            self.assertLess(int(rollup["Pss:"]), 8192)
        self.open("--eject", image)

    def sleeps_for(self, seconds, pid):
        now, count = time.monotonic(), self.wakeups(pid)
        if self._asleep[1] != count:
            self._asleep = (now, count)
        return now - self._asleep[0] > seconds

    @staticmethod
    def wakeups(pid):
        total = 0
        for name in os.listdir(f"/proc/{pid}/task"):
            for line in testbed.read(f"/proc/{pid}/task/{name}/status").splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
        return total

    def sanitized(self):
        with open(self.path("virtdisk-desktop"), "rb") as file:
            return b"__asan_init" in file.read()

    def test_an_idle_service_ends(self):
        self.assertEqual(self.open("--eject", self.path("home", "none.img")).returncode, 1)
        pid = self.service_pid()
        self.assertIsNotNone(pid)
        self.note("is not there any more")
        for number in list(self.notes.screen):
            self.notes.close(number)
        self.poll(lambda: self.service_pid() != pid, "the service to end", 30)


class WithoutUDisks(desktop.TestCase):
    udisks_runs = False

    def test_the_disk_is_there_and_one_is_told_what_is_missing(self):
        image = self.image(os.path.join("home", "disk.img"))
        os.chown(image, *testbed.USERS[USER][:2])
        opened = self.open(image)
        self.assertEqual(opened.returncode, 1)
        self.assertIn("Install udisks2", opened.stderr)
        self.assertAttached(image)
        self.assertEqual(self.open("--eject", image).returncode, 0)
        self.assertGone(image)


if __name__ == "__main__":
    testbed.main()
