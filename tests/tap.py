# SPDX-License-Identifier: LGPL-2.1-or-later
"""How Python tests report: TAP for people, and one JSON object a test for tests/runner.py."""
import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
import unittest

TEST_DEADLINE = 120  # seconds, for one test
SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))

# Where the build is; set by main() before any test runs.
build_dir = None


class Expired(AssertionError):
    """A named deadline passed."""


class Result(unittest.TestResult):
    """TAP on standard output, and one JSON object a line for tests/run.sh."""

    def __init__(self, level, report):
        super().__init__()
        self._level, self._report, self._began = level, report, 0.0
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._failed = None

    def startTest(self, test):
        super().startTest(test)
        self._began, self._failed = time.monotonic(), None
        signal.alarm(TEST_DEADLINE)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        if self._failed is not None:
            self._say(test, "failed", self._failed)

    def _say(self, test, outcome, text=""):
        self.counts[outcome] += 1
        name = test.id().removeprefix("__main__.")
        word = "not ok" if outcome == "failed" else "ok"
        print(f"{word} {self.testsRun} - {name}" + (f" # SKIP {text}" if outcome == "skipped" else ""))
        if outcome == "failed":
            print("".join(f"# {line}\n" for line in text.splitlines()), end="")
        sys.stdout.flush()
        if self._report:
            row = {"level": self._level, "name": name, "result": outcome, "reason": text,
                   "seconds": round(time.monotonic() - self._began, 3)}
            self._report.write(json.dumps(row) + "\n")
            self._report.flush()

    def addSuccess(self, test):
        self._say(test, "passed")

    def addSkip(self, test, reason):
        self._say(test, "skipped", reason)

    def _add(self, test, error):
        text = "".join(traceback.format_exception(*error))
        self._failed = text if self._failed is None else f"{self._failed}\n{text}"
        if not hasattr(test, "_testMethodName"):  # a class or module could not be set up
            self.testsRun += 1
            self._say(test, "failed", self._failed)

    def addError(self, test, error):
        self._add(test, error)

    addFailure = addError

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._add(test, (error[0], type(error[1])(f"{subtest._subDescription()}: {error[1]}"), error[2])
                      if error[0] is AssertionError else error)


def parse():
    """The arguments that each test file takes."""
    global build_dir
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", default=os.environ.get("VIRTDISK_BUILD_DIR", os.path.join(SOURCE, "build")))
    parser.add_argument("--json", help="append one JSON object for each test to this file")
    parser.add_argument("-k", dest="pattern", help="only tests whose name contains this")
    arguments = parser.parse_args()
    build_dir = os.path.realpath(arguments.build_dir)
    return arguments


def run(level, arguments, reason=None, before=None):
    """Runs the tests of the main module -> exit code. reason: skip all; before: called first, unless there are none."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    tests = [test for test in flatten(suite) if not arguments.pattern or arguments.pattern in test.id()]
    print(f"TAP version 13\n1..{len(tests)}", flush=True)

    def expire(*_):
        raise Expired(f"the test took more than {TEST_DEADLINE} s")

    signal.signal(signal.SIGALRM, expire)
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(open(arguments.json, "a")) if arguments.json else None
        result = Result(level, report)
        if reason is not None:
            for test in tests:
                result.startTest(test)
                result.addSkip(test, reason)
                result.stopTest(test)
        elif tests:
            if before:
                before()
            unittest.TestSuite(tests).run(result)
    counts = result.counts
    print(f"# {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return 1 if counts["failed"] else 0


def main(level):
    """What a test file without a world of its own calls at its end."""
    sys.exit(run(level, parse()))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item
