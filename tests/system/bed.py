# SPDX-License-Identifier: LGPL-2.1-or-later
"""The world that tests run in; testbed.py says what it is."""
import contextlib
import fcntl
import glob
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import actors
from client import BUS_ADDRESS, NAME, Client, Terminal
from gi.repository import Gio, GLib
from machine import (EVENT_DEADLINE, LOCK_DEADLINE, START_DEADLINE, Expired, end_process, files, loops, mounts,
                     processes, program, read)

RUNDIR = "/run/virtdisk"
UDEV_SOCKET = "/run/udev/control"
MARKER = "/run/virtdisk-test"  # while it exists, what lies in RUNDIR is ours
SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# name: (uid, gid, supplementary groups). The password of each, and of root, is PASSWORD.
USERS = {"vd-first": (60001, 60001, []), "vd-second": (60002, 60002, []), "vd-member": (60003, 60003, [60010])}
GROUP_VIRTDISK = 60010
WORKER = ("virtdisk-worker", 60011)
PASSWORD = "test"
PASSWORD_HASH = ("$6$virtdisk$"
                 "gwyU/d6QcnAwmhRiNkdocfoF/LlGRtGzPk8Zr81KA6FkOsjX1WmIC1gw0zOj8Ws80zsaovtKm3D6nu7S/JAA71")

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><auth>EXTERNAL</auth><listen>{address}</listen><servicedir>{services}</servicedir>
<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
<allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
<allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus"/></policy>
<policy user="root"><allow own="org.freedesktop.login1"/></policy>
<policy context="default"><allow send_destination="org.freedesktop.login1"/></policy>
{includes}</busconfig>
"""

# Consulted before our own rules: the test's answers, read anew for each question, and a record of what was asked.
TEST_RULE = """polkit.addRule(function(action, subject) {
  if (action.id.indexOf("org.virtdisk1.") != 0) return undefined;
  var keys = ["path", "format", "access", "lifetime", "owner", "device", "origin", "polkit.message"];
  var seen = {action: action.id, user: subject.user};
  for (var i in keys) { var value = action.lookup(keys[i]); if (value !== undefined) seen[keys[i]] = value; }
  polkit.spawn(["/bin/sh", "-c", "printf '%s\\\\n' \\"$1\\" >>@DIR@/asked", "sh", JSON.stringify(seen)]);
  var answers = JSON.parse(polkit.spawn(["/bin/cat", "@DIR@/answers"]));
  return answers[action.id + " " + subject.user] || answers[action.id] || undefined;
});
"""


def udevd_answers():
    """Whether one listens: a udevd that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.setblocking(False)
        try:
            line.connect(UDEV_SOCKET)
        except BlockingIOError:  # its queue is full
            return True
        except OSError:
            return False
    return True


class Bed:
    """The world. One per process; see bed()."""

    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="virtdisk-test.", dir="/var/tmp")
        os.chmod(self.dir, 0o755)
        self.statedir = self.path("state")
        self.daemon = self.polkitd = self.bus = None
        self.clients, self.actors, self.processes = [], [], []
        self._events = 0
        self._undo = contextlib.ExitStack()
        self._context = GLib.MainContext.default()
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    # -- making and ending the world

    def _make(self):
        self._undo.callback(shutil.rmtree, self.dir, True)
        self._lock_machine()
        self._undo_leftovers()
        self._write("worker.log", "")
        self._add_users()
        self._lay_over("/run/dbus", tmpfs=True)
        self._install_udev_rules()
        self._prepare_polkit()
        self._copy_programs()
        self.start_bus()
        self.start_polkit()
        self._watch_machine()

    def close(self):
        self.stop_daemon()
        for actor in self.actors:
            with contextlib.suppress(Exception):
                actor.stop()
        for process in (self.polkitd, self.bus):
            end_process(process)
        self._undo.close()

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def _write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def _lock_machine(self):
        fd = os.open("/dev/loop-control", os.O_RDONLY | os.O_CLOEXEC)
        self._undo.callback(os.close, fd)
        previous = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(
            Expired(f"another test bed held /dev/loop-control for {LOCK_DEADLINE} s")))
        signal.alarm(LOCK_DEADLINE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, previous)

    def _undo_leftovers(self):
        """Loop devices and files of a test bed that was killed; we hold the lock, so none of them is in use."""
        for name, backing in loops("/var/tmp/virtdisk-test."):
            print(f"# detaching {name}, left by a killed test: {backing}", flush=True)
            subprocess.run(["losetup", "-d", f"/dev/{name}"], check=False)
        for path in glob.glob("/var/tmp/virtdisk-test.*"):
            if path != self.dir:
                shutil.rmtree(path, ignore_errors=True)
        if os.path.exists(MARKER):
            self._detach_served()
            shutil.rmtree(RUNDIR, ignore_errors=True)
        elif files(RUNDIR):
            raise unittest.SkipTest(f"{RUNDIR} holds state of an installed service; detach its disks first")
        with open(MARKER, "w"):
            self._undo.callback(os.unlink, MARKER)

    @staticmethod
    def _detach_served():
        """
        Loop devices over what workers served. Their file has the same name on every machine and lies where nobody sees it, so
        they are known by the workers' records.
        """
        for record in (path for path in files(f"{RUNDIR}/workers") if path.endswith(".conf")):
            values = dict(line.split("=", 1) for line in read(record).splitlines() if "=" in line)
            device = values.get("Device", "")
            with contextlib.suppress(OSError):
                if device.startswith("loop") and read(f"/sys/block/{device}/diskseq").strip() == values.get("DiskSeq"):
                    print(f"# detaching {device}, which a worker served", flush=True)
                    subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)

    def _lay_over(self, target, source=None, tmpfs=False):
        """Mounts, in our namespace only, something over target."""
        if not os.path.exists(target):
            os.makedirs(target)
            self._undo.callback(os.rmdir, target)
        how = ["-t", "tmpfs", "-o", "mode=0755", "virtdisk-test"] if tmpfs else ["--bind", source]
        subprocess.run(["mount", *how, target], check=True)
        self._undo.callback(subprocess.run, ["umount", "-l", target], check=False)

    def _add_users(self):
        passwd = [line for line in read("/etc/passwd").splitlines() if not line.startswith("virtdisk-worker:")]
        group = [line for line in read("/etc/group").splitlines()
                 if not line.startswith(("virtdisk:", "virtdisk-worker:"))]
        shadow = [f"root:{PASSWORD_HASH}:19000:0:99999:7:::"]
        for name, (uid, gid, _) in USERS.items():
            passwd.append(f"{name}:x:{uid}:{gid}:test user:/nonexistent:/bin/sh")
            group.append(f"{name}:x:{gid}:")
            shadow.append(f"{name}:{PASSWORD_HASH}:19000:0:99999:7:::")
        passwd.append(f"{WORKER[0]}:x:{WORKER[1]}:{WORKER[1]}:image parser:/nonexistent:/usr/sbin/nologin")
        members = ",".join(name for name, row in USERS.items() if GROUP_VIRTDISK in row[2])
        group += [f"{WORKER[0]}:x:{WORKER[1]}:", f"virtdisk:x:{GROUP_VIRTDISK}:{members}"]
        for name, lines, mode in (("passwd", passwd, 0o644), ("group", group, 0o644), ("shadow", shadow, 0o600)):
            self._lay_over(f"/etc/{name}", self._write(f"etc/{name}", "\n".join(lines) + "\n", mode))

    @staticmethod
    def _reload_udev():
        """A udevd with a full queue turns callers away (EAGAIN); it is asked again when the queue is empty."""
        for _ in range(20):
            result = subprocess.run(["udevadm", "control", "--reload"], check=False, capture_output=True, text=True)
            if result.returncode == 0:
                return
            if not udevd_answers():
                raise Expired(f"udevd has ended; nobody answers at {UDEV_SOCKET}, which it left behind")
            subprocess.run(["udevadm", "settle", "--timeout=3"], check=False)
        raise Expired(f"udevd runs, but did not take its new rules: {result.stderr.strip()}")

    def _install_udev_rules(self):
        rules = glob.glob(f"{self.build}/data/udev/*.rules") or glob.glob(f"{SOURCE}/data/udev/*.rules")
        if not rules or not os.path.exists(UDEV_SOCKET):
            return
        os.makedirs("/run/udev/rules.d", exist_ok=True)
        for rule in rules:
            target = f"/run/udev/rules.d/{os.path.basename(rule)}"
            shutil.copy(rule, target)
            self._undo.callback(self._reload_udev)
            self._undo.callback(os.unlink, target)
        self._reload_udev()

    def _prepare_polkit(self):
        """Ours beside what the system has; the test's answers are consulted first."""
        for kind, suffix in (("actions", "policy"), ("rules.d", "rules")):
            target = f"/usr/share/polkit-1/{kind}"
            copy = self.path("polkit", kind)
            os.makedirs(copy)
            for file in glob.glob(f"{target}/*.{suffix}") + glob.glob(f"{self.build}/policy/*.{suffix}"):
                shutil.copy(file, copy)
            self._lay_over(target, copy)
        answers = self.path("answers")
        os.makedirs(answers)
        os.chmod(answers, 0o777)
        self._write("answers/answers", "{}")
        os.makedirs(self.path("polkit", "etc"))
        self._write("polkit/etc/00-virtdisk-test.rules", TEST_RULE.replace("@DIR@", answers))
        self._lay_over("/etc/polkit-1/rules.d", self.path("polkit", "etc"))

    def _copy_programs(self):
        """virtdiskd stays in the build tree; its helpers go where every account may execute them."""
        os.makedirs(self.path("libexec"))
        for name in ("virtdisk-worker", "virtdisk-opener"):
            found = program(self.build, name)
            if found:
                shutil.copy(found, self.path("libexec", name))

    # -- servers

    def start_bus(self):
        policies = [f"{SOURCE}/data/dbus/org.virtdisk1.conf",
                    "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf"]
        policies += [path for path in ["/usr/share/dbus-1/system.d/org.freedesktop.UDisks2.conf"] if os.path.exists(path)]
        os.makedirs(self.path("services"), exist_ok=True)
        config = self._write("bus.conf", BUS_CONFIG.format(
            address=BUS_ADDRESS, services=self.path("services"),
            includes="".join(f"<include>{path}</include>" for path in policies)))
        reader, writer = os.pipe()
        self.bus = self.spawn(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile",
                               f"--print-address={writer}"], log="bus.log", pass_fds=[writer])
        os.close(writer)
        readable, _, _ = select.select([reader], [], [], START_DEADLINE)
        address = os.read(reader, 4096) if readable else b""
        os.close(reader)
        if not address:
            raise Expired("dbus-daemon did not start: " + read(self.path("bus.log")))
        os.chmod("/run/dbus/system_bus_socket", 0o666)
        self.root = self.connect("root", keep=True)

    def start_polkit(self):
        programs = [path for path in ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd") if os.path.exists(path)]
        self.polkitd = self.spawn([programs[0], "--no-debug"], log="polkitd.log")
        self.wait_name("org.freedesktop.PolicyKit1")

    def stop_polkit(self):
        end_process(self.polkitd)
        self.polkitd = None
        self.wait_name("org.freedesktop.PolicyKit1", present=False)

    def start_daemon(self, *arguments, environment=None, wait=True):
        """Starts virtdiskd and waits until it owns its name (or, wait=False, not)."""
        os.makedirs(self.statedir, mode=0o700, exist_ok=True)
        found = program(self.build, "virtdiskd")
        if not found:
            raise unittest.SkipTest("virtdiskd is not in the build tree")
        self.daemon = self.spawn([found, "--bus=system", f"--rundir={RUNDIR}", f"--statedir={self.statedir}",
                                  f"--libexecdir={self.path('libexec')}", f"--worker-user={WORKER[0]}", *arguments],
                                 log="virtdiskd.log", environment=environment)
        if wait:
            try:
                self.wait_name(NAME, process=self.daemon)
            except Expired as error:
                raise Expired(f"{error}; virtdiskd said:\n{self.daemon_log()}") from None
        return self.daemon

    def stop_daemon(self, deadline=EVENT_DEADLINE):
        """SIGTERM, and waits -> exit code. Attached disks stay, as on a restart."""
        process, self.daemon = self.daemon, None
        return end_process(process, signal.SIGTERM, deadline)

    def kill_daemon(self):
        """SIGKILL: as a crash."""
        process, self.daemon = self.daemon, None
        end_process(process, signal.SIGKILL)
        if self.bus.poll() is None:
            self.wait_name(NAME, present=False)

    def daemon_log(self):
        return read(self.path("virtdiskd.log")) if os.path.exists(self.path("virtdiskd.log")) else ""

    def logind(self, uid=0):
        return self._actor(actors.Logind(BUS_ADDRESS, uid=uid))

    def person(self):
        """A polkit agent for all clients of this process; see actors.Person."""
        start_time = int(read("/proc/self/stat").rsplit(")", 1)[1].split()[19])
        return self._actor(actors.Person(BUS_ADDRESS, os.getpid(), start_time))

    def _actor(self, actor):
        self.actors.append(actor.start())
        return actor

    # -- polkit

    def polkit(self, **answers):
        """
        What polkit answers from now on: polkit(manage_volume="yes") or, for one user,
        polkit(**{"manage-volume vd-first": "no"}); values: yes, no, auth_self, auth_admin, auth_admin_keep. Without an
        answer the shipped rules and defaults hold (no session is active here, so "any" applies). Replaces all before.
        """
        rows = {"org.virtdisk1." + key.replace("_", "-"): value for key, value in answers.items()}
        temporary = self._write("answers/answers.new", json.dumps(rows))
        os.rename(temporary, self.path("answers/answers"))

    def polkit_asked(self):
        """What polkit was asked since the test began: [{"action", "user", "path", ...}]"""
        name = self.path("answers/asked")
        return [json.loads(line) for line in read(name).splitlines()] if os.path.exists(name) else []

    # -- users and programs

    @contextlib.contextmanager
    def rights_of(self, user):
        """Effective uid, gid and groups of user, in this process, for the time of the block."""
        if user == "root":
            yield
            return
        uid, gid, groups = USERS[user]
        before = os.getgroups()
        os.setgroups([gid, *groups])
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(before)

    def connect(self, user="root", keep=False):
        client = Client(self, user)
        if not keep:
            self.clients.append(client)
        return client

    @staticmethod
    def as_user(argv, user):
        if user == "root":
            return list(argv)
        uid, gid, groups = USERS[user]
        extra = ["--groups", ",".join(map(str, [gid, *groups]))]
        return ["setpriv", "--reuid", str(uid), "--regid", str(gid), *extra, "--", *argv]

    def environment(self, **extra):
        keep = {key: value for key, value in os.environ.items() if key.startswith(("ASAN_", "UBSAN_", "LSAN_"))}
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/",
                "TERM": "dumb", "G_DEBUG": "fatal-criticals", **keep, **extra}

    def spawn(self, argv, user="root", log=None, environment=None, **how):
        """Starts a program that goes on; ended with the test bed."""
        output = open(self.path(log), "a") if log else subprocess.DEVNULL
        try:
            return subprocess.Popen(self.as_user(argv, user), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                    cwd="/", env=self.environment(**(environment or {})), **how)
        finally:
            if log:
                output.close()

    def background(self, argv, user="root", **how):
        """spawn(), ended with the test."""
        process = self.spawn(argv, user, **how)
        self.processes.append(process)
        return process

    def run(self, argv, user="root", check=True, deadline=60, **how):
        """Runs to the end -> CompletedProcess with text in stdout and stderr."""
        result = subprocess.run(self.as_user(argv, user), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=deadline, cwd="/", env=self.environment(), check=False, **how)
        if check and result.returncode != 0:
            raise AssertionError(f"{argv} failed ({result.returncode}): {result.stdout}{result.stderr}")
        return result

    def virtdisk(self, *arguments, **how):
        """The command-line tool."""
        found = program(self.build, "virtdisk")
        if not found:
            raise unittest.SkipTest("the command virtdisk is not in the build tree")
        return self.run([found, *arguments], **how)

    def terminal(self, argv, user="root", **how):
        terminal = Terminal(self, argv, user, **how)
        self.processes.append(terminal.process)
        return terminal

    def text_agent(self):
        """polkit's own agent on a terminal, for all clients of this process: a real dialog, with a real password."""
        registered, writer = os.pipe()
        terminal = self.terminal(["pkttyagent", "--process", str(os.getpid()), "--notify-fd", str(writer)],
                                 pass_fds=[writer])
        os.close(writer)
        readable, _, _ = select.select([registered], [], [], START_DEADLINE)
        os.close(registered)
        if not readable:
            raise Expired(f"pkttyagent did not register: {terminal.output!r}")
        return terminal

    # -- waiting

    def _watch_machine(self):
        """Whatever happens to mounts, devices or objects on the bus wakes wait()."""
        def note(*_):
            self._events += 1
            return True

        mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._undo.callback(os.close, mounts)
        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, mounts, GLib.IOCondition.PRI | GLib.IOCondition.ERR, note)
        uevents = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 15)
        uevents.bind((0, 3))  # what the kernel says (1) and what udevd says (2)
        self._undo.callback(uevents.close)

        def drain(fd, *_):
            with contextlib.suppress(OSError):
                while True:
                    uevents.recv(65536)
            return note()

        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, uevents.fileno(), GLib.IOCondition.IN, drain)
        self.root.connection.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, note)
        self._monitors = []
        for path in (RUNDIR, RUNDIR + "/disks", RUNDIR + "/udev"):
            monitor = Gio.File.new_for_path(path).monitor(Gio.FileMonitorFlags.NONE, None)
            monitor.connect("changed", note)
            self._monitors.append(monitor)

    def wait(self, predicate, what, deadline=EVENT_DEADLINE):
        """Looks again after each event (bus, mounts, uevents, files in /run/virtdisk) until predicate holds."""
        expired = []
        timer = GLib.timeout_add(int(deadline * 1000), lambda: expired.append(True) or True)
        try:
            while True:
                value = predicate()
                if value:
                    return value
                if expired:
                    raise Expired(f"{what}: not within {deadline} s")
                self._context.iteration(True)
        finally:
            GLib.source_remove(timer)

    def wait_name(self, name, present=True, process=None, deadline=START_DEADLINE):
        """Waits until name has (or has no) owner; an end of process meanwhile is told at once."""
        state = {}
        watch = Gio.bus_watch_name_on_connection(
            self.root.connection, name, Gio.BusNameWatcherFlags.NONE,
            lambda *_: state.update(owned=True), lambda *_: state.update(owned=False))
        child = None
        if process is not None:
            pidfd = os.pidfd_open(process.pid)
            child = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, pidfd, GLib.IOCondition.IN,
                                          lambda *_: state.update(ended=True) or True)
        try:
            self.wait(lambda: state.get("owned") == present or state.get("ended"),
                      f"{name} to {'appear on' if present else 'leave'} the bus", deadline)
        finally:
            Gio.bus_unwatch_name(watch)
            if child is not None:
                GLib.source_remove(child)
                os.close(pidfd)
        if state.get("ended") and not state.get("owned"):
            raise Expired(f"the program that was to own {name} ended with {process.wait()}")

    @contextlib.contextmanager
    def signals(self, interface=None, member=None, path=None):
        """with bed.signals(DISK) as seen: ...; seen grows by (path, interface, member, arguments)."""
        seen = []
        subscription = self.root.connection.signal_subscribe(
            NAME, interface, member, path, None, Gio.DBusSignalFlags.NONE,
            lambda _c, _s, where, what, name, arguments: seen.append((where, what, name, arguments.unpack())))
        self.root.call("/", "org.freedesktop.DBus.Peer", "Ping") if self.daemon else None
        try:
            yield seen
        finally:
            self.root.connection.signal_unsubscribe(subscription)

    # -- mounts and leaks

    def mount(self, device, name="mnt", opts=None, fs=None):
        """Mounts (in our namespace, which is the service's too) -> the mount point."""
        point = self.path(name)
        os.makedirs(point, exist_ok=True)
        subprocess.run(["mount", *(["-t", fs] if fs else []), *(["-o", opts] if opts else []), device, point], check=True)
        return point

    def unmount(self, point):
        subprocess.run(["umount", point], check=True)

    def snapshot(self):
        """What a test could leak: loop devices over our files, mounts, processes, files in /run/virtdisk and state."""
        return {"loop devices": loops(self.dir), "mounts": mounts(), "processes": processes(),
                "files": files(RUNDIR) + files(os.path.join(self.statedir, "boot"))}

    def daemon_fds(self):
        """Targets of the service's descriptors, sorted: for comparing before and after."""
        directory = f"/proc/{self.daemon.pid}/fd"
        targets = []
        for name in os.listdir(directory):
            with contextlib.suppress(OSError):
                targets.append(os.readlink(f"{directory}/{name}").split(":")[0])
        return sorted(targets)

    def clean(self):
        """Undoes by force whatever a failed test left, so that the next one starts in the same world."""
        for process in self.processes:
            end_process(process, signal.SIGKILL)
        for point in reversed([point for point in mounts() if point.startswith(self.dir + "/")]):
            subprocess.run(["umount", "-l", point], check=False)
        for name, _ in loops(self.dir):
            subprocess.run(["losetup", "-d", f"/dev/{name}"], check=False)
        for pid, command in processes():
            if command.startswith("virtdisk-"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._detach_served()
        for directory in (RUNDIR, self.statedir):
            shutil.rmtree(directory, ignore_errors=True)
        self.processes.clear()
