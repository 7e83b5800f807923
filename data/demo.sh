#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What "data/install.sh --demo" shows on the machine that it installed on: a VHDX, a child of it and an ISO, real, and every command.
# Leaves nothing behind, whether it succeeds or not.
set -euo pipefail

PATH=${1:-/usr}/bin:$PATH
work=$(mktemp -d /var/tmp/virtdisk-demo.XXXXXX)
ok=no

finish() {
  local image
  umount "$work/mnt" 2>/dev/null || true
  for image in "$work/child.vhdx" "$work/disk.vhdx" "$work/disc.iso"; do
    [ "$ok" = yes ] || virtdisk detach --force "$image" >/dev/null 2>&1 || true
  done
  rm -rf --one-file-system "$work"
  [ "$ok" = yes ] || echo "virtdisk: the demonstration FAILED"
}
trap finish EXIT

# Prints a command as a person would type it, then runs it.
run() {
  printf '\n$ %s\n' "${*//$work/.}"
  "$@" 2>&1 | sed "s|$work|.|g"
}

# The same in a shell, for redirections.
shell() {
  printf '\n$ %s\n' "${1//$work/.}"
  bash -euo pipefail -c "$1" 2>&1 | sed "s|$work|.|g"
}

device_of() { virtdisk info --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["disk"]["device"])'; }

echo
echo "== A dynamic VHDX: create, attach, make a file system, write, detach; attach again, read back"
mkdir "$work/mnt"
run virtdisk create "$work/disk.vhdx" --size=4GiB
run virtdisk attach "$work/disk.vhdx"
device=$(device_of "$work/disk.vhdx")
run virtdisk list
run mkfs.ext4 -q -L DEMO "$device"
run mount "$device" "$work/mnt"
shell "head -c 20000000 /dev/urandom >$work/mnt/data; echo written through a VHDX >$work/mnt/note"
before=$(sha256sum <"$work/mnt/data")
printf '\n$ virtdisk detach ./disk.vhdx      (still mounted, so this is refused, and says why)\n'
if virtdisk detach "$work/disk.vhdx" 2>&1 | sed "s|$work|.|g"; then echo "a mounted disk was detached" >&2; exit 1; fi
run umount "$work/mnt"
run virtdisk detach "$work/disk.vhdx"
run ls -sh "$work/disk.vhdx"
if command -v qemu-img >/dev/null; then run qemu-img check -f vhdx "$work/disk.vhdx"; fi
run virtdisk attach --read-only "$work/disk.vhdx"
device=$(device_of "$work/disk.vhdx")
run mount -o ro "$device" "$work/mnt"
run cat "$work/mnt/note"
[ "$(sha256sum <"$work/mnt/data")" = "$before" ] || { echo "what was read is not what was written" >&2; exit 1; }
echo "20000000 bytes compared: the same"
run umount "$work/mnt"
run virtdisk detach "$work/disk.vhdx"

echo
echo "== A child of it: what is written goes there, and the parent stays as it is"
before=$(stat -c '%s %z' "$work/disk.vhdx")
run virtdisk create "$work/child.vhdx" --parent="$work/disk.vhdx"
run virtdisk attach "$work/child.vhdx"
device=$(device_of "$work/child.vhdx")
run mount "$device" "$work/mnt"
shell "echo written to the child >$work/mnt/note"
run umount "$work/mnt"
run virtdisk info "$work/child.vhdx"
run virtdisk detach "$work/child.vhdx"
[ "$(stat -c '%s %z' "$work/disk.vhdx")" = "$before" ] || { echo "the parent was written to" >&2; exit 1; }
echo "the parent was last changed $(stat -c %z "$work/disk.vhdx"), before all this"

echo
echo "== An ISO, by two calls on the bus"
mkdir "$work/tree"
echo "hello from the disc" >"$work/tree/hello.txt"
xorriso -as mkisofs -quiet -R -J -V DEMO -o "$work/disc.iso" "$work/tree" 2>/dev/null
run busctl call org.virtdisk1 /org/virtdisk1 org.virtdisk1.Manager AttachImage 'sa{sv}' "$work/disc.iso" 0
device=$(device_of "$work/disc.iso")
run blkid -p -o value -s TYPE -s LABEL "$device"
cmp "$device" "$work/disc.iso"
echo "device and image compared: the same"
run busctl call org.virtdisk1 /org/virtdisk1 org.virtdisk1.Manager DetachImage 'sa{sv}' "$work/disc.iso" 0
run virtdisk list
[ -z "$(losetup -n -O BACK-FILE -a | grep -F "$work" || true)" ] || { echo "a loop device was left behind" >&2; exit 1; }
ok=yes
finish
trap - EXIT
echo
echo "virtdisk: installed, and the demonstration succeeded"
