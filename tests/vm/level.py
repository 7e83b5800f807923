# SPDX-License-Identifier: LGPL-2.1-or-later
"""The vm level: installs a build into a folder, runs scripts in as few boots as they allow, and says how each went."""
import argparse
import base64
import json
import os
import shutil
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import guest  # noqa: E402
import image  # noqa: E402
import scripts  # noqa: E402

SKIPPED = 77
TAIL = 40  # lines of each log that a failure shows
OUTPUT_CEILING = 1 << 20  # bytes kept of what a test prints


def tail(text, lines=TAIL):
    return "\n".join(text.rstrip().splitlines()[-lines:])


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def option(build, name):
    """A meson option of a configured build."""
    with open(os.path.join(build, "meson-info", "intro-buildoptions.json")) as file:
        return next((entry["value"] for entry in json.load(file) if entry["name"] == name), None)


def install(build, logs, say):
    """-> a folder with an installation below it. A build for another prefix than /usr is no good: one is made beside it."""
    destination = os.path.join(logs, "install")
    shutil.rmtree(destination, ignore_errors=True)
    tree = build
    if option(build, "prefix") != "/usr":
        tree = os.path.join(logs, "tree")
        if not os.path.exists(os.path.join(tree, "build.ninja")):
            say("building again, with the prefix /usr")
            image.run(["meson", "setup", tree, guest.SOURCE, "--prefix=/usr", "-Dtests=disabled",
                       f"-Db_sanitize={option(build, 'b_sanitize')}"], "meson")
        image.run(["ninja", "-C", tree], "ninja")
    image.run(["meson", "install", "-C", tree, "--no-rebuild", "--destdir", destination], "meson install")
    return destination


class Level:
    """rows: what came of each script, as tests/tap.py reports it. live: print what the scripts print, as they do."""

    def __init__(self, build, live=False, report=None):
        self.build, self.live, self.report = os.path.realpath(build), live, report
        self.logs = os.path.join(self.build, "vm")
        self.rows, self._guest, self._output = [], None, {}
        if not os.path.exists(os.path.join(self.build, "build.ninja")):
            raise SystemExit(f"{self.build} is not a build directory (--build-dir)")
        os.makedirs(self.logs, exist_ok=True)

    def say(self, text):
        print(f"# {text}", flush=True)

    def guest(self):
        if self._guest is None:
            self._guest = guest.Guest(self.build, install(self.build, self.logs, self.say), self.logs, self.say)
        return self._guest

    def add(self, script, result, reason="", seconds=0.0):
        row = {"level": "vm", "name": f"{script.name} (kernel {script.kernel})", "result": result, "reason": reason,
               "seconds": seconds}
        self.rows.append(row)
        if self.report:
            with open(self.report, "a") as file:
                file.write(json.dumps(row) + "\n")
        if not self.live:
            print(f"{'not ok' if result == 'failed' else 'ok'} - {row['name']}"
                  + (f" # SKIP {reason}" if result == "skipped" else ""), flush=True)

    # -- one boot

    def run(self, boot):
        """Runs scripts that share a boot. Those that a dead guest did not come to are run in another."""
        left, tries = list(boot), 0
        while left:
            console = os.path.join(self.logs, f"console-{left[0].kernel}-{left[0].name}.log")
            began, started, done = time.monotonic(), [], []
            self._output.clear()
            try:
                self.guest().boot(left, lambda event: self.on_event(event, left, started, done, began), console)
                return
            except image.Unavailable as reason:
                for script in left:
                    self.add(script, "skipped", str(reason))
                return
            except (guest.Dead, RuntimeError, OSError) as error:
                tries += 1
                text = f"{error}\n-- console\n{tail(read(console))}\n{tail(read(console + '.qemu'))}"
                left = [script for script in left if script.name not in done]
                current = [script for script in left if script.name in started]
                if current:
                    self.add(current[0], "failed", text + "\n-- output\n" + tail(self._output.get(current[0].name, "")))
                    left.remove(current[0])
                elif tries < 2 and isinstance(error, guest.Dead):
                    self.say(f"the guest did not boot ({error}); once more")
                else:
                    for script in left:
                        self.add(script, "failed", text)
                    return

    def on_event(self, event, boot, started, done, began):
        kind = event["event"]
        if kind == "ready":
            self.say(f"kernel {event['kernel']}, ready after {time.monotonic() - began:.1f} s")
        elif kind == "begin":
            started.append(event["test"])
        elif kind == "output":
            kept = self._output.get(event["test"], "")
            self._output[event["test"]] = (kept + event["text"])[-OUTPUT_CEILING:]
            if self.live:
                print(event["text"], end="", flush=True)
        elif kind == "file":
            self.keep(event)
        elif kind == "end":
            done.append(event["test"])
            self.finish(next(script for script in boot if script.name == event["test"]), event)

    def keep(self, event):
        """A file that a test left in $VM_KEEP."""
        folder = os.path.join(self.logs, event["test"])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, os.path.basename(event["name"])), "wb") as file:
            file.write(base64.b64decode(event["data"]))

    def finish(self, script, event):
        output = self._output.get(script.name, "")
        for kind, text in (("log", output), ("journal", event["journal"])):
            with open(os.path.join(self.logs, f"{script.name}-{script.kernel}.{kind}"), "w") as file:
                file.write(text)
        problems = verdict(event, script)
        if problems:
            self.add(script, "failed", "\n".join([*problems, "-- output", tail(output), "-- journal", tail(event["journal"])]),
                     event["seconds"])
        elif event["status"] == SKIPPED:
            self.add(script, "skipped", (output.strip().splitlines() or ["no reason given"])[-1], event["seconds"])
        else:
            self.add(script, "passed", seconds=event["seconds"])


def verdict(event, script):
    """What is wrong with how a script ended, as lines."""
    problems = []
    if event["late"]:
        problems.append(f"took more than {script.deadline} s")
    elif event["status"] not in (0, SKIPPED):
        problems.append(f"ended with {event['status']}")
    problems += [f"kernel: {line}" for line in event["faults"]]
    problems += [f"left behind: {thing}" for thing in event["left"]]
    return problems


def main():
    """What tests/runner.py calls; the arguments are those of every test file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--build-dir", required=True)
    parser.add_argument("--json")
    parser.add_argument("-k", dest="pattern", default="")
    arguments = parser.parse_args()
    level = Level(arguments.build_dir, report=arguments.json)
    found = []
    for path in scripts.find(guest.HERE):
        if arguments.pattern in os.path.basename(path):
            found += scripts.load(path)
    try:
        image.check_host()
        if option(level.build, "b_sanitize") not in (None, "none", []):
            raise image.Unavailable("a build with sanitizers is too slow for an emulated guest")
    except image.Unavailable as reason:
        for script in found:
            level.add(script, "skipped", str(reason))
        return 0
    for boot in scripts.boots(found):
        level.run(boot)
    return 1 if any(row["result"] == "failed" for row in level.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
