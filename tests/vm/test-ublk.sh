#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ublk, with a raw image: attach, I/O, partitions, a busy detach, workers killed under load, the service restarted, both
# killed at once, and nothing left at the end.
# deadline: 300
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

service() { systemctl show -P MainPID virtdiskd.service; }
another() { [ "$(service)" != 0 ] && [ "$(service)" != "$1" ]; }
listed() { virtdisk list | grep -q "^$1 "; }
workers() { pgrep -x virtdisk-worker || true; }
new_worker() { local now; now=$(workers); [ -n "$now" ] && [ "$now" != "$1" ]; }
no_worker() { [ -z "$(workers)" ]; }
absent() { [ ! -e "$1" ]; }

mkdir point
if [[ $(uname -r) == 6.12.* ]]; then
  echo "--- zero copy, which this kernel does not have"
  truncate -s 1M small.img
  said=$(vm_refused virtdisk attach --route=ublk --zero-copy small.img)
  grep -F "no zero copy" <<<"$said" || vm_fail "it is not said why: $said"
fi
truncate -s 64M disk.img
printf 'label: gpt\nsize=32MiB\nsize=16MiB\n' | sfdisk -q disk.img
device=$(virtdisk attach --route=ublk disk.img)
printf 'attached as %s\n' "$device"
[[ $device == /dev/ublkb* ]] || vm_fail "not through ublk: $device"
vm_same "size" "$(blockdev --getsize64 "$device")" $((64 << 20))
vm_same "logical sector" "$(blockdev --getss "$device")" 512
udevadm settle
vm_same "partitions" "$(lsblk -nro NAME "$device" | tail -n +2 | wc -l)" 2
vm_same "worker's scope" "$(systemctl list-units --no-legend 'virtdisk-worker-*.scope' | wc -l)" 1
vm_same "worker's OOM score" "$(cat "/proc/$(workers)/oom_score_adj")" -1000

echo "--- busy"
mkfs.ext4 -q -F -L UBLK "${device}p1"
udevadm settle
[ /dev/disk/by-label/UBLK -ef "${device}p1" ] || vm_fail "udev has not looked at the file system"
mount "${device}p1" point
said=$(vm_refused virtdisk detach disk.img)
grep -qF "$PWD/point" <<<"$said" || vm_fail "the mount is not named: $said"
umount point
exec 9<"$device"
said=$(vm_refused virtdisk detach disk.img)
grep -qF "$$" <<<"$said" || printf 'who has the node open is not named: %s\n' "$said"
exec 9<&-

echo "--- workers killed under load"
mount "${device}p1" point
fio --name=load --directory=point --size=8M --bs=4k --rw=randrw --ioengine=psync --direct=1 --verify=crc32c --do_verify=1 \
  --time_based --runtime=20 --group_reporting --output=fio.txt &
load=$!
for round in 1 2; do
  before=$(workers)
  kill -KILL "$before"
  vm_until 60 new_worker "$before"
  printf 'worker %s was replaced by %s (%s)\n' "$before" "$(workers)" "$round"
done

echo "--- the service restarted, and killed"
before=$(workers)
systemctl restart virtdiskd.service
listed "$device" || vm_fail "$device is not known after a restart"
pid=$(service)
kill -KILL "$pid"
vm_until 60 another "$pid"
listed "$device" || vm_fail "$device is not known after the service was killed"
vm_same "the worker goes on" "$(workers)" "$before"
# The next service knows what a successor needs.
kill -KILL "$before"
vm_until 60 new_worker "$before"

echo "--- both killed"
before=$(workers)
systemctl stop virtdiskd.service
kill -KILL "$before"
vm_until 30 no_worker
systemctl start virtdiskd.service
vm_until 60 new_worker ""
listed "$device" || vm_fail "$device is not known after both were killed"
wait "$load" || { cat fio.txt; vm_fail "I/O failed"; }
sync
umount point
e2fsck -fn "${device}p1"

echo "--- detach, while udev reads"
rules=/run/udev/rules.d/99-slow.rules
mkdir -p "${rules%/*}"
# While it runs the event is udev's work, and its lock is held.
printf '#!/bin/sh\n: >/run/slow.begun\nexec dd if="$1" of=/dev/null bs=4k count=200 iflag=direct\n' >/run/slow
echo 'ACTION=="change", KERNEL=="ublkb*[0-9]", ENV{DEVTYPE}=="disk", PROGRAM="/bin/sh /run/slow $devnode"' >"$rules"
udevadm control --reload
udevadm trigger --action=change "$device"
vm_until 30 test -e /run/slow.begun
before=$(workers)
virtdisk detach disk.img
rm "$rules" /run/slow /run/slow.begun
udevadm control --reload
absent "$device" || vm_fail "$device is still there"
vm_until 30 no_worker
vm_until 30 absent "/dev/ublkc${device#/dev/ublkb}"
vm_same "records" "$(ls /run/virtdisk/workers)" ""
vm_same "hints" "$(ls -A /run/virtdisk/udev)" ""
vm_kernel_quiet

echo "--- read-only, and a part of the disk"
device=$(virtdisk attach --route=ublk --read-only --offset=1M --size=32M disk.img)
vm_same "read-only" "$(blockdev --getro "$device")" 1
vm_same "size" "$(blockdev --getsize64 "$device")" $((32 << 20))
e2fsck -fn "$device"
virtdisk detach disk.img

echo "--- given up"
device=$(virtdisk attach --route=ublk disk.img)
worker=/usr/libexec/virtdisk/virtdisk-worker
[ -x "$worker" ] || worker=$(readlink "/proc/$(workers)/exe")
mount --bind /bin/false "$worker"
kill -KILL "$(workers)"
vm_refused dd if="$device" of=/dev/null bs=1M count=1 iflag=direct
vm_until 60 absent "$device"
umount "$worker"
vm_same "what is attached at the end" "$(virtdisk list | grep -c /dev/ || true)" 0
