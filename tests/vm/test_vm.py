#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parts that make and drive the guest, without one: headers, boots, cache keys, packages, verdicts."""
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path[:0] = [os.path.dirname(os.path.realpath(__file__)), os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")]

import cache  # noqa: E402
import guest  # noqa: E402
import image  # noqa: E402
import level  # noqa: E402
import scripts  # noqa: E402
import tap  # noqa: E402


def script(name="test-x", deadline=5, boot="shared", kernel=scripts.KERNEL, memory=scripts.MEMORY, build=(), image_name="base"):
    return scripts.Script(name, f"/nowhere/{name}.sh", deadline, boot, kernel, memory, build, image_name)


class Headers(unittest.TestCase):
    def test_all_lines(self):
        text = "#!/bin/bash\n# deadline: 60\n# boot: own\n# kernel: 7.2\n# memory: 4096\n# build: a/b  c\n# image: desktop\n"
        self.assertEqual(scripts.parse("/a/test-x.sh", text),
                         [scripts.Script("test-x", "/a/test-x.sh", 60, "own", "7.2", 4096, ("a/b", "c"), "desktop")])

    def test_several_kernels(self):
        found = scripts.parse("/a/test-x.sh", "# deadline: 60\n# kernel: 6.12 7.2\n")
        self.assertEqual([each.kernel for each in found], ["6.12", "7.2"])
        self.assertEqual(found[0], found[1]._replace(kernel="6.12"))

    def test_defaults(self):
        found, = scripts.parse("/a/test-x.py", "#!/usr/bin/python3\n# What it shows: this.\n# deadline: 1\n")
        self.assertEqual(found, scripts.Script("test-x", "/a/test-x.py", 1, "shared", scripts.KERNEL, scripts.MEMORY, (), "base"))

    def test_only_the_comment_at_the_top_counts(self):
        found, = scripts.parse("/a/test-x.sh", "#!/bin/bash\n# deadline: 2\ntrue\n# boot: own\n")
        self.assertEqual(found.boot, "shared")

    def test_what_cannot_be_understood(self):
        for lines, named in (("", "deadline"), ("# deadline: soon", "deadline"), ("# deadline: 0", "deadline"),
                             (f"# deadline: {scripts.DEADLINE_CEILING + 1}", "deadline"), ("# deadline: 1\n# deadline: 2", "twice"),
                             ("# deadline: 1\n# boot: alone", "boot"), ("# deadline: 1\n# kernel: new", "kernel"),
                             ("# deadline: 1\n# kernel: 6.12, 7.2", "kernel"),
                             ("# deadline: 1\n# memory: 2G", "memory"),
                             ("# deadline: 1\n# image: server", "image")):
            with self.subTest(lines), self.assertRaisesRegex(scripts.BadHeader, named):
                scripts.parse("/a/test-x.sh", f"#!/bin/bash\n{lines}\n")

    def test_those_of_the_level(self):
        found = [each for path in scripts.find(guest.HERE) for each in scripts.load(path)]
        self.assertTrue(found)
        for each in found:
            self.assertTrue(os.access(each.path, os.X_OK), f"{each.path} is not executable")

    def test_boots(self):
        a, b, c, d = script("a"), script("b", boot="own"), script("c", kernel="7.2"), script("d")
        e = script("e", image_name="desktop")
        self.assertEqual(scripts.boots([a, b, c, d, e]), [[a, d], [e], [c], [b]])

    def test_images_differ_and_the_larger_one_has_all_of_the_smaller(self):
        with mock.patch.object(image, "codename", return_value="any"):
            self.assertNotEqual(image.root_key("base"), image.root_key("desktop"))
        base, desktop = image.listed("base"), image.listed("desktop")
        self.assertTrue(set(base[0]) < set(desktop[0]) and set(base[1]) <= set(desktop[1]))


class Cache(unittest.TestCase):
    def test_key(self):
        self.assertEqual(cache.key("a", b"b"), cache.key("a", "b"))
        self.assertNotEqual(cache.key("ab", "c"), cache.key("a", "bc"))
        self.assertRegex(cache.key("x"), "^[0-9a-f]{16}$")

    def test_folders(self):
        self.assertEqual(cache.candidates(0, {"HOME": "/root"}), ["/var/cache/virtdisk-tests"])
        self.assertEqual(cache.candidates(7, {"HOME": "/h"}), ["/h/.cache/virtdisk-tests", "/var/cache/virtdisk-tests"])
        self.assertEqual(cache.candidates(7, {"HOME": "/h", "XDG_CACHE_HOME": "/c"})[0], "/c/virtdisk-tests")
        self.assertEqual(cache.candidates(0, {"VIRTDISK_TESTS_CACHE": "/mine"}), ["/mine"])

    def test_make(self):
        with tempfile.TemporaryDirectory() as top, mock.patch.dict(os.environ, {"VIRTDISK_TESTS_CACHE": top}):
            def build(folder):
                with open(os.path.join(folder, "x"), "w") as file:
                    file.write("made")

            def broken(folder):
                build(folder)
                raise RuntimeError("broken")

            old = cache.make("root", "1", build)
            self.assertEqual(cache.find("root", "1"), old)
            with self.assertRaisesRegex(RuntimeError, "broken"):
                cache.make("root", "2", broken)
            self.assertEqual(os.listdir(top), ["root-1"])
            kernel = cache.make("kernel-6.12", "1", build)
            new = cache.make("root", "2", build)
            self.assertEqual(sorted(os.listdir(top)), [os.path.basename(kernel), os.path.basename(new)])


class Packages(unittest.TestCase):
    def test_list(self):
        self.assertEqual(image.packages("# note\nudev\n\n?pkexec\ndbus\n"), (["udev", "dbus"], ["pkexec"]))

    def test_kernel_of_one_package(self):
        names = {"linux-image-6.12.9+deb12-cloud-amd64", "linux-image-6.12.10+deb12-cloud-amd64", "linux-image-6.12.10+deb12-amd64",
                 "linux-image-6.12.11+deb12-cloud-amd64-unsigned", "linux-image-6.12.11+deb12-cloud-amd64-dbg", "linux-image-6.1.0-40-cloud-amd64"}
        self.assertEqual(image.kernel_packages(names, "6.12"), ["linux-image-6.12.10+deb12-cloud-amd64"])
        self.assertEqual(image.kernel_packages(names, "6.1"), ["linux-image-6.1.0-40-cloud-amd64"])
        self.assertEqual(image.kernel_packages(names, "6.13"), [])

    def test_kernel_of_two_packages(self):
        names = {f"linux-{part}-7.2.13+deb14-cloud-amd64" for part in ("image", "binary", "modules", "base")}
        self.assertEqual(image.kernel_packages(names, "7.2"),
                         ["linux-binary-7.2.13+deb14-cloud-amd64", "linux-modules-7.2.13+deb14-cloud-amd64"])

    def test_no_network_is_no_fault_of_ours(self):
        with self.assertRaises(image.Unavailable):
            image.run(["sh", "-c", "echo 'E: Failed to fetch x  Temporary failure resolving' >&2; exit 100"], "fetching")
        with self.assertRaisesRegex(RuntimeError, "odd"):
            image.run(["sh", "-c", "echo odd >&2; exit 1"], "building")


class Verdicts(unittest.TestCase):
    def event(self, **changes):
        return {"status": 0, "late": False, "faults": [], "left": [], **changes}

    def test_verdicts(self):
        self.assertEqual(level.verdict(self.event(), script()), [])
        self.assertEqual(level.verdict(self.event(status=77), script()), [])
        self.assertEqual(level.verdict(self.event(status=1), script()), ["ended with 1"])
        self.assertEqual(level.verdict(self.event(status=1, late=True), script()), ["took more than 5 s"])
        self.assertEqual(level.verdict(self.event(left=["mount /x"]), script()), ["left behind: mount /x"])
        self.assertEqual(level.verdict(self.event(faults=["Oops"]), script()), ["kernel: Oops"])


class Boots(unittest.TestCase):
    """What the level makes of a guest that does not do its part."""

    class Guest:
        def __init__(self, boots):
            self.boots, self.asked = list(boots), []

        def boot(self, left, on_event, console):
            self.asked.append([each.name for each in left])
            for event in self.boots.pop(0):
                if isinstance(event, Exception):
                    raise event
                on_event(event)

    def run_level(self, boots, *names):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        open(os.path.join(folder.name, "build.ninja"), "w").close()
        tested = level.Level(folder.name, live=True)
        tested.say = lambda text: None
        tested._guest = self.Guest(boots)
        tested.run([script(name) for name in names])
        return [(row["name"].split()[0], row["result"]) for row in tested.rows], tested._guest.asked

    def began(self, name):
        return {"event": "begin", "test": name}

    def test_what_a_test_keeps(self):
        picture = {"event": "file", "test": "a", "name": "../one.png", "data": "iVBORw=="}
        with mock.patch.object(level.Level, "keep", autospec=True) as keep:
            self.run_level([[self.began("a"), picture, self.ended("a")]], "a")
        keep.assert_called_once()
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "build.ninja"), "w").close()
            level.Level(folder).keep(picture)
            with open(os.path.join(folder, "vm", "a", "one.png"), "rb") as file:
                self.assertEqual(file.read(), b"\x89PNG")

    def ended(self, name, status=0):
        return {"event": "end", "test": name, "status": status, "late": False, "faults": [], "left": [], "seconds": 1, "journal": ""}

    def test_one_boot(self):
        rows, asked = self.run_level([[self.began("a"), self.ended("a"), self.began("b"), self.ended("b", 77)]], "a", "b")
        self.assertEqual((rows, len(asked)), ([("a", "passed"), ("b", "skipped")], 1))

    def test_a_boot_that_fails_is_tried_once_more(self):
        rows, asked = self.run_level([[guest.Dead("x")], [self.began("a"), self.ended("a")]], "a")
        self.assertEqual((rows, len(asked)), ([("a", "passed")], 2))
        rows, asked = self.run_level([[guest.Dead("x")], [guest.Dead("x")]], "a")
        self.assertEqual((rows, len(asked)), ([("a", "failed")], 2))

    def test_after_a_hang_the_rest_is_run(self):
        rows, asked = self.run_level([[self.began("a"), self.ended("a"), self.began("b"), guest.Dead("x")], [self.began("c"), self.ended("c")]],
                                     "a", "b", "c")
        self.assertEqual(rows, [("a", "passed"), ("b", "failed"), ("c", "passed")])
        self.assertEqual(asked, [["a", "b", "c"], ["c"]])

    def test_what_cannot_be_had_is_skipped(self):
        rows, _ = self.run_level([[image.Unavailable("no network")]], "a", "b")
        self.assertEqual(rows, [("a", "skipped"), ("b", "skipped")])


if __name__ == "__main__":
    tap.main("vm")
