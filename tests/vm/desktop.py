# SPDX-License-Identifier: LGPL-2.1-or-later
"""
For tests with "# image: desktop": users in login sessions at the console, each with an X server that nobody sees, a window
manager, and file managers in them; what is typed and clicked, what is seen, and pictures of it in $VM_KEEP.

Nothing waits for a time: until() waits for what shall be, with a deadline that only a broken program reaches.
"""
import collections
import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import shlex
import subprocess
import sys
import time

KEEP = os.environ.get("VM_KEEP", ".")
DEADLINE = 120  # seconds; everything in the guest is emulated
VT_ACTIVATE, VT_WAITACTIVE = 0x5606, 0x5607  # linux/vt.h
SIZE = "800x600"
SESSION = r"""
export XDG_CURRENT_DESKTOP=XFCE XDG_MENU_PREFIX=xfce- GSK_RENDERER=cairo GIO_USE_VFS=gvfs GTK_A11Y=atspi XDG_CONFIG_HOME=$HOME/.config
exec >$HOME/session.log 2>&1
Xvfb "$DISPLAY" -screen 0 %sx24 -nolisten tcp -noreset &
server=$!
until xset q >/dev/null 2>&1; do kill -0 $server || exit 1; sleep 0.2; done
xsetroot -solid '#3b5268'
dbus-update-activation-environment --systemd DISPLAY XDG_CURRENT_DESKTOP XDG_SESSION_TYPE XDG_SESSION_ID GSK_RENDERER
openbox &
lxpolkit &
dunst &
: >$HOME/session.ready
wait $server
""" % SIZE


class Failed(Exception):
    """What was not so."""


def say(text):
    print(text, flush=True)


def run(*argv, check=True, **more):
    """-> CompletedProcess, with its output as text."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, **more)
    if check and done.returncode != 0:
        raise Failed(f"{shlex.join(argv)}: {done.returncode}: {done.stdout}")
    return done


def output(*argv, **more):
    return run(*argv, **more).stdout.strip()


def until(what, predicate, deadline=DEADLINE):
    """The first true answer. Looks again when a mount changes, and else five times a second or less if looking takes long."""
    end = time.monotonic() + deadline
    with open("/proc/self/mountinfo") as table:
        changes = select.poll()
        changes.register(table, select.POLLPRI)
        while True:
            began = time.monotonic()
            found = predicate()
            if found:
                return found
            if time.monotonic() > end:
                raise Failed(f"not within {deadline} s: {what}")
            changes.poll(1000 * max(0.2, (time.monotonic() - began) / 2))


def same(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r}, not {wanted!r}")


Mount = collections.namedtuple("Mount", "device point kind options")


def mounts():
    """All that block devices have on them, as it is mounted here."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            kind, device, options = after.split()[:3]
            if device.startswith("/dev/"):
                fields = before.split()
                found.append(Mount(device, fields[4].replace("\\040", " "), kind, set(fields[5].split(",") + options.split(","))))
    return found


def attached():
    """{image: device} of what the service has attached, as root sees it."""
    return {entry["path"]: entry["device"] for entry in json.loads(output("virtdisk", "list", "--json"))}


class Desktop:
    """A user in a session of class user at a virtual terminal of seat0; in the foreground when it is made."""

    def __init__(self, name, vt):
        self.name, self.vt, self.display, self.unit = name, vt, f":{vt}", f"desktop-{name}.service"
        if run("id", name, check=False).returncode != 0:
            run("useradd", "--create-home", "--shell", "/bin/bash", name)
        self.uid, self.home = pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_dir
        self.bus = f"unix:path=/run/user/{self.uid}/bus"

    # -- the session

    def log_in(self):
        ready = os.path.join(self.home, "session.ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.foreground()
        run("systemd-run", "--quiet", f"--unit={self.unit}", f"--uid={self.name}", f"--working-directory={self.home}",
            "--property=PAMName=login", f"--property=TTYPath=/dev/tty{self.vt}", "--property=StandardInput=null",
            "--property=UtmpIdentifier=" + str(self.vt), "--collect",
            *(f"--setenv={key}={value}" for key, value in {
                "HOME": self.home, "DISPLAY": self.display, "XDG_SEAT": "seat0", "XDG_VTNR": self.vt, "XDG_SESSION_TYPE": "x11",
                "XDG_SESSION_CLASS": "user", "XDG_SESSION_DESKTOP": "xfce", "LC_ALL": "C.UTF-8"}.items()),
            "/bin/sh", "-c", SESSION)
        until(f"the session of {self.name} is ready", lambda: os.path.exists(ready) or self.ended())
        if self.ended():
            with open(os.path.join(self.home, "session.log")) as file:
                raise Failed(f"the session of {self.name} ended: {file.read()}")
        say(f"{self.name}: session {self.session()}, " + ", ".join(
            output("loginctl", "show-session", self.session(), "-p", "Class", "-p", "Active", "-p", "Seat", "-p", "Type").split()))

    def ended(self):
        return output("systemctl", "show", "-P", "ActiveState", self.unit) not in ("active", "activating")

    def session(self):
        """The id of the session at this terminal, or ""."""
        for line in output("loginctl", "list-sessions", "--no-legend").splitlines():
            fields = line.split()
            if fields[2] == self.name and output("loginctl", "show-session", fields[0], "-p", "VTNr", "--value") == str(self.vt):
                return fields[0]
        return ""

    def foreground(self):
        with open("/dev/tty0", "rb", buffering=0) as terminal:
            fcntl.ioctl(terminal, VT_ACTIVATE, self.vt)
            fcntl.ioctl(terminal, VT_WAITACTIVE, self.vt)

    def log_out(self):
        run("loginctl", "terminate-session", self.session())
        self.wait_gone()

    def crash(self):
        """The X server is killed, and with it goes all that shows something."""
        run("pkill", "--signal", "KILL", "--uid", self.name, "--exact", "Xvfb")
        self.wait_gone()

    def wait_gone(self):
        until(f"the session of {self.name} is over", lambda: self.ended() and not self.session())

    # -- programs in it

    def environment(self):
        return [f"{key}={value}" for key, value in {
            "HOME": self.home, "DISPLAY": self.display, "XDG_RUNTIME_DIR": f"/run/user/{self.uid}", "LC_ALL": "C.UTF-8",
            "DBUS_SESSION_BUS_ADDRESS": self.bus, "XDG_CURRENT_DESKTOP": "XFCE", "GSK_RENDERER": "cairo", "GIO_USE_VFS": "gvfs",
            "PATH": "/usr/local/bin:/usr/bin:/bin"}.items()]

    def run(self, *argv, check=False):
        """Runs a program as that user, outside of the session but with all it needs to find it -> CompletedProcess."""
        return run("setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", "--reset-env", "env", "-C", self.home,
                   *self.environment(), *argv, check=check)

    def do(self, *argv, check=True):
        """The same -> its output."""
        return self.run(*argv, check=check).stdout.strip()

    def start(self, *argv):
        """A program of the desktop, as a menu would start it: in the user's service manager."""
        self.do("systemd-run", "--user", "--quiet", "--collect", "--", *argv)

    @contextlib.contextmanager
    def showing(self, manager, folder):
        """A file manager with a window of that folder -> the window; it is gone afterwards."""
        self.start(manager, folder)
        try:
            yield self.window(os.path.basename(folder))
        finally:
            run("pkill", "--uid", self.name, "--exact", "--ignore-case", manager, check=False)
            until("no file manager is left", lambda: run("pgrep", "--uid", self.name, "--exact", "--ignore-case", manager,
                                                         check=False).returncode == 1)

    @contextlib.contextmanager
    def watch(self):
        """-> a function that tells the seconds that what was done within has taken."""
        began, ended = time.monotonic(), []
        yield lambda: round((ended[0] if ended else time.monotonic()) - began, 2)
        ended.append(time.monotonic())

    # -- what is seen and typed

    def windows(self, title):
        """The ids of the windows that can be seen and have this in their title."""
        return [int(line) for line in self.do("xdotool", "search", "--onlyvisible", "--name", title, check=False).split()
                if line.isdigit()]

    def window(self, title):
        found = until(f"{self.name} sees a window '{title}'", lambda: self.windows(title))
        self.do("xdotool", "windowactivate", str(found[-1]), check=False)
        return found[-1]

    def shoot(self, name):
        """A picture of the screen into $VM_KEEP."""
        path = os.path.join(KEEP, f"{name}.png")
        raw = os.path.join(self.home, "shot.png")
        self.do("import", "-silent", "-window", "root", "-colors", "64", "-depth", "8", raw)
        os.replace(raw, path) if os.stat(raw).st_dev == os.stat(KEEP).st_dev else run("mv", raw, path)
        say(f"picture: {name}.png")

    def region(self, window):
        """x, y, width and height of a window."""
        text = self.do("xdotool", "getwindowgeometry", "--shell", str(window))
        found = dict(line.split("=") for line in text.splitlines() if "=" in line)
        return tuple(int(found[key]) for key in ("X", "Y", "WIDTH", "HEIGHT"))

    def pixels(self, window):
        x, y, width, height = self.region(window)
        path = os.path.join(self.home, "look.png")
        self.do("import", "-silent", "-window", "root", "-crop", f"{width}x{height - 60}+{x}+{y}", "+repage", path)
        return path

    def find_selected(self, window):
        """Where the only icon in a file manager's window is: what changes when all is selected -> (x, y) on the screen."""
        x, y, _, _ = self.region(window)
        self.do("xdotool", "key", "--window", str(window), "Escape")
        before = self.pixels(window)
        self.do("mv", before, before + ".old.png")

        def look():
            self.do("xdotool", "windowactivate", str(window), "key", "ctrl+a", check=False)
            box = self.do("convert", before + ".old.png", self.pixels(window), "-compose", "difference", "-composite", "-colorspace",
                          "gray", "-threshold", "8%", "-trim", "-format", "%w %h %X %Y", "info:", check=False)
            match = re.fullmatch(r"(\d+) (\d+) \+(\d+) \+(\d+)", box.splitlines()[-1] if box else "")
            return tuple(int(part) for part in match.groups()) if match and int(match.group(1)) > 8 else None

        width, height, left, top = until("an icon is selected", look)
        say(f"icon: {width}x{height} at {left},{top}")
        return x + left + width // 2, y + top + height // 3

    def double_click(self, place):
        x, y = place
        self.do("xdotool", "mousemove", str(x), str(y), "click", "--repeat", "2", "--delay", "60", "1")

    def report(self):
        """What a failure shows."""
        self.shoot(f"failed-{self.name}")
        for name in ("session.log", ".xsession-errors"):
            path = os.path.join(self.home, name)
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    say(f"-- {path}\n{file.read()[-4000:]}")


class Images:
    """Images that belong to a user, each in a folder of its own."""

    def __init__(self, user):
        self.user = user

    def make(self, name, contents):
        """contents: {label: type of file system}; each gets a file hello.txt -> the folder. What is there already stays."""
        folder = os.path.join(self.user.home, name.replace(".", "-"))
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return folder
        os.makedirs(folder)
        if list(contents.values()) == ["iso9660"]:
            self.iso(path, *contents)
        elif name.endswith(".iso"):
            self.udf(path, *contents)
        else:
            self.disk(path, contents)
        run("chown", "-R", self.user.name, folder)
        return folder

    @staticmethod
    def fill(device):
        os.makedirs("point", exist_ok=True)
        run("mount", device, "point")
        with open("point/hello.txt", "w") as file:
            file.write("hello from the image\n")
        run("chmod", "a+rx", "point", check=False)
        run("umount", "point")

    @staticmethod
    def iso(path, label):
        os.makedirs("tree", exist_ok=True)
        with open("tree/hello.txt", "w") as file:
            file.write("hello from the image\n")
        run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", label, "-o", path, "tree")

    def udf(self, path, label):
        run("truncate", "--size=16M", path)
        run("mkudffs", "--blocksize=2048", "--media-type=hd", f"--label={label}", path)
        self.fill_loop(path)

    def fill_loop(self, path):
        device = output("losetup", "--find", "--show", path)
        try:
            self.fill(device)
        finally:
            run("losetup", "--detach", device)

    def disk(self, path, contents):
        """With a partition for each."""
        makers = {"vfat": ("mkfs.vfat", "-n"), "ntfs3": ("mkfs.ntfs", "-Q", "-F", "-L"), "ext4": ("mkfs.ext4", "-q", "-F", "-L")}
        kinds = {"vfat": "c", "ntfs3": "7", "ext4": "83"}
        run("virtdisk", "create", "--size=256M", path)
        device = output("virtdisk", "attach", path)
        table = "".join(f"size={220 // len(contents)}MiB,type={kinds[kind]}\n" for kind in contents.values())
        with subprocess.Popen(["sfdisk", "-q", device], stdin=subprocess.PIPE, text=True) as sfdisk:
            sfdisk.communicate(f"label: dos\n{table}")
        for number, (label, kind) in enumerate(contents.items(), 1):
            until(f"partition {number} is there", lambda part=f"{device}p{number}": os.path.exists(part))
            run("udevadm", "settle")
            run(*makers[kind], label, f"{device}p{number}")
            self.fill(f"{device}p{number}")
        run("virtdisk", "detach", path)


def prepare():
    """What packages do when they are installed."""
    # The indexer of a GNOME desktop would keep an emulated machine busy for minutes.
    run("systemctl", "--global", "--quiet", "mask", "tracker-miner-fs-3.service", "tracker-extract-3.service")
    run("update-mime-database", "/usr/share/mime")
    run("update-desktop-database", "/usr/share/applications")


def main(test, *desktops):
    """Runs test(); shows what can be seen if it fails."""
    try:
        test()
    except Failed as error:
        say(f"failed: {error}")
        say(output("virtdisk", "list", check=False))
        say(str(mounts()))
        for desktop in desktops:
            try:
                desktop.report()
            except (Failed, OSError) as problem:
                say(str(problem))
        sys.exit(1)
