#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A mounted disk that is being written to stays while systemd restarts the service, and while the service is killed; each
# next service knows it again.
# deadline: 180
# shellcheck source=lib.sh
. "$VM_LIB"

service() { systemctl show -P MainPID virtdiskd.service; }
another() { [ "$(service)" != 0 ] && [ "$(service)" != "$1" ]; }
listed() { virtdisk list | grep -q "^$1 "; }

mkdir point
qemu-img create -q -f vpc -o subformat=fixed,force_size=on disk.vhd 64M
mkfs.ext4 -q -F disk.vhd 60M
device=$(virtdisk attach disk.vhd)
mount "$device" point
writing() { while [ ! -e stop ]; do dd if=/dev/urandom of=point/load bs=1M count=8 oflag=sync status=none; done; }
writing &
load=$!

systemctl restart virtdiskd.service
listed "$device" || vm_fail "$device is not known after a restart"
pid=$(service)
kill -KILL "$pid"
vm_until 60 another "$pid"
listed "$device" || vm_fail "$device is not known after the service was killed"
touch stop
wait "$load" || vm_fail "writing failed while the service was away"

systemctl stop virtdiskd.service
printf 'kept\n' >point/new.txt
sync
vm_same "written while no service ran" "$(cat point/new.txt)" kept
umount point
virtdisk detach disk.vhd
e2fsck -fn disk.vhd
vm_same "what is attached at the end" "$(virtdisk list | grep -c /dev/ || true)" 0
