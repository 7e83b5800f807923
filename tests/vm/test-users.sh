#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What polkit and logind make of users: a member of the group at the console attaches for writing, another user only for
# reading, nobody detaches what is another's, and without a session nobody attaches.
# deadline: 240
# shellcheck source=lib.sh
. "$VM_LIB"

ask="virtdisk --no-ask-password"
vm_user member virtdisk
vm_user other
for user in member other; do
  qemu-img create -q -f vpc -o subformat=fixed,force_size=on "/home/$user/disk.vhd" 16M
  chown "$user:$user" "/home/$user/disk.vhd"
done
vm_same "state of a session" "$(vm_session member bash -c 'loginctl show-session "$XDG_SESSION_ID" -P Active')" yes

status=0
vm_as member bash -c "$ask attach disk.vhd" || status=$?
vm_same "exit status without a session" "$status" 3

device=$(vm_session member bash -c "$ask attach disk.vhd")
vm_same "read-only, for a member" "$(blockdev --getro "$device")" 0
vm_same "who owns $device" "$(stat -c %U "$device")" member
vm_refused vm_session other bash -c "$ask detach $device"

status=0
vm_session other bash -c "$ask attach disk.vhd" || status=$?
vm_same "exit status, to write without the privilege" "$status" 3
second=$(vm_session other bash -c "$ask attach --read-only disk.vhd")
vm_same "read-only, for others" "$(blockdev --getro "$second")" 1

vm_session other bash -c "$ask detach $second"
vm_session member bash -c "$ask detach $device"
vm_same "what is attached at the end" "$(virtdisk list | grep -c /dev/ || true)" 0
