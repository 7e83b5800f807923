#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ublk without copies: a dynamic VHDX, its child and a VHD; holes, file systems, workers killed under load, and a worker
# whose program was replaced.
# deadline: 500
# kernel: 7.2
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

workers() { pgrep -x virtdisk-worker || true; }
new_worker() { local now; now=$(workers); [ -n "$now" ] && [ "$now" != "$1" ]; }
no_worker() { [ -z "$(workers)" ]; }
absent() { [ ! -e "$1" ]; }
attach() { virtdisk attach --route=ublk --zero-copy "$@"; }

# load DEVICE: a file system, and a worker killed twice while data are verified.
load() {
  local device=$1 before
  mkfs.ext4 -q -F "$device"
  mount "$device" point
  fio --name=load --directory=point --size=24M --bsrange=4k-256k --rw=randrw --ioengine=libaio --iodepth=8 --direct=1 \
    --verify=crc32c --do_verify=1 --time_based --runtime=6 --group_reporting --output=fio.txt &
  for _ in 1 2; do
    read -r -t 2 <> <(:) || true
    before=$(workers)
    kill -KILL "$before"
    vm_until 60 new_worker "$before"
  done
  wait $! || { cat fio.txt; vm_fail "I/O failed"; }
  vm_until 30 umount point
  e2fsck -fn "$device"
}

mkdir point

for format in vhdx vhd; do
  echo "--- $format"
  virtdisk create --size=96M "disk.$format"
  device=$(attach "disk.$format")
  [[ $device == /dev/ublkb* ]] || vm_fail "not through ublk: $device"
  cmp -n $((16 << 20)) "$device" /dev/zero
  head -c 3M /dev/urandom >data
  dd if=data of="$device" bs=1M seek=5 oflag=direct conv=notrunc,fsync status=none
  dd if=data of="$device" bs=512 seek=333 count=77 oflag=direct conv=notrunc status=none
  dd if="$device" bs=1M skip=5 count=3 iflag=direct status=none | cmp - data
  dd if="$device" bs=512 skip=333 count=77 iflag=direct status=none | cmp - <(head -c $((77 * 512)) data)
  # What lies around it are holes.
  dd if="$device" bs=512 skip=$((333 + 77)) count=3000 iflag=direct status=none | cmp - <(head -c $((3000 * 512)) /dev/zero)
  load "$device"
  sha256sum <"$device" >"$format.sum"
  virtdisk detach "disk.$format"
  vm_until 30 no_worker
  device=$(virtdisk attach --route=ublk --read-only "disk.$format")
  sha256sum <"$device" | cmp - "$format.sum" || vm_fail "a copying worker reads something else"
  virtdisk detach "disk.$format"
  [ "$format" = vhd ] || qemu-img check "disk.$format"
done

echo "--- a child"
virtdisk create --parent=disk.vhdx child.vhdx
device=$(attach child.vhdx)
sha256sum <"$device" | cmp - vhdx.sum || vm_fail "the child shows another disk than its parent"
dd if=data of="$device" bs=512 seek=9999 count=1001 oflag=direct conv=notrunc,fsync status=none
dd if="$device" bs=512 skip=9999 count=1001 iflag=direct status=none | cmp - <(head -c $((1001 * 512)) data)
load "$device"

echo "--- the program replaced"
worker=$(readlink "/proc/$(workers)/exe")
before=$(workers)
cp "$worker" worker
mount --bind worker "$worker"
fio --name=load --filename="$device" --size=64M --bs=64k --rw=randread --ioengine=libaio --iodepth=8 --direct=1 --time_based \
  --runtime=6 --output=fio.txt &
systemctl restart virtdiskd.service
vm_until 60 new_worker "$before"
wait $! || { cat fio.txt; vm_fail "I/O failed"; }
journalctl -b -u virtdiskd.service -o cat | tail -5
journalctl -b -u virtdiskd.service -o cat | grep "(pid $before) has closed the image for the next one" >/dev/null ||
  vm_fail "the worker was not retired"
e2fsck -fn "$device"

echo "--- detach"
virtdisk detach child.vhdx
vm_until 30 no_worker
absent "$device" || vm_fail "$device is still there"
umount "$worker"
vm_kernel_quiet
