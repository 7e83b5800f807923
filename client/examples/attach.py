#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attaches an image read-write for as long as this program runs:

  attach.py IMAGE                    prints the device and waits for Enter
  attach.py IMAGE COMMAND [ARG...]   runs COMMAND ARG... DEVICE and waits for its end

The attachment belongs to the handle: it ends also when the program is killed.
"""
import subprocess
import sys

import gi

gi.require_version("Virtdisk", "1.0")
from gi.repository import GLib, Virtdisk  # noqa: E402


def attach(image, command):
    client = Virtdisk.Client.new_sync(None)
    access = Virtdisk.AccessMask.ATTACH_RW | Virtdisk.AccessMask.DETACH | Virtdisk.AccessMask.GET_INFO
    handle = client.open_virtual_disk(image, access, Virtdisk.OpenFlags.NONE, None, None)
    handle.attach_virtual_disk(Virtdisk.AttachFlags.NONE, None, None)
    try:
        device = handle.get_virtual_disk_physical_path(None)
        print(device, flush=True)
        if command:
            subprocess.run([*command, device], check=True)
        else:
            sys.stdin.readline()
    finally:
        handle.detach_virtual_disk(Virtdisk.DetachFlags.NONE, None, None)
        handle.close(None)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        attach(sys.argv[1], sys.argv[2:])
    except GLib.Error as error:
        text = f"{sys.argv[1]}: {error.message}"
        if error.matches(Virtdisk.error_quark(), error.code):
            text += f"\n({Virtdisk.error_win32_name(error.code)})"
        sys.exit(text)
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
