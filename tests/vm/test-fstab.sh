#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount -t virtdisk, and lines of fstab over three boots: mounted before the local file systems are complete, that is
# before there is a bus; also on a route that a worker serves, by partition, one image inside another; what is missing
# hinders no boot; each shutdown unmounts, detaches and leaves the images clean, without a word of the kernel.
# deadline: 600
# shellcheck source=lib.sh
. "$VM_LIB"

work=/var/lib/fstab-test # of all boots
clean=00000000000000000000000000000000
[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

mounted() { findmnt -n -o TARGET,FSTYPE,OPTIONS --mountpoint "$1"; }
device_of() { findmnt -n -o SOURCE --mountpoint "$1"; }
attached() { busctl --json=short call org.virtdisk1 /org/virtdisk1 org.virtdisk1.Manager GetAllAttachedVirtualDiskPhysicalPaths 'a{sv}' 0; }
none_attached() { [ -z "$(virtdisk list --json | grep -F '"device"' || true)" ]; }
log_of() {
  python3 -c 'import struct, sys
data = open(sys.argv[1], "rb").read(192 << 10)
print(max((struct.unpack_from("<Q", data, at + 8)[0], data[at + 48:at + 64].hex()) for at in (64 << 10, 128 << 10))[1])' "$1"
}
quiet_journal() {
  local said
  said=$(journalctl -b "$1" --no-pager -o cat -k | grep -E "I/O error|EXT4-fs error|blocked for more than|lost .* write" || true)
  [ -z "$said" ] || vm_fail "the kernel complains: $said"
}
write() {
  dd if=/dev/urandom of="$1/$2" bs=64k count=32 status=none
  (cd "$1" && sha256sum "$2") >>"$work/$(basename "$1").sums"
}
verify() { (cd "$1" && sha256sum -c --quiet "$work/$(basename "$1").sums"); }

make_image() {
  virtdisk create --size=64M "$work/$1.vhdx" >/dev/null
  mkfs.ext4 -q -F "${@:3}" "$(virtdisk attach --route="$2" "$work/$1.vhdx")"
  virtdisk detach "$work/$1.vhdx"
}

make_images() {
  make_image plain ublk -L plain
  make_image slow fuse
  make_image outer ublk
  truncate -s 96M parts.img
  printf 'label: gpt\nsize=32M, name=first\nsize=32M, name=second\n' | sfdisk -q parts.img
  device=$(virtdisk attach parts.img)
  mkfs.ext4 -q -F -L one "${device}p1"
  mkfs.ext4 -q -F -L two "${device}p2"
  virtdisk detach parts.img
}

by_hand() {
  local here
  echo "--- mount and umount"
  mkdir a b
  mount -v -t virtdisk plain.vhdx a
  device=$(device_of "$work/a")
  mount -t virtdisk plain.vhdx b
  vm_same "the second mount is of" "$(device_of "$work/b")" "$device"
  echo text >a/file
  vm_same "seen through both" "$(cat b/file)" text
  umount b
  mounted "$work/a" >/dev/null || vm_fail "the other mount went"
  virtdisk info plain.vhdx >/dev/null
  umount a
  none_attached || vm_fail "attached after the last umount: $(virtdisk list)"

  echo "--- options"
  mount -t virtdisk -o partition=LABEL=two,noatime,x-something.else,nofail parts.img a
  case $(device_of "$work/a") in *p2) ;; *) vm_fail "not partition 2: $(device_of "$work/a")" ;; esac
  mounted "$work/a" | grep -q noatime || vm_fail "noatime is lost"
  umount a
  mount -t virtdisk.ext4 -o partition=1,access=ro parts.img a
  mounted "$work/a" | grep -qw ro || vm_fail "access=ro is mounted for writing"
  umount "$(device_of "$work/a")"
  none_attached || vm_fail "attached after umount of the device"
  here=$(vm_refused mount -t virtdisk parts.img a)
  case $here in *LABEL*|*partition*) ;; *) vm_fail "which partition? $here" ;; esac
  vm_refused mount -t virtdisk -o fstype=xfs,partition=1 parts.img a >/dev/null
  none_attached || vm_fail "attached after a mount that failed"
  vm_refused mount -t virtdisk missing.vhdx a >/dev/null
  mount -t virtdisk -o nofail missing.vhdx a
  chattr +i plain.vhdx
  mount -t virtdisk plain.vhdx a
  chattr -i plain.vhdx
  mounted "$work/a" | grep -qw ro || vm_fail "an immutable image is mounted for writing"
  umount a

  echo "--- without the twin, and lazily"
  mount -t virtdisk plain.vhdx a
  umount -i a
  vm_until 60 none_attached
  mount -t virtdisk plain.vhdx a
  umount -l a
  vm_until 60 none_attached

  echo "--- without a bus"
  systemctl stop virtdiskd.service
  DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere mount -t virtdisk plain.vhdx a
  vm_same "who serves it" "$(systemctl is-active virtdiskd.service || true)" inactive
  vm_same "what keeps the worker" "$(cut -d/ -f3 </proc/"$(pgrep -x virtdisk-worker)"/cgroup | sed 's/[0-9]\+//')" virtdisk-worker-.scope
  DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere umount a
  vm_until 30 eval '! pgrep -x virtdisk-worker'
  none_attached || vm_fail "attached after umount without a bus"

  echo "--- an attachment without a mount"
  unit=$(systemd-escape --path --template=virtdisk@.service "$work/plain.vhdx")
  systemctl start "$unit"
  virtdisk info plain.vhdx >/dev/null
  none_attached && vm_fail "$unit attached nothing"
  systemctl stop "$unit"
  none_attached || vm_fail "$unit left it attached"
}

if [ "$VM_BOOT" = 1 ]; then
  mkdir -p "$work"
  cd "$work"
  make_images
  by_hand
  cp /etc/fstab fstab.before
  mkdir plain slow outer inner second lost
  mount -t virtdisk outer.vhdx outer
  virtdisk create --size=32M outer/inner.vhdx >/dev/null
  mkfs.ext4 -q -F "$(virtdisk attach outer/inner.vhdx)"
  virtdisk detach outer/inner.vhdx
  umount outer
  cat >>/etc/fstab <<FSTAB
$work/plain.vhdx $work/plain virtdisk defaults,x-systemd.device-timeout=30 0 0
$work/slow.vhdx $work/slow virtdisk route=fuse,fstype=ext4,noatime 0 0
$work/outer.vhdx $work/outer virtdisk nofail 0 0
$work/outer/inner.vhdx $work/inner virtdisk nofail,route=fuse 0 0
$work/parts.img $work/second virtdisk partition=PARTLABEL=second,nofail,_netdev 0 0
$work/missing.vhdx $work/lost virtdisk nofail 0 0
FSTAB
  systemctl daemon-reload
  vm_reboot
fi

cd "$work"
echo "--- boot $VM_BOOT"
journalctl -b --no-pager -o short-monotonic -t systemd -t mount -t virtdiskd | grep -E "fstab.test|virtdisk|local-fs.target|cycle" || true
if journalctl -b --no-pager | grep -E "ordering cycle|virtdisk-fstab-generator.*(fail|error)"; then vm_fail "the units do not fit"; fi
for name in plain slow outer inner second; do
  vm_until 60 mounted "$work/$name"
  vm_same "unit of $name" "$(systemctl is-active "$(systemd-escape --path --suffix=mount "$work/$name")")" active
done
vm_same "the missing one" "$(systemctl is-active "$(systemd-escape --path --suffix=mount "$work/lost")" || true)" failed
vm_same "local file systems" "$(systemctl is-active local-fs.target)" active
vm_same "the service, at boot" "$(systemctl is-active virtdiskd.service)" active
quiet_journal 0
if [ "$VM_BOOT" = 2 ]; then
  for name in plain slow outer inner second; do write "$work/$name" first; done
  echo "--- restart, with all of them mounted"
  vm_reboot
fi

quiet_journal -1
echo "--- the shutdown before"
journalctl -b -1 --no-pager -o short-monotonic | sed -n '/Stopped target.*Multi-User/,$p' | grep -E "fstab-test|virtdisk|Failed|loop|ublk" || true
if journalctl -b -1 --no-pager -o cat | grep -E "Failed (unmounting|to unmount).*fstab-test|fstab-test.*target is busy"; then vm_fail "not unmounted in order"; fi
for name in plain slow outer inner second; do
  verify "$work/$name"
  dmesg | grep -E "EXT4-fs.*recovery|EXT4-fs.*not cleanly" && vm_fail "$name was not unmounted"
  :
done
echo "--- the images after it"
cp fstab.before /etc/fstab
for name in inner outer slow plain second; do umount "$name"; done
systemctl daemon-reload
none_attached || vm_fail "attached after the last umount: $(virtdisk list)"
for name in plain slow outer; do
  vm_same "log of $name" "$(log_of "$name.vhdx")" $clean
  virtdisk check --quiet "$name.vhdx"
done
vm_until 30 eval '! pgrep -x virtdisk-worker'
cd /
rm -rf "$work"
