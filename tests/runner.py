# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Runs the levels that tests/run.sh asks for and counts test cases, not programs. Each program has a deadline; each level
says what it ran; what was skipped is listed by name with the reason; what the tests left behind is a failure by name.
"""
import argparse
import collections
import concurrent.futures
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
GUEST = os.path.join(SOURCE, "tests", "vm")
sys.path.append(GUEST)

import scripts  # noqa: E402

LEVELS = ("lint", "unit", "crash", "bus", "system", "vm")
PROGRAM_DEADLINE = 900  # seconds, for one test program with all its cases
# Levels whose programs share nothing with each other, so that as many run at once as there are processors; the number says into
# how many processes, each with a part of its cases, one of them is cut. Whoever has devices, or the system bus, runs alone.
AT_ONCE = {"unit": 1, "crash": 4}
SLOWEST = 3  # programs that each level names, with the seconds they took
RUNDIR = "/run/virtdisk"
OURS = re.compile(r"^(virtdisk|virtdiskd|test-|dbus-daemon|polkitd)")

Case = collections.namedtuple("Case", "level name result reason")
# What came of one process: its exit code (None: its deadline passed), output, and what it reported, or None.
Ended = collections.namedtuple("Ended", "code output report seconds")


class Runner:
    def __init__(self, build, filter_):
        self.build, self.filter, self.cases = build, filter_, []
        self.took = collections.Counter()  # seconds, by program, of the level that runs
        self.scratch = tempfile.mkdtemp(prefix="virtdisk-runner.")

    def add(self, level, name, result, reason=""):
        self.cases.append(Case(level, name, result, reason))
        if result == "failed":
            print(f"FAILED {level}: {name}")
            print("".join(f"    {line}\n" for line in reason.strip().splitlines()[-60:]), end="", flush=True)

    def execute(self, argv, **environment):
        """-> (exit code, output); code None: its deadline passed. The whole process group ends with it."""
        with tempfile.TemporaryFile("w+", errors="replace", dir=self.scratch) as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       cwd=self.build, start_new_session=True,
                                       env={**os.environ, "G_DEBUG": "fatal-criticals", **environment})
            try:
                code = process.wait(PROGRAM_DEADLINE)
            except subprocess.TimeoutExpired:
                code = None
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            output.seek(0)
            return code, output.read()

    # -- levels

    def gtests(self, folder):
        """The programs below tests/FOLDER of the build tree that are called test-*."""
        found = []
        for top, _, names in os.walk(os.path.join(self.build, "tests", folder)):
            found += [os.path.join(top, name) for name in names
                      if name.startswith("test-") and os.access(os.path.join(top, name), os.X_OK)
                      and not top.endswith(".p")]
        return sorted(found)

    def start_gtest(self, path, shard, shards):
        """Runs the cases of one shard -> Ended. Any thread."""
        began = time.monotonic()
        argv = [path]
        if self.filter and self.filter not in os.path.relpath(path, os.path.join(self.build, "tests")):
            argv.append(f"--gtest_filter=*{self.filter}*")
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            report = os.path.join(folder, "report.json")
            code, output = self.execute([*argv, f"--gtest_output=json:{report}"],
                                        GTEST_TOTAL_SHARDS=str(shards), GTEST_SHARD_INDEX=str(shard))
            said = None
            if os.path.exists(report):
                with open(report) as file:
                    said = json.load(file)
        return Ended(code, output, said, time.monotonic() - began)

    def add_gtest(self, level, path, ended):
        relative = os.path.relpath(path, os.path.join(self.build, "tests"))
        code, output = ended.code, ended.output
        self.took[relative] += ended.seconds
        failed_cases = 0
        if ended.report is not None:
            for suite in ended.report["testsuites"]:
                for case in suite["testsuite"]:
                    name = f"{relative}: {suite['name']}.{case['name']}"
                    if case["result"] == "SKIPPED":
                        self.add(level, name, "skipped", skip_reason(output, suite["name"], case["name"]))
                    elif case["status"] != "RUN":
                        pass  # the filter left it out
                    elif case.get("failures"):
                        failed_cases += 1
                        self.add(level, name, "failed", "\n".join(f["failure"] for f in case["failures"]))
                    else:
                        self.add(level, name, "passed")
        elif code == 0:
            self.add(level, relative, "failed", "ended well, but wrote no report\n" + output)
            return
        if code is None:
            self.add(level, f"{relative} (deadline)", "failed", f"took more than {PROGRAM_DEADLINE} s\n" + output)
        elif code != 0 and failed_cases == 0:
            self.add(level, f"{relative} (end)", "failed", f"ended with {code}\n" + output)

    def run_gtests(self, level, paths):
        shards = AT_ONCE.get(level, 1)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() if level in AT_ONCE else 1) as pool:
            ends = [(path, pool.submit(self.start_gtest, path, shard, shards)) for path in paths for shard in range(shards)]
            for path, end in ends:
                self.add_gtest(level, path, end.result())

    def run_python(self, level, path):
        name = os.path.relpath(path, os.path.join(SOURCE, "tests"))
        report = os.path.join(self.scratch, "report.lines")
        open(report, "w").close()
        began = time.monotonic()
        code, output = self.execute([sys.executable, path, "--build-dir", self.build, "--json", report,
                                     *(["-k", self.filter] if self.filter and self.filter not in name else [])])
        self.took[name] += time.monotonic() - began
        failed = 0
        with open(report) as file:
            for line in file:
                row = json.loads(line)
                failed += row["result"] == "failed"
                self.add(level, f"{name}: {row['name']}", row["result"], row["reason"])
        if code is None:
            self.add(level, f"{name} (deadline)", "failed", f"took more than {PROGRAM_DEADLINE} s\n" + output)
        elif code != 0 and not failed:
            self.add(level, f"{name} (end)", "failed", f"ended with {code}\n" + output)

    def run_level(self, level):
        folder = {"lint": None}.get(level, level)
        before = len(self.cases)
        began = time.monotonic()
        self.took.clear()
        if folder:
            self.run_gtests(level, self.gtests(folder))
        for path in sorted(glob.glob(os.path.join(SOURCE, "tests", level, "**", "test_*.py"), recursive=True)):
            self.run_python(level, path)
        if level == "vm":
            self.run_python(level, os.path.join(GUEST, "level.py"))
        ran = self.cases[before:]
        counts = collections.Counter(case.result for case in ran)
        print(f"{level}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped "
              f"({time.monotonic() - began:.0f} s; most of it: "
              f"{', '.join(f'{name} {seconds:.0f} s' for name, seconds in self.took.most_common(SLOWEST))})", flush=True)

    # -- what may be left behind

    def check_nothing_left(self, before):
        after = machine()
        for kind in before:
            left = sorted(set(after[kind]) - set(before[kind]))
            name = f"nothing left behind: {kind}"
            if left:
                self.add("after all", name, "failed", "\n".join(left))
            else:
                self.add("after all", name, "passed")

    def finish(self):
        shutil.rmtree(self.scratch, ignore_errors=True)
        skipped = [case for case in self.cases if case.result == "skipped"]
        if skipped:
            print("skipped:")
        for case in skipped:
            print(f"    {case.level}: {case.name}: {case.reason.strip() or 'no reason given'}")
        failed = [case for case in self.cases if case.result == "failed"]
        if failed:
            print("failed:")
        for case in failed:
            print(f"    {case.level}: {case.name}")
        counts = collections.Counter(case.result for case in self.cases)
        ran = counts["passed"] + counts["failed"]
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
        return 1 if counts["failed"] or not ran else 0


def skip_reason(output, suite, case):
    """GoogleTest's JSON lacks the text of GTEST_SKIP; in the output it stands above the line that names the test."""
    lines = output.splitlines()
    for i, line in enumerate(lines):
        if re.match(r"\[  SKIPPED \] " + re.escape(f"{suite}.{case}") + r"( |$)", line):
            reason = []
            for above in reversed(lines[:i]):
                if above.startswith("[") or re.search(r": Skipped$", above):
                    break
                reason.insert(0, above)
            return " ".join(reason)
    return ""


def machine():
    """What tests could leave on the machine. Of loop devices and processes, only those that look like ours count."""
    loops, processes = [], []
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        try:
            with open(path) as file:
                backing = file.read().strip()
        except OSError:
            continue
        if re.search(r"virtdisk|/vd-|test", backing):
            loops.append(f"/dev/{path.split('/')[3]} over {backing}")
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                stat = file.read()
        except OSError:
            continue
        command = stat[stat.index("(") + 1:stat.rindex(")")]
        if OURS.match(command) and stat[stat.rindex(")") + 2] not in "ZX":
            processes.append(f"{command} (pid {path.split('/')[2]})")
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file]
    files = [os.path.join(top, name) for top, _, names in os.walk(RUNDIR) for name in names]
    scratch = [path for pattern in ("/tmp/virtdisk*", "/tmp/vd-*", "/var/tmp/virtdisk*", "/dev/shm/vd-*")
               for path in glob.glob(pattern) if not os.path.basename(path).startswith("virtdisk-runner.")]
    return {"loop devices": loops, "mounts": mounts, "processes": processes, f"files in {RUNDIR}": files,
            "scratch folders": scratch}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--levels", required=True)
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--filter", default="")
    parser.add_argument("--list", default="no")
    arguments = parser.parse_args()
    runner = Runner(os.path.realpath(arguments.build_dir), arguments.filter)
    levels = arguments.levels.split(",")
    if arguments.list == "yes":
        for level in levels:
            for path in (runner.gtests(level) if level != "lint" else []):
                print(f"{level}: {os.path.relpath(path, runner.build)}")
            for path in sorted(glob.glob(os.path.join(SOURCE, "tests", level, "**", "test_*.py"), recursive=True)):
                print(f"{level}: {os.path.relpath(path, SOURCE)}")
        for path in scripts.find(GUEST) if "vm" in levels else []:
            print(f"vm: {os.path.relpath(path, SOURCE)}")
        return 0
    before = machine()
    for level in [level for level in LEVELS if level in levels]:
        runner.run_level(level)
    runner.check_nothing_left(before)
    print(f"levels run: {', '.join(levels)}; not asked for: "
          f"{', '.join(l for l in LEVELS if l not in levels) or 'none'}")
    return runner.finish()


if __name__ == "__main__":
    sys.exit(main())
