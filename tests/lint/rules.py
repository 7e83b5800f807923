# SPDX-License-Identifier: LGPL-2.1-or-later
"""
The house rules that a program can check. Each rule takes files as (path within the tree, text) and yields problems as
"path:line: what". test_tree.py holds the tree to them, test_rules.py holds them to samples they must pass and reject.
"""
import os
import re
import xml.etree.ElementTree as ElementTree

FUNCTION_CEILING = 100  # lines; FUNCTION_LONG needs a reason
FUNCTION_LONG = 50
FILE_CEILING = 800

# Who may include whom: arrows go down only. "core" is daemon/*.[ch], "main" those of them that put the parts together.
MAIN = {"daemon/main.c", "daemon/boot-attach.c", "daemon/boot-attach.h"}
MAY_INCLUDE = {
    "main": {"core", "bus", "auth", "attach", "store", "worker", "util", "protocol"},
    "bus": {"core", "auth", "jobs", "util", "protocol", "facts"},
    "core": {"attach", "jobs", "store", "worker", "util", "protocol"},
    "auth": {"util", "protocol"},
    "jobs": {"store", "util", "protocol"},
    "attach": {"util", "protocol", "worker"},
    "store": {"util", "protocol", "facts"},
    "worker": {"util", "protocol", "facts"},
    "worker-program": {"formats", "engine", "worker", "util", "protocol", "facts"},
    "engine": {"formats", "util-leaf", "protocol", "facts"},
    "formats": {"util-leaf", "protocol", "facts"},
    "util": {"protocol"},
    "cli": {"library", "protocol"},
    "desktop": {"library", "protocol"},
    "mount": {"library", "protocol"},
    "lib": {"library", "protocol"},
    "win32": {"library", "protocol"},
    "protocol": set(),
}
# Headers that are one thing on their own: facts is a plain struct, leaves need nothing but libc and GLib's types.
# The error of a parser is a plain struct that crosses the same socket as the facts.
SPECIAL = {"worker/facts.h": "facts", "formats/error.h": "facts", "formats/create.h": "facts",
           "formats/fault.h": "facts", "worker/serve-protocol.h": "facts", "util/checked.h": "util-leaf",
           "util/cleanup.h": "util-leaf"}
# Files of worker/ that are linked into the worker only, beside formats/.
WORKER_PROGRAM = re.compile(r"daemon/worker/(main|sandbox|serve[a-z-]*|task[a-z-]*)\.[ch]$")
# Each foreign thing has one place.
FOREIGN = [(re.compile(r"<polkit/"), {"daemon/auth/"}, "polkit belongs to auth/"),
           (re.compile(r"<polkitagent/"), {"client/cli/"}, "the polkit agent belongs to the command"),
           (re.compile(r"<(linux/loop|linux/ublk_cmd|libudev)\.h>"), {"daemon/attach/"}, "devices belong to attach/"),
           (re.compile(r"<blkid/"), {"daemon/formats/", "daemon/worker/"}, "libblkid reads images: the worker's"),
           (re.compile(r"<gio/"), {"daemon/", "client/"}, "GIO is for daemon and client"),
           (re.compile(r'"vd-dbus\.h"'), {"daemon/bus/", "client/lib/"}, "the bus is for bus/ and the library")]
FORMATS_ONLY_LIBC = re.compile(r"<(gio|glib|gobject|polkit|libudev|systemd)[/.]")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])')
SLEEP = re.compile(r"\b(g_usleep|usleep|nanosleep|clock_nanosleep|sleep_for|sleep_until|time\.sleep|(?<![.\w])sleep)\s*\(")
SHELL_SLEEP = re.compile(r"(^|[;&|(]|\bdo\b)\s*sleep\s+[0-9.$]")
GOTO = re.compile(r"\bgoto\b")
SPDX = "SPDX-License-Identifier: LGPL-2.1-or-later"


def group_of(path):
    if path in MAIN:
        return "main"
    if WORKER_PROGRAM.match(path):
        return "worker-program"
    if path.startswith("daemon/"):
        parts = path.split("/")
        return parts[1] if len(parts) > 2 else "core"
    for folder, name in (("client/cli/", "cli"), ("client/lib/", "lib"), ("client/win32/", "win32"),
                         ("client/desktop/", "desktop"), ("client/mount/", "mount"), ("client/", "protocol")):
        if path.startswith(folder):
            return name
    return None


def target_of(include, path):
    """The group of an included header, or None for what is not ours or is the folder's own."""
    if include in SPECIAL:
        return SPECIAL[include]
    if include in ("virtdisk.h", "private.h") and not path.startswith("daemon/"):
        return "library"
    if include in ("config.h", "vd-dbus.h"):
        return None
    if include in ("names.h", "virtdisk-enums.h", "virtdisk-error.h", "virtdisk.h"):
        return "protocol"
    folder, _, name = include.rpartition("/")
    if folder:
        return folder if folder in MAY_INCLUDE else None
    if path.startswith("daemon/") and not folder:
        return "core"
    return None


def includes(files):
    """Include directions, and the place of each foreign library."""
    for path, text in files:
        group = group_of(path)
        if group is None or not path.endswith((".c", ".h")):
            continue
        for number, line in enumerate(code_lines(text), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            name = match.group(1)
            for pattern, places, what in FOREIGN:
                if pattern.search(name) and not any(path.startswith(place) for place in places):
                    yield f"{path}:{number}: {name}: {what}"
            if group in ("formats", "engine") and FORMATS_ONLY_LIBC.match(name):
                yield f"{path}:{number}: {name}: {group}/ includes libc and leaves of util/ only"
            if name.startswith('"'):
                target = target_of(name[1:-1], path)
                allowed = MAY_INCLUDE[group] | {group, "worker" if group == "worker-program" else group}
                if "util" in allowed:
                    allowed |= {"util-leaf"}
                if "worker" in allowed:
                    allowed |= {"facts"}
                if target is not None and target not in allowed:
                    yield f"{path}:{number}: {group} may not include {target} ({name})"


def code_lines(text):
    """Lines with comments and the contents of strings blanked (but of #include), so that words in them do not count."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    lines = []
    for line in text.split("\n"):
        if not line.lstrip().startswith("#"):
            line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
            line = re.sub(r"//.*", "", line)
        lines.append(line)
    return lines


def words(files):
    """No sleeping: wait for the event. No goto: cleanup attributes own the undo."""
    for path, text in files:
        if path.startswith("tests/lint/"):
            continue
        if path.endswith((".c", ".h", ".cc")):
            for number, line in enumerate(code_lines(text), 1):
                if SLEEP.search(line):
                    yield f"{path}:{number}: sleeps; wait for the event, with a deadline"
                if GOTO.search(line):
                    yield f"{path}:{number}: goto; use a cleanup attribute"
        elif path.endswith(".py"):
            for number, line in enumerate(text.split("\n"), 1):
                if SLEEP.search(line.split("#")[0]):
                    yield f"{path}:{number}: sleeps; wait for the event, with a deadline"
        elif path.endswith(".sh") or text.startswith("#!/usr/bin/env bash"):
            for number, line in enumerate(text.split("\n"), 1):
                if SHELL_SLEEP.search(line.split("#")[0]):
                    yield f"{path}:{number}: sleeps; wait for the event, with a deadline"


def functions(text):
    """(name, first line, lines of the body) of a file laid out by clang-format: the body's braces stand in column 0."""
    lines = text.split("\n")
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = next((lines[i] for i in range(start - 1, max(start - 12, -1), -1) if re.match(r"\w.*\(", lines[i])), "?")
            match = re.search(r"(\w+)\s*\(", head)
            yield (match.group(1) if match else head, start + 1, number - start - 1)
            start = None


def sizes(files):
    """Ceilings of functions and files."""
    for path, text in files:
        if not path.endswith((".c", ".h", ".cc", ".py")):
            continue
        count = text.count("\n")
        if count > FILE_CEILING:
            yield f"{path}:1: {count} lines; above {FILE_CEILING} there are two ideas in it"
        if path.endswith(".c"):
            for name, line, length in functions(text):
                if length > FUNCTION_CEILING:
                    yield f"{path}:{line}: {name}() has {length} lines, more than {FUNCTION_CEILING}"


def long_functions(files):
    """For the report: functions that need a reason."""
    return sorted(((length, name, path) for path, text in files if path.endswith(".c")
                   for name, _, length in functions(text) if length > FUNCTION_LONG), reverse=True)


def licence(files):
    for path, text in files:
        program = text.startswith("#!")
        if path.endswith((".c", ".h", ".cc", ".py", ".sh", ".xml", ".map", "meson.build")) or program:
            if SPDX not in "\n".join(text.split("\n")[:3]):
                yield f"{path}:1: lacks '{SPDX}'"


def interfaces(files):
    """No property can be written (Set passes by the authorization), every method ends in options."""
    for path, text in files:
        if not re.search(r"data/dbus/.*\.xml$", path):
            continue
        for interface in ElementTree.fromstring(text).iter("interface"):
            for item in interface.iter("property"):
                if item.get("access") != "read":
                    yield f"{path}:1: {interface.get('name')}.{item.get('name')} can be written"
            for method in interface.iter("method"):
                arguments = [a for a in method.iter("arg") if a.get("direction") == "in"]
                last = arguments[-1] if arguments else None
                if last is None or (last.get("name"), last.get("type")) != ("options", "a{sv}"):
                    yield f"{path}:1: {interface.get('name')}.{method.get('name')} does not end in options a{{sv}}"


def bus_policy(files):
    """Only root owns the name; every allow says for whom it is."""
    for path, text in files:
        if not re.search(r"data/dbus/.*\.conf$", path):
            continue
        for policy in ElementTree.fromstring(text).iter("policy"):
            for allow in policy.iter("allow"):
                given = set(allow.attrib)
                if given & {"own", "own_prefix"}:
                    if policy.get("user") != "root" or "own_prefix" in given:
                        yield f"{path}:1: somebody else than root may own {allow.attrib}"
                elif "send_destination" not in given:
                    yield f"{path}:1: allow without send_destination: {allow.attrib}"


# What would give the service a mount namespace of its own; see data/systemd/hardening.conf.
MOUNT_NAMESPACE = re.compile(
    r"^(ProtectSystem|ProtectHome|PrivateTmp|PrivateDevices|ProtectProc|ProcSubset|ProtectKernel\w+|ProtectControlGroups|"
    r"PrivateIPC|PrivatePIDs|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec|Bind|BindReadOnly)Paths|TemporaryFileSystem|"
    r"RootDirectory|RootImage|MountImages|MountAPIVFS|DynamicUser|LogNamespace)=(?!no\b)", re.M)


def units(files):
    """The service sees the mounts that its callers see; children survive it; it may use openat2."""
    for path, text in files:
        if not re.search(r"data/systemd/.*\.service$", path):
            continue
        for match in MOUNT_NAMESPACE.finditer(text):
            yield f"{path}:1: {match.group()} makes a mount namespace"
        if re.search(r"^PrivateNetwork=yes", text, re.M) and not re.search(r"^PrivateMounts=no", text, re.M):
            yield f"{path}:1: PrivateNetwork= implies PrivateMounts=yes in newer systemd, unless PrivateMounts=no"
        if re.search(r"^RestrictSUIDSGID=yes", text, re.M):
            yield f"{path}:1: RestrictSUIDSGID= takes openat2() away"
        if not re.search(r"^KillMode=process", text, re.M):
            yield f"{path}:1: without KillMode=process a stop ends more than the service"


RULES = [includes, words, sizes, licence, interfaces, bus_policy, units]


# Symbols: the linker proves who looks at bytes.
WORKER_FORBIDDEN = re.compile(r"^(polkit_|g_dbus_|g_bus_|udev_|sd_bus_)")


def parser_symbols(service, parsers):
    """service: symbols defined in virtdiskd; parsers: those that formats/ defines."""
    for name in sorted(set(service) & set(parsers)):
        yield f"virtdiskd contains {name} of formats/"


def worker_symbols(undefined):
    for name in sorted(set(undefined)):
        if WORKER_FORBIDDEN.match(name):
            yield f"virtdisk-worker uses {name}"


def tree(top):
    """Every text file of the source tree as (path, text), by git where there is one."""
    for directory, directories, names in os.walk(top):
        directories[:] = sorted(d for d in directories if d not in (".git", "__pycache__", "samples")
                                and not re.match(r"_?build", d))
        for name in sorted(names):
            path = os.path.join(directory, name)
            try:
                with open(path) as file:
                    yield os.path.relpath(path, top), file.read()
            except (UnicodeDecodeError, OSError):
                continue
