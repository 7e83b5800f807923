# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builders of test images. Nothing here knows virtdisk: what it makes follows the formats' own specifications."""
import os
import shutil
import struct
import subprocess
import uuid

SECTOR = 512


def write_file(path, size, pattern=None):
    """A file of size bytes: a hole, or the pattern repeated."""
    with open(path, "wb") as file:
        if pattern:
            file.write((pattern * (size // len(pattern) + 1))[:size])
        else:
            file.truncate(size)
    return path


def raw(path, size=16 << 20, fs=None, label="RAW"):
    """A raw image; fs: "ext4", ... makes a file system in it."""
    write_file(path, size)
    if fs:
        make_fs(path, fs, label)
    return path


def make_fs(target, fs="ext4", label="TEST"):
    quiet = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}[fs]
    subprocess.run([f"mkfs.{fs}", *quiet, "-L", label, target], check=True, stdout=subprocess.DEVNULL)


def iso(path, files=None, label="TESTISO", udf=False):
    """An ISO 9660 image with Rock Ridge and Joliet, made by xorriso (or genisoimage). files: {name: bytes}"""
    tree = f"{path}.tree"
    os.makedirs(tree)
    try:
        for name, data in (files or {"hello.txt": b"hello from the image\n"}).items():
            os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
            with open(os.path.join(tree, name), "wb") as file:
                file.write(data)
        if udf:
            tool = ["genisoimage", "-udf"]
        else:
            tool = ["xorriso", "-as", "mkisofs"] if shutil.which("xorriso") else ["genisoimage"]
        subprocess.run([*tool, "-quiet", "-R", "-J", "-V", label, "-o", path, tree], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        shutil.rmtree(tree)
    return path


def vhd_geometry(sectors):
    """Cylinders, heads, sectors per track as the appendix of the VHD specification computes them."""
    sectors = min(sectors, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        track, heads = 255, 16
        cylinders = sectors // track // heads
        return cylinders, heads, track
    track = 17
    by_track = sectors // track
    heads = max((by_track + 1023) // 1024, 4)
    if by_track >= heads * 1024 or heads > 16:
        track, heads = 31, 16
        by_track = sectors // track
    if by_track >= heads * 1024:
        track, heads = 63, 16
        by_track = sectors // track
    return by_track // heads, heads, track


def vhd_footer(size, **fields):
    """The 512 bytes at the end of a fixed VHD. Any field can be set wrong by name; checksum too."""
    cylinders, heads, track = vhd_geometry(size // SECTOR)
    values = dict(cookie=b"conectix", features=2, version=0x00010000, data_offset=0xFFFFFFFFFFFFFFFF, timestamp=0,
                  creator=b"win ", creator_version=0x00010000, creator_os=b"Wi2k", original_size=size,
                  current_size=size, cylinders=cylinders, heads=heads, track=track, disk_type=2, checksum=None,
                  identifier=uuid.uuid4().bytes, saved_state=0, reserved=bytes(427))
    unknown = set(fields) - set(values)
    if unknown:
        raise TypeError(f"no such field of a VHD footer: {unknown}")
    values.update(fields)

    def pack(checksum):
        return struct.pack(">8sIIQI4sI4sQQHBBII16sB427s", values["cookie"], values["features"], values["version"],
                           values["data_offset"], values["timestamp"], values["creator"], values["creator_version"],
                           values["creator_os"], values["original_size"], values["current_size"], values["cylinders"],
                           values["heads"], values["track"], values["disk_type"], checksum, values["identifier"],
                           values["saved_state"], values["reserved"])

    checksum = values["checksum"]
    if checksum is None:
        checksum = ~sum(pack(0)) & 0xFFFFFFFF
    return pack(checksum)


def vhd_fixed(path, size=16 << 20, footer_bytes=SECTOR, **fields):
    """A fixed VHD by this builder. footer_bytes=511: as Virtual PC before 2004 wrote them."""
    write_file(path, size)
    with open(path, "ab") as file:
        file.write(vhd_footer(size, **fields)[:footer_bytes])
    return path


def vhd_fixed_by_qemu(path, size=16 << 20):
    """A fixed VHD by an independent implementation."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, str(size)],
                   check=True)
    return path


def vhd_change(path, footer=None, header=None):
    """Of a dynamic or differencing VHD: both footers and the sparse header, {offset: bytes}; their checksums are right again."""
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END) - SECTOR
        for at, length, checksum, changes in ((0, SECTOR, 64, footer), (end, SECTOR, 64, footer), (SECTOR, 1024, 36, header)):
            file.seek(at)
            block = bytearray(file.read(length))
            for offset, data in (changes or {}).items():
                block[offset:offset + len(data)] = data
            block[checksum:checksum + 4] = bytes(4)
            block[checksum:checksum + 4] = struct.pack(">I", ~sum(block) & 0xFFFFFFFF)
            file.seek(at)
            file.write(block)


def vhd_parent_place(path, code, text):
    """All that a differencing VHD says of its parent's place is this one locator."""
    with open(path, "r+b") as file:
        file.seek(SECTOR + 576 + 16)
        offset, = struct.unpack(">Q", file.read(8))
        file.seek(offset)
        file.write(text.ljust(SECTOR, b"\0"))
    locators = struct.pack(">4sIIIQ", code, SECTOR, len(text), 0, offset) + bytes(7 * 24)
    vhd_change(path, header={64: bytes(512), 576: locators})
