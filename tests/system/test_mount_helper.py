#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mount.virtdisk and umount.virtdisk as mount(8) and umount(8) call them, and what they do without a bus."""
import os
import shutil
import subprocess
import sys

import images
import served
import testbed
from bed import RUNDIR, WORKER, program
from served import MIB

USAGE, FAILURE = 1, 32


class MountHelper(served.TestCase):
    def setUp(self):
        super().setUp()
        self.helper = program(self.bed.build, "mount.virtdisk")
        if not self.helper:
            self.skipTest("mount.virtdisk is not in the build tree")
        self.mounted = []
        self.addCleanup(self._unmount_all)

    def _unmount_all(self):
        for folder in reversed(self.mounted):
            subprocess.run(["umount", "-i", folder], stderr=subprocess.DEVNULL, check=False)

    def run_as(self, name, *arguments, environment=None):
        """The one program, by one of its names."""
        return subprocess.run([name, *arguments], executable=self.helper, cwd=self.dir, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False,
                              env={**self.bed.environment(), **(environment or {})})

    def folder(self, name):
        os.makedirs(self.path(name), exist_ok=True)
        return self.path(name)

    def mount(self, image, name="mnt", options=None, code=0, flags=()):
        """-> what was said."""
        folder = self.folder(name)
        result = self.run_as("mount.virtdisk", image, folder, *flags, *(["-o", options] if options else []))
        self.assertEqual(result.returncode, code, result.stderr)
        if os.path.ismount(folder):
            self.mounted.append(folder)
        self.assertEqual(os.path.ismount(folder), code == 0 and "-f" not in flags and "nothing" not in name, result.stderr)
        return result.stderr

    def umount(self, name="mnt", code=0, flags=()):
        result = self.run_as("umount.virtdisk", self.path(name), *flags)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(os.path.ismount(self.path(name)), code != 0)
        return result.stderr

    def entry(self, name="mnt"):
        """(options, source) of a mount."""
        fields = next(line.split() for line in testbed.read("/proc/self/mountinfo").splitlines()
                      if line.split()[4] == self.path(name))
        dash = fields.index("-")
        return fields[5].split(",") + fields[dash + 3].split(","), fields[dash + 2]

    def raw(self, name="disk.img", fs="ext4"):
        return images.raw(self.path(name), 16 * MIB, fs)

    def vhdx(self, name="disk"):
        path = self.make(name, 64 * MIB)
        images.make_fs(self.attach(path), "ext4")
        self.root.detach_image(self._attached.pop(path))
        return path

    # -- by the service

    def test_loop(self):
        image = self.raw()
        self.mount(image, options="rw,noatime,nofail,x-systemd.automount")
        options, device = self.entry()
        self.assertIn("noatime", options)
        self.assertEqual(self.root.all_paths(), [device])
        with open(self.path("mnt", "file"), "w") as file:
            file.write("text")
        self.umount()
        self.assertEqual(self.root.all_paths(), [])
        self.mount(image, options="ro")
        self.assertIn("ro", self.entry()[0])
        self.assertEqual(testbed.read(self.path("mnt", "file")), "text")
        self.umount()

    def test_fuse_and_again(self):
        image = self.vhdx()
        self.mount(image, options="route=fuse,fstype=ext4")
        self.mount(image, "again")
        device = self.entry()[1]
        self.assertEqual(self.entry("again")[1], device)
        self.umount()
        self.assertEqual(self.root.all_paths(), [device])
        self.umount("again")
        self.assertEqual(self.root.all_paths(), [])

    def test_a_relative_path(self):
        self.raw("here.img")
        self.mount("here.img")
        self.umount()
        self.mount("./here.img")
        self.umount()

    def test_what_others_attached_stays(self):
        image = self.raw()
        device = self.attach(image, route="loop")
        self.mount(image)
        self.assertEqual(self.entry()[1], device)
        self.umount()
        self.assertEqual(self.root.all_paths(), [device])

    def test_what_ends_with_a_session_is_not_built_on(self):
        logind = self.bed.logind()
        image = self.raw()
        disk, device, _ = self.root.attach_image(image, lifetime="session")
        said = self.mount(image, code=FAILURE)
        self.assertIn(device, said)
        self.assertIn("session", said)
        logind.end_session()
        self.bed.wait(lambda: not self.root.all_paths(), "the disk to go with its session")
        self.mount(image)
        self.umount()

    def test_partitions(self):
        if not shutil.which("sfdisk"):
            self.skipTest("sfdisk is not installed")
        image = self.path("disk.img")
        first, second = self.raw("first"), images.raw(self.path("second"), 16 * MIB, "ext4", "SECOND")
        images.write_file(image, 40 * MIB)
        subprocess.run(["sfdisk", "-q", image], input="label: gpt\nstart=2048, size=32768\nstart=34816, size=32768\n", text=True,
                       check=True)
        with open(image, "r+b") as file:
            for path, sector in ((first, 2048), (second, 34816)):
                file.seek(sector * 512)
                with open(path, "rb") as content:
                    file.write(content.read())
        said = self.mount(image, code=FAILURE)
        self.assertIn("several file systems", said)
        self.assertEqual(self.root.all_paths(), [])
        for wanted in ("partition=2", "partition=LABEL=SECOND"):
            self.mount(image, options=wanted)
            self.assertTrue(self.entry()[1].endswith("p2"), self.entry())
            self.umount()
        self.assertIn("no partition with LABEL=THIRD", self.mount(image, options="partition=LABEL=THIRD", code=FAILURE))
        self.assertEqual(self.root.all_paths(), [])

    def test_access(self):
        image = self.raw()
        self.mount(image, options="rw,access=ro")
        self.assertIn("ro", self.entry()[0])
        device = self.entry()[1]
        self.assertEqual(testbed.read(f"/sys/block/{os.path.basename(device)}/ro").strip(), "1")
        self.assertIn("for reading only", self.mount(image, "again", "access=rw", FAILURE))
        self.umount()
        self.mount(image, options="ro,access=rw")
        device = self.entry()[1]
        self.assertEqual(testbed.read(f"/sys/block/{os.path.basename(device)}/ro").strip(), "0")
        self.umount()

    def test_what_fails_leaves_nothing(self):
        blank = images.raw(self.path("blank.img"), MIB)
        self.mount(blank, code=FAILURE)
        self.mount(blank, options="partition=0", code=FAILURE)
        self.mount(self.raw(), options="fstype=xfs", code=FAILURE)
        result = self.run_as("mount.virtdisk", self.path("disk.img"), self.path("no-such-directory"))
        self.assertEqual(result.returncode, FAILURE, result.stderr)
        self.assertEqual(self.root.all_paths(), [])

    def test_missing(self):
        self.mount(self.path("no.img"), code=FAILURE)
        self.mount(self.path("no.img"), "nothing", "nofail")

    def test_usage(self):
        image = self.raw()
        for arguments in ([], [image], [image, self.folder("mnt"), "-x"], [image, self.folder("mnt"), "-o", "access=maybe"]):
            result = self.run_as("mount.virtdisk", *arguments)
            self.assertEqual(result.returncode, USAGE, result.stderr)
            self.assertTrue(result.stderr.startswith("mount.virtdisk: "), result.stderr)
        self.mount(image, flags=("-f",))
        self.assertEqual(self.root.all_paths(), [])

    def test_only_root(self):
        image = self.raw()
        result = self.bed.run([self.helper, image, self.folder("mnt")], user="vd-first", check=False)
        self.assertEqual(result.returncode, USAGE, result.stderr)
        self.assertIn("virtdisk mount", result.stderr)

    def test_busy(self):
        self.mount(self.raw())
        with open(self.path("mnt", "file"), "w"):
            self.umount(code=FAILURE)
        self.assertEqual(len(self.root.all_paths()), 1)
        self.umount()
        self.assertEqual(self.root.all_paths(), [])

    # -- at boot

    def test_the_generator_means_the_unit_that_systemd_makes(self):
        theirs = "/lib/systemd/system-generators/systemd-fstab-generator"
        ours = program(self.bed.build, "virtdisk-fstab-generator")
        if not os.path.exists(theirs) or not ours:
            self.skipTest("systemd-fstab-generator or ours is not there")
        os.symlink(self.folder("real"), self.path("link"))
        with open(self.path("fstab"), "w") as file:
            for place in ("real/./a-b/", "link/c/d", "link", "none/e"):
                file.write(f"/srv/{len(place)}.vhdx {self.path('')}/{place} virtdisk noauto 0 0\n")
        made = {}
        for generator in (theirs, ours):
            folder = self.folder(f"units-{len(made)}")
            subprocess.run([generator] + [folder] * 3, check=True, timeout=60, stderr=subprocess.DEVNULL,
                           env={**os.environ, "SYSTEMD_FSTAB": self.path("fstab"), "SYSTEMD_PROC_CMDLINE": "quiet"})
            made[generator] = {name.removesuffix(".d") for name in os.listdir(folder) if ".mount" in name}
        self.assertEqual(len(made[ours]), 4)
        self.assertEqual(made[ours], made[theirs])

    # -- without a bus

    def directly(self, *arguments):
        return subprocess.run([program(self.bed.build, "virtdiskd"), f"--rundir={RUNDIR}", f"--statedir={self.bed.statedir}",
                               f"--libexecdir={self.bed.path('libexec')}", f"--worker-user={WORKER[0]}", *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)

    def test_without_a_bus(self):
        image = self.vhdx()
        self.bed.stop_daemon()
        self.addCleanup(lambda: self.bed.daemon or self.bed.start_daemon())
        said = self.directly(f"--attach={image}", "--route=fuse")
        self.assertEqual(said.returncode, 0, said.stderr)
        device = said.stdout.split("'")[1]
        self._attached[image] = device
        self.assertIn(", false, true, [", said.stdout)
        self.assertIn(", false, false, [", self.directly(f"--attach={image}").stdout)
        folder = self.folder("mnt")
        subprocess.run(["mount", device, folder], check=True)
        self.mounted.append(folder)
        self.assertEqual(self.directly(f"--detach={device}").returncode, 0)
        with open(self.path("mnt", "file"), "w") as file:
            file.write("text")
        subprocess.run(["umount", folder], check=True)
        said = self.directly(f"--detach={device}")
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertNotEqual(self.directly(f"--detach={device}").returncode, 0)
        del self._attached[image]
        self.assertIn("FileNotFound", self.directly("--attach=/no-such.vhdx").stderr)
        self.bed.start_daemon()
        self.assertEqual(self.root.all_paths(), [])
        self.bed.virtdisk("check", "--quiet", image)

    def test_the_service_takes_it_over(self):
        image = self.raw()
        self.bed.stop_daemon()
        said = self.directly(f"--attach={image}")
        device = said.stdout.split("'")[1]
        self._attached[image] = device
        self.bed.start_daemon()
        self.assertEqual(self.root.all_paths(), [device])
        self.mount(image)
        self.umount()
        self.assertEqual(self.root.all_paths(), [])
        del self._attached[image]


if __name__ == "__main__":
    served.keep_host_mounts()
    sys.exit(testbed.main())
