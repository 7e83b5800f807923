#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A VHDX that the service creates, through ublk and through FUSE: partitions, ext4, XFS and NTFS, fio while workers die and the
# service is restarted, a child, and a file that is cut. What is left after each detach is clean: no log, no fault that
# qemu-img finds.
# deadline: 420
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

work=$PWD/images
routes="ublk fuse"
workers() { pgrep -x virtdisk-worker || true; }
no_worker() { [ -z "$(workers)" ]; }
new_worker() { local now; now=$(workers); [ "$(wc -w <<<"$now")" = "$2" ] && [ "$now" != "$1" ]; }
property() { busctl get-property org.virtdisk1 "$(disk_of "$1")" org.virtdisk1.Disk "$2"; }
disk_of() { busctl call org.virtdisk1 /org/virtdisk1 org.virtdisk1.Manager GetDiskForPath 'sa{sv}' "$1" 0 | cut -d'"' -f2; }
checked() {
  qemu-img check -q -f vhdx "$1" || vm_fail "qemu-img finds faults in $1"
  vm_same "log of $1" "$(log_of "$1")" 00000000000000000000000000000000
}
# LogGuid of the header with the higher sequence number.
log_of() {
  python3 -c 'import struct, sys
data = open(sys.argv[1], "rb").read(192 << 10)
print(max((struct.unpack_from("<Q", data, at + 8)[0], data[at + 48:at + 64].hex()) for at in (64 << 10, 128 << 10))[1])' "$1"
}
# load ROUTE FOLDER...: in all of them at once.
load() {
  local jobs=() folder
  for folder in "${@:2}"; do jobs+=(--name="load-${folder##*.}" --directory="$folder"); done
  fio --name=global --size=8M --bs=4k-64k --rw=randwrite --rate=,1m --ioengine=psync --direct=1 --fsync=64 --verify=crc32c --do_verify=1 \
    --verify_fatal=1 --output="$work/fio.$1" "${jobs[@]}"
}

mkdir -p "$work"
cd "$work"
for route in $routes; do
  echo "--- $route: created, attached, three partitions"
  virtdisk create --size=640M "$route.vhdx"
  printf 'label: gpt\nsize=128MiB\nsize=64MiB\nsize=320MiB\n' >layout
  device=$(virtdisk attach --route="$route" "$PWD/$route.vhdx")
  vm_same "Route" "$(property "$PWD/$route.vhdx" Route)" "s \"$route\""
  property "$PWD/$route.vhdx" RouteReason
  sfdisk -q "$device" <layout
  virtdisk detach "$PWD/$route.vhdx"
  vm_until 30 no_worker
  checked "$route.vhdx"
  device=$(virtdisk attach --route="$route" "$PWD/$route.vhdx")
  udevadm settle
  vm_same "partitions" "$(lsblk -nro NAME "$device" | tail -n +2 | wc -l)" 3
  mkfs.ext4 -q -F -L EXT "${device}p1"
  mkntfs -Q -q -F -L NTFS "${device}p2"
  mkfs.xfs -q -L XFS "${device}p3"
  mkdir -p "$route.ext" "$route.ntfs" "$route.xfs"
  mount "${device}p1" "$route.ext"
  mount "${device}p3" "$route.xfs"
  modprobe ntfs3 && mount -t ntfs3 "${device}p2" "$route.ntfs"
  dd if=/dev/urandom of="$route.ntfs/data" bs=1M count=8 conv=fsync status=none
  sha256sum "$route.ntfs/data" >"$route.sum"

  echo "--- $route: workers killed under load, the service restarted"
  load "$route" "$PWD/$route.ext" "$PWD/$route.xfs" &
  load=$!
  for round in 1 2; do
    before=$(workers)
    kill -KILL "$before"
    vm_until 60 new_worker "$before" 1
    printf 'worker %s was replaced by %s (%s)\n' "$before" "$(workers)" "$round"
  done
  before=$(workers)
  systemctl restart virtdiskd.service
  vm_same "Route after a restart" "$(property "$PWD/$route.vhdx" Route)" "s \"$route\""
  vm_same "the worker goes on" "$(workers)" "$before"
  wait "$load" || { cat "fio.$route"; vm_fail "fio found what it had not written, or an error"; }
  vm_refused virtdisk detach "$PWD/$route.vhdx" >/dev/null
  if grep -F " - fuse virtdisk " /proc/self/mountinfo; then vm_fail "a mount of the worker's is seen"; fi
  umount "$route.ext" "$route.ntfs" "$route.xfs"
  e2fsck -fn "${device}p1"
  ntfsfix -n "${device}p2"
  xfs_repair -n "${device}p3" >repair 2>&1 || { cat repair; vm_fail "xfs_repair finds faults"; }
  virtdisk detach "$PWD/$route.vhdx"
  vm_until 30 no_worker
  checked "$route.vhdx"

  echo "--- $route: a child"
  virtdisk create --parent="$PWD/$route.vhdx" "child-$route.vhdx"
  parent=$(stat -c '%s %y %z' "$route.vhdx")
  device=$(virtdisk attach --route="$route" "$PWD/child-$route.vhdx")
  udevadm settle
  vm_same "Depth" "$(property "$PWD/child-$route.vhdx" Depth)" "u 2"
  mount "${device}p1" "$route.ext"
  mount -t ntfs3 "${device}p2" "$route.ntfs"
  sha256sum -c --quiet "$route.sum"
  dd if=/dev/urandom of="$route.ext/child" bs=1M count=8 conv=fsync status=none
  (cd "$route.ext" && sha256sum child) >"$route.child"
  vm_refused virtdisk attach "$PWD/$route.vhdx" >/dev/null
  before=$(workers)
  kill -KILL "$before"
  vm_until 60 new_worker "$before" 1
  umount "$route.ext" "$route.ntfs"
  virtdisk detach "$PWD/child-$route.vhdx"
  vm_until 30 no_worker
  vm_same "size and last change of the parent" "$(stat -c '%s %y %z' "$route.vhdx")" "$parent"
  vm_same "log of the child" "$(log_of "child-$route.vhdx")" 00000000000000000000000000000000
done
vm_kernel_quiet

for route in $routes; do
  echo "--- $route: cut short under the device"
  virtdisk create --size=64M cut.vhdx
  device=$(virtdisk attach --route="$route" "$PWD/cut.vhdx")
  head -c 16M /dev/urandom | dd of="$device" bs=1M iflag=fullblock oflag=direct status=none
  truncate -s 8M cut.vhdx
  vm_refused timeout 60 dd if="$device" of=/dev/null bs=1M count=16 iflag=direct
  virtdisk detach "$PWD/cut.vhdx"
  vm_until 30 no_worker
  rm cut.vhdx
done
rm -rf "$work"
