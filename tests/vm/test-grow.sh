#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A mounted ext4 grows with its disk, through ublk and through loop. Where the kernel's ublk driver knows no growth (before
# 6.16) that is said, and the disk is larger when it is attached again.
# deadline: 240
# kernel: 6.12 7.2
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

no_worker() { ! pgrep -x virtdisk-worker; }
size() { blockdev --getsize64 "$1"; }

# grows FILE ATTACH-OPTION...
grows() {
  local image=$1 device note
  shift
  device=$(virtdisk attach "$@" "$image")
  echo "--- $image as $device"
  mkfs.ext4 -q -F "$device"
  mount "$device" point
  head -c 8M /dev/urandom >point/kept
  (cd point && sha256sum kept) >kept.sum
  note=$(virtdisk resize "$image" 192M 2>&1)
  printf 'virtdisk resize %s 192M: %s\n' "$image" "${note:-done}"
  if [[ $device == /dev/ublkb* && $(uname -r) == 6.12.* ]]; then
    [[ $note == *"when it is attached again"* ]] || vm_fail "it is not said that the device stays as it is"
    vm_same "size of the device" "$(size "$device")" $((64 << 20))
    umount point
    virtdisk detach "$image"
    device=$(virtdisk attach "$@" "$image")
    mount "$device" point
  fi
  vm_same "size of the device" "$(size "$device")" $((192 << 20))
  df -B1M --output=size,target point
  resize2fs "$device"
  df -B1M --output=size,target point
  dd if=/dev/zero of=point/more bs=1M count=120 oflag=direct status=none
  (cd point && sha256sum -c --quiet) <kept.sum
  umount point
  e2fsck -fn "$device"
  virtdisk detach "$image"
  vm_until 30 no_worker
  virtdisk check --quiet "$image"
}

mkdir point
virtdisk create --size=64M disk.vhdx
virtdisk create --size=64M disk.vhd
virtdisk create --size=64M --type=fixed fixed.vhd
truncate -s 64M disk.img
grows disk.vhdx --route=ublk
grows disk.vhd --route=ublk
grows fixed.vhd
grows disk.img
vm_kernel_quiet
