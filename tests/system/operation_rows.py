# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of test_failures.py for what is done to an image through a handle: SetVirtualDiskInformation, the operations that
are jobs, user metadata, and change tracking (1.10 to 1.19)."""
import os

from gi.repository import GLib
from testbed import HANDLE, USERS
from world import ALL, READ

MIB = 1 << 20
GET_INFO, METAOPS = 0x80000, 0x200000
NO_PARENTS = 1
GUID, NULL_GUID = "01234567-89ab-cdef-0123-456789abcdef", "00000000-0000-0000-0000-000000000000"
MAX = 0xFFFFFFFF

JOB_OPTIONS = ["job", "async", "detach-job"]
# method: (signature up to the options, arguments before them, options)
METHODS = {
    "CompactVirtualDisk": ("u", lambda t: (0,), ["version", "reserved", "file-systems", *JOB_OPTIONS]),
    "ExpandVirtualDisk": ("ut", lambda t: (0, 128 * MIB), ["version", *JOB_OPTIONS]),
    "ResizeVirtualDisk": ("ut", lambda t: (0, 128 * MIB), ["version", *JOB_OPTIONS]),
    "MergeVirtualDisk": ("u", lambda t: (0,), ["version", "merge-depth", "merge-source-depth", "merge-target-depth",
                                               *JOB_OPTIONS]),
    "MirrorVirtualDisk": ("usu", lambda t: (1, t.path("mirror.vhdx"), 0), JOB_OPTIONS),
    "BreakMirrorVirtualDisk": ("u", lambda t: (0,), []),
    "SetVirtualDiskInformation": ("ua{sv}", lambda t: (2, {"UniqueIdentifier": GLib.Variant("s", GUID)}), []),
    "EnumerateVirtualDiskMetadata": ("", lambda t: (), []),
    "GetVirtualDiskMetadata": ("s", lambda t: (GUID,), []),
    "SetVirtualDiskMetadata": ("say", lambda t: (GUID, b"data"), []),
    "DeleteVirtualDiskMetadata": ("s", lambda t: (GUID,), []),
    "GetVirtualDiskOperationProgress": ("", lambda t: (), []),
    "QueryChangesVirtualDisk": ("sttu", lambda t: ("rctX:", 0, 0, 0), ["range-count"]),
}


def each(values, call, label=hex):
    return {label(value): (lambda t, value=value: call(t, value)) for value in values}


def made(t, name="d.vhdx", size=64 * MIB, parent=None, **options):
    path = t.path(name)
    if not os.path.exists(path):
        if parent:
            size, options["parent_path"] = 0, made(t, parent)
        t.root.close_handle(t.root.create(path, size, **options))
    return path


def opened(t, name="d.vhdx", mask=None, flags=0, size=64 * MIB, parent=None, **options):
    """A handle of version 2, or 1 with a mask."""
    if mask is None:
        options.setdefault("version", 2)
    return t.root.open(made(t, name, size, parent), mask or 0, flags, **options)


def child(t, mask=None, flags=0, **options):
    return opened(t, "c.vhdx", mask, flags, parent="d.vhdx", **options)


def attached(t):
    handle = t.handle("a.vhd", ALL)
    t.root.attach(handle)
    return handle


def reparented(path, **options):
    """A child that is given another parent."""
    return lambda t: t.root.set_info(child(t, **options), 1, ParentFilePath=path(t))


def own_folder(t):
    """Two images of the unprivileged user's, and one that it may not read."""
    folder = t.path("own")
    os.mkdir(folder)
    os.chown(folder, *USERS["vd-first"][:2])
    t.user.close_handle(t.user.create(f"{folder}/p.vhdx", 64 * MIB))
    t.user.close_handle(t.user.create(f"{folder}/c.vhdx", 0, parent_path=f"{folder}/p.vhdx"))
    os.chmod(made(t, "d.vhdx"), 0o600)
    return t.user.open(f"{folder}/c.vhdx", METAOPS)


def cycle(t):
    return t.root.set_info(child(t), 1, ParentFilePath=t.path("c.vhdx"))


def cycle_of_two(t):
    made(t, "c.vhdx", parent="d.vhdx")
    t.root.close_handle(t.root.create(t.path("g.vhdx"), 0, parent_path=t.path("c.vhdx")))
    t.root.set_info(t.root.open(t.path("c.vhdx"), METAOPS, NO_PARENTS), 1, ParentFilePath=t.path("g.vhdx"))


def metadata(t, method, *arguments, handle=None):
    signature = METHODS[method][0]
    return t.root.call(handle or opened(t), HANDLE, method, f"({signature}a{{sv}})", *arguments, {})


def mirror(t, handle, path=None, flags=0, version=1):
    path = t.path("mirror.vhdx") if path is None else path
    return t.root.operate(handle, "MirrorVirtualDisk", "usu", version, path, flags)


def break_mirror(t, handle, flags=0):
    return t.root.operate(handle, "BreakMirrorVirtualDisk", "u", flags)


def changes(t, point="rctX:", offset=0, length=0, flags=0, handle=None, **opts):
    return t.root.operate(handle or opened(t), "QueryChangesVirtualDisk", "sttu", point, offset, length, flags, **opts)


STATE, TYPE = ("VhdInvalidState", 0xC03A001C), ("VhdInvalidType", 0xC03A001B)
PARAMETER, DENIED = ("InvalidParameter", 87), ("AccessDenied", 5)
OPERATIONS = {
    "compact": lambda t, handle: t.root.compact(handle),
    "expand": lambda t, handle: t.root.expand(handle, 128 * MIB),
    "set-info": lambda t, handle: t.root.set_info(handle, 2, UniqueIdentifier=GUID),
}

SECTIONS = {
    "1.10": (
        ("version that is none", *PARAMETER, each([0, 8, MAX], lambda t, v: t.root.set_info(opened(t), v))),
        ("member that is missing", *PARAMETER,
         each([1, 2, 3, 4, 5, 6, 7], lambda t, v: t.root.set_info(opened(t), v), str)),
        ("member of another version", *PARAMETER,
         lambda t: t.root.set_info(opened(t), 2, UniqueIdentifier=GUID, VirtualDiskId=GUID)),
        ("member of another type", *PARAMETER, lambda t: t.root.set_info(opened(t), 2, UniqueIdentifier=1)),
        ("GUIDs that are none", *PARAMETER,
         {"2": lambda t: t.root.set_info(opened(t), 2, UniqueIdentifier="{" + GUID + "}"),
          "5": lambda t: t.root.set_info(opened(t), 5, VirtualDiskId="x"),
          "null": lambda t: t.root.set_info(opened(t), 2, UniqueIdentifier=NULL_GUID)}),
        ("change tracking as it is", "CtlogInvalidTrackingState", 0xC03A0023,
         lambda t: t.root.set_info(opened(t), 6, ChangeTrackingEnabled=False)),
        ("a point of tracking that is turned off", *PARAMETER,
         lambda t: t.root.set_info(opened(t), 6, ChangeTrackingEnabled=False, SealPoint=True)),
        ("somebody else's handle", "InvalidHandle", 6,
         lambda t: t.root.set_info(t.others("a.vhd", ALL), 2, UniqueIdentifier=GUID)),
        ("handle that was closed", "InvalidHandle", 6,
         lambda t: t.root.set_info(t.closed("a.vhd"), 2, UniqueIdentifier=GUID)),
        ("handle for reading", *DENIED,
         {name: (lambda t, call=call: call(t, opened(t, read_only=True))) for name, call in OPERATIONS.items()}),
        ("handle without METAOPS", *DENIED,
         {name: (lambda t, call=call: call(t, opened(t, mask=ALL & ~METAOPS))) for name, call in OPERATIONS.items()}),
        ("GetInfoOnly handle", *DENIED,
         {name: (lambda t, call=call: call(t, opened(t, get_info_only=True))) for name, call in OPERATIONS.items()}),
        ("while attached", *STATE, lambda t: t.root.set_info(attached(t), 2, UniqueIdentifier=GUID)),
        ("what only a VHDX has", *TYPE,
         {"4": lambda t: t.root.set_info(t.handle("a.vhd", ALL), 4, VhdPhysicalSectorSize=512),
          "5": lambda t: t.root.set_info(t.handle("a.vhd", ALL), 5, VirtualDiskId=GUID),
          "2": lambda t: t.root.set_info(t.handle("a.img", ALL), 2, UniqueIdentifier=GUID)}),
        ("sector size that no disk has", *PARAMETER,
         each([0, 511, 1024, 8192], lambda t, size: t.root.set_info(opened(t), 4, VhdPhysicalSectorSize=size), str)),
        ("parent of what has none", *TYPE,
         lambda t: t.root.set_info(opened(t), 1, ParentFilePath=made(t, "e.vhdx"))),
        ("parent: relative path", *PARAMETER, reparented(lambda t: "d.vhdx")),
        ("parent: no such file", "VhdParentVhdNotFound", 0xC03A000D,
         {"file": reparented(lambda t: t.path("missing.vhdx")), "folder": reparented(lambda t: t.path("no/p.vhdx"))}),
        ("parent: file that the caller may not read", "VhdParentVhdAccessDenied", 0xC03A0016,
         lambda t: t.user.set_info(own_folder(t), 1, ParentFilePath=t.path("d.vhdx"))),
        ("parent: of another size", "VhdChildParentSizeMismatch", 0xC03A0017,
         reparented(lambda t: made(t, "e.vhdx", 128 * MIB))),
        ("parent: no image", "VhdDifferencingChainErrorInParent", 0xC03A0019, reparented(lambda t: t.file("a.vhd"))),
        ("parent: itself, or its child", "VhdDifferencingChainCycleDetected", 0xC03A0018,
         {"itself": cycle, "child": cycle_of_two}),
        ("child at a depth that there is not", *PARAMETER,
         each([0, 3, MAX], lambda t, d: t.root.set_info(child(t), 3, ChildDepth=d, ParentFilePath=t.path("d.vhdx")))),
        ("child that the handle may not write to", *DENIED,
         lambda t: t.root.set_info(child(t), 3, ChildDepth=2, ParentFilePath=t.path("d.vhdx"))),
    ),
    "1.11": (
        ("unknown flags", *PARAMETER,
         each([*(1 << bit for bit in range(2, 32)), 7], lambda t, flags: t.root.compact(opened(t), flags))),
        ("version not 1, or reserved", *PARAMETER,
         {**each([0, 2, MAX], lambda t, version: t.root.compact(opened(t), version=version)),
          "reserved": lambda t: t.root.compact(opened(t), reserved=1)}),
        ("what has no blocks", *TYPE,
         each(["a.img", "a.vhd"], lambda t, name: t.root.compact(t.handle(name, ALL)), repr)),
        ("child without its parents", *PARAMETER, lambda t: t.root.compact(child(t, flags=NO_PARENTS))),
        ("while attached", *STATE, lambda t: (h := opened(t), t.root.attach(h), t.root.compact(h))),
    ),
    "1.12": (
        ("unknown flags", *PARAMETER,
         each([1 << bit for bit in range(1, 32)], lambda t, flags: t.root.expand(opened(t), 128 * MIB, flags))),
        ("while attached, and nobody to be told", *STATE, lambda t: (h := opened(t), t.root.attach(h),
                                                                     t.root.expand(h, 128 * MIB))),
        ("version not 1", *PARAMETER,
         each([0, 2, MAX], lambda t, version: t.root.expand(opened(t), 128 * MIB, version=version))),
        ("size that is no larger, or off its sectors", *PARAMETER,
         each([0, 512, 64 * MIB - 512, 64 * MIB, 64 * MIB + 1], lambda t, size: t.root.expand(opened(t), size), str)),
        ("size that the format cannot have", "VhdInvalidSize", 0xC03A0012,
         {"VHDX": lambda t: t.root.expand(opened(t), (64 << 40) + 512),
          "VHD": lambda t: t.root.expand(opened(t, "d.vhd"), (2040 << 30) + 512),
          "raw": lambda t: t.root.expand(t.handle("a.img", ALL), (1 << 62) + 512)}),
        ("differencing", *TYPE, lambda t: t.root.expand(child(t), 128 * MIB)),
    ),
    "1.13": (
        ("unknown flags", *PARAMETER,
         each([1 << bit for bit in range(2, 32)], lambda t, flags: t.root.resize(opened(t), 128 * MIB, flags))),
        ("handle of version 1", *PARAMETER, lambda t: t.root.resize(opened(t, mask=ALL), 128 * MIB)),
        ("a size beside the smallest", *PARAMETER, lambda t: t.root.resize(opened(t), 32 * MIB, 2)),
        ("a VHD that is to shrink", *TYPE,
         {"size": lambda t: t.root.resize(opened(t, "d.vhd"), 32 * MIB, 1),
          "smallest": lambda t: t.root.resize(opened(t, "d.vhd"), 0, 2)}),
        ("differencing", *TYPE, lambda t: t.root.resize(child(t), 128 * MIB)),
        ("no partition table", "VhdCouldNotComputeMinimumVirtualSize", 0xC03A0026,
         {"size": lambda t: t.root.resize(opened(t), 32 * MIB), "smallest": lambda t: t.root.resize(opened(t), 0, 2)}),
    ),
    "1.14": (
        ("flags", *PARAMETER, each([1, 1 << 31], lambda t, flags: t.root.merge(child(t), flags))),
        ("version not 1 or 2", *PARAMETER, each([0, 3, MAX], lambda t, version: t.root.merge(child(t), version=version))),
        ("depths of the other version", *PARAMETER,
         {"1": lambda t: t.root.merge(child(t), merge_source_depth=1),
          "2": lambda t: t.root.merge(child(t), version=2, merge_depth=1),
          "2, one of them": lambda t: t.root.merge(child(t), version=2, merge_target_depth=2)}),
        ("depths that there are not", *PARAMETER,
         {**each([0, 2, 127, MAX], lambda t, depth: t.root.merge(child(t, mask=ALL, rw_depth=128), merge_depth=depth)),
          "onto itself": lambda t: t.root.merge(child(t), version=2, merge_source_depth=1, merge_target_depth=1),
          "upward": lambda t: t.root.merge(child(t), version=2, merge_source_depth=2, merge_target_depth=1),
          "leaf is 1": lambda t: t.root.merge(child(t), version=2, merge_source_depth=0, merge_target_depth=1)}),
        ("rw-depth that is no larger", *DENIED, lambda t: t.root.merge(child(t, mask=ALL))),
        ("nothing to merge into", *TYPE, lambda t: t.root.merge(opened(t))),
        ("child without its parents", *PARAMETER, lambda t: t.root.merge(child(t, flags=NO_PARENTS))),
    ),
    "1.15": (
        ("version not 1", *PARAMETER, each([0, 2, MAX], lambda t, v: mirror(t, opened(t), version=v))),
        ("unknown flags", *PARAMETER, each([1 << bit for bit in range(4, 32)], lambda t, flags: mirror(t, opened(t), flags=flags))),
        ("flags that are not supported", "NotSupported", 50,
         each([2, 3], lambda t, flags: mirror(t, opened(t), flags=flags))),
        ("relative or empty path", *PARAMETER, each(["mirror.vhdx", ""], lambda t, path: mirror(t, opened(t), path), repr)),
        ("handle of version 1", *PARAMETER,
         {"mirror": lambda t: mirror(t, opened(t, mask=ALL)), "break": lambda t: break_mirror(t, opened(t, mask=ALL))}),
        ("handle for reading", *DENIED, lambda t: mirror(t, opened(t, read_only=True))),
        ("GetInfoOnly handle", *DENIED, lambda t: mirror(t, opened(t, get_info_only=True))),
        ("not attached", *STATE, lambda t: mirror(t, opened(t))),
        ("attached by way of loop", "NotSupported", 50,
         lambda t: (h := opened(t, "a.img"), t.root.attach(h), mirror(t, h))),
        ("break: flags", *PARAMETER, each([1, 1 << 31], lambda t, flags: break_mirror(t, opened(t), flags))),
        ("break: no mirror", *STATE,
         {"detached": lambda t: break_mirror(t, opened(t)),
          "attached": lambda t: (h := opened(t), t.root.attach(h), break_mirror(t, h))}),
        ("handle that was closed", "InvalidHandle", 6,
         {"mirror": lambda t: mirror(t, t.closed("a.vhd")), "break": lambda t: break_mirror(t, t.closed("a.vhd"))}),
    ),
    "1.17": (
        ("no operation", "NotFound", 1168, lambda t: t.root.progress(t.handle("a.img", READ))),
    ),
    "1.18": (
        ("handle of version 1", *PARAMETER,
         {method: (lambda t, method=method: metadata(t, method, *METHODS[method][1](t), handle=opened(t, mask=ALL)))
          for method in METHODS if method.endswith("Metadata")}),
        ("of a VHD", *TYPE,
         {method: (lambda t, method=method: metadata(t, method, *METHODS[method][1](t), handle=opened(t, "d.vhd")))
          for method in METHODS if method.endswith("Metadata")}),
        ("items that are none", *PARAMETER,
         {f"{method} {item}": (lambda t, method=method, item=item: metadata(t, method, item, *METHODS[method][1](t)[1:]))
          for method in METHODS if method.endswith("tVirtualDiskMetadata") for item in ("", "x", NULL_GUID)}),
        ("an item that is too long", *PARAMETER,
         lambda t: metadata(t, "SetVirtualDiskMetadata", GUID, bytes(MIB + 1))),
        ("an item that is not there", "NotFound", 1168,
         each(["GetVirtualDiskMetadata", "DeleteVirtualDiskMetadata"], lambda t, method: metadata(t, method, GUID), str)),
        ("GetInfoOnly handle", *DENIED,
         {"Set": lambda t: metadata(t, "SetVirtualDiskMetadata", GUID, b"x", handle=opened(t, get_info_only=True)),
          "Delete": lambda t: metadata(t, "DeleteVirtualDiskMetadata", GUID, handle=opened(t, get_info_only=True))}),
    ),
    "1.19": (
        ("tracking that is off", "VhdChangeTrackingDisabled", 0xC03A002A, lambda t: changes(t)),
        ("an id that is too long", "VhdInvalidChangeTrackingId", 0xC03A0029, lambda t: changes(t, "x" * 257)),
        ("flags", *PARAMETER, each([1, 1 << 31], lambda t, flags: changes(t, flags=flags))),
        ("what is not of the disk", *PARAMETER, lambda t: changes(t, offset=1 << 62)),
        ("no ranges", *PARAMETER, lambda t: changes(t, range_count=0)),
        ("handle without GET_INFO", *DENIED, lambda t: changes(t, handle=opened(t, mask=METAOPS))),
        ("of an ISO", *TYPE, lambda t: changes(t, handle=t.handle("a.iso", READ))),
    ),
}
