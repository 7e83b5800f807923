#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A fixed VHD that qemu-img made, and an ISO, as block devices of a whole system: kernel, udev, UDisks2 and mount agree.
# deadline: 180
# shellcheck source=lib.sh
. "$VM_LIB"

for unit in virtdiskd.service virtdisk-boot.service; do systemd-analyze security --no-pager "$unit" | tail -n 1; done
systemd-analyze verify --man=no virtdiskd.service virtdisk-boot.service

mkdir tree point
printf 'hello from the image\n' >tree/hello.txt
xorriso -as mkisofs -quiet -R -J -V TESTISO -o test.iso tree
qemu-img create -q -f vpc -o subformat=fixed,force_size=on disk.vhd 64M
mkfs.ext4 -q -F -L TESTVHD disk.vhd 60M

iso=$(virtdisk attach test.iso)
vhd=$(virtdisk attach disk.vhd)
printf 'attached as %s and %s\n' "$iso" "$vhd"
vm_same "size of the VHD" "$(blockdev --getsize64 "$vhd")" $((64 << 20))
vm_same "the ISO is read-only" "$(blockdev --getro "$iso")" 1
udevadm settle
[ "/dev/disk/by-label/TESTISO" -ef "$iso" ] || vm_fail "no link by label to $iso"

mount -o ro "$iso" point
vm_same "type of the file system" "$(findmnt -n -o FSTYPE point)" iso9660
vm_same "a file of the ISO" "$(cat point/hello.txt)" "hello from the image"
shown=$(udisksctl info -b "$iso")
grep -qF "IdLabel:                    TESTISO" <<<"$shown" || vm_fail "UDisks2 does not show the label: $shown"
grep -qF "$PWD/point" <<<"$shown" || vm_fail "UDisks2 does not show where it is mounted: $shown"
vm_refused virtdisk detach "$iso"
umount point

mount "$vhd" point
printf 'kept\n' >point/new.txt
umount point
virtdisk detach "$iso"
virtdisk detach "$vhd"
vm_same "what is attached at the end" "$(virtdisk list | grep -c /dev/ || true)" 0
vhd=$(virtdisk attach --read-only disk.vhd)
e2fsck -fn "$vhd"
mount -o ro "$vhd" point
vm_same "what was written before" "$(cat point/new.txt)" kept
umount point
virtdisk detach disk.vhd
