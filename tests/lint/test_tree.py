#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tree keeps the house rules; the binaries are what the trust boundaries say; shell and C are well formed."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

import rules  # noqa: E402
import tap  # noqa: E402

EXPOSURE = 4.5


def output(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


class Tree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = list(rules.tree(tap.SOURCE))

    def hold(self, rule):
        problems = list(rule(self.files))
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_include_directions(self):
        self.hold(rules.includes)

    def test_no_sleep_no_goto(self):
        self.hold(rules.words)

    def test_sizes_of_functions_and_files(self):
        for length, name, path in rules.long_functions(self.files):
            print(f"# long: {path}: {name}() has {length} lines")
        self.hold(rules.sizes)

    def test_licence_lines(self):
        self.hold(rules.licence)

    def test_interfaces(self):
        self.hold(rules.interfaces)

    def test_bus_policy(self):
        self.hold(rules.bus_policy)

    def test_clang_format(self):
        tool = shutil.which("clang-format-14")
        if not tool:
            self.skipTest("clang-format-14, the reference version, is not installed")
        sources = [os.path.join(tap.SOURCE, path) for path, _ in self.files if path.endswith((".c", ".h", ".cc"))]
        result = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *sources], capture_output=True, text=True,
                                check=False)
        files = sorted(set(re.findall(r"^(/\S+?):\d+:\d+: error", result.stderr, re.M)))
        self.assertEqual(result.returncode, 0, "not formatted: " + " ".join(files))

    def scripts(self):
        return [os.path.join(tap.SOURCE, path) for path, text in self.files
                if path.endswith(".sh") or re.match(r"#!.*\bbash\b", text)]

    def test_shell_parses(self):
        for script in self.scripts():
            with self.subTest(script):
                result = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_shellcheck(self):
        if not shutil.which("shellcheck"):
            self.skipTest("shellcheck is not installed")
        result = subprocess.run(["shellcheck", "-x", "-s", "bash", "--source-path=SCRIPTDIR", "-S", "warning", *self.scripts()], capture_output=True, text=True,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stdout)


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.units = sorted(glob.glob(f"{tap.build_dir}/data/systemd/*.service"))

    def setUp(self):
        if not self.units:
            self.skipTest(f"no units in {tap.build_dir}")

    def test_no_mount_namespace(self):
        files = []
        for path in self.units:
            with open(path) as file:
                files.append((os.path.relpath(path, tap.build_dir), file.read()))
        self.assertFalse(list(rules.units(files)))

    def test_exposure(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed")
        for unit in self.units:
            with self.subTest(os.path.basename(unit)):
                text = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
                                      capture_output=True, text=True, check=False)
                match = re.search(r"Overall exposure level for \S+ ([0-9.]+)", text.stdout)
                self.assertIsNotNone(match, text.stdout + text.stderr)
                self.assertLessEqual(float(match.group(1)), EXPOSURE)


class Symbols(unittest.TestCase):
    def program(self, name):
        for directory, _, names in os.walk(tap.build_dir):
            if name in names and os.access(os.path.join(directory, name), os.X_OK):
                return os.path.join(directory, name)
        self.skipTest(f"{name} is not in {tap.build_dir}")

    def setUp(self):
        if not shutil.which("nm"):
            self.skipTest("nm (binutils) is not installed")

    def parsers(self):
        with open(os.path.join(tap.build_dir, "meson-info", "intro-targets.json")) as file:
            targets = json.load(file)
        names = [name for target in targets if target["type"] == "static library"
                 and "/daemon/formats/" in target["defined_in"] for name in target["filename"]]
        self.assertTrue(names, "no library of formats/ in the build")
        found = set()
        for name in names:
            found |= {line.split()[-1] for line in output("nm", "--defined-only", "--extern-only", name).splitlines()
                      if len(line.split()) == 3}
        return {name for name in found if not name.startswith("__")}

    def test_service_contains_no_parser(self):
        service = self.program("virtdiskd")
        defined = {line.split()[-1] for line in output("nm", "--defined-only", service).splitlines() if line.split()}
        parsers = self.parsers()
        self.assertGreater(len(parsers), 3)
        self.assertFalse(list(rules.parser_symbols(defined, parsers)))
        # And the check can see them: the worker has them.
        worker = {line.split()[-1] for line in output("nm", "--defined-only", self.program("virtdisk-worker")).splitlines()}
        self.assertTrue(worker & parsers)

    def test_worker_knows_no_bus_polkit_udev(self):
        worker = self.program("virtdisk-worker")
        undefined = {line.split()[-1].split("@")[0] for line in output("nm", "--undefined-only", worker).splitlines()}
        self.assertFalse(list(rules.worker_symbols(undefined)))

    def test_worker_links_no_bus_polkit_udev(self):
        needed = re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", self.program("virtdisk-worker")))
        self.assertFalse([name for name in needed if re.match(r"lib(polkit|udev|dbus|systemd)", name)], needed)


if __name__ == "__main__":
    tap.main("lint")
