#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The guest is a whole system, its kernel has what the other tests use, and the first call on the bus starts the service.
# deadline: 120
# shellcheck source=lib.sh
. "$VM_LIB"

vm_same "the system" "$(systemctl is-system-running --wait)" running
vm_same "process 1" "$(cat /proc/1/comm)" systemd
for module in ublk_drv nbd isofs udf vfat loop fuse; do
  modprobe "$module" || grep -qw "$module" "/lib/modules/$(uname -r)/modules.builtin" || [ -d "/sys/module/$module" ] ||
    vm_fail "no module $module in $(uname -r)"
done
[ -c /dev/ublk-control ] || vm_fail "no /dev/ublk-control"
getent passwd virtdisk-worker >/dev/null || vm_fail "no account for the worker"
getent group virtdisk >/dev/null || vm_fail "no group virtdisk"

systemctl stop virtdiskd.service
vm_same "the service, before anybody calls" "$(systemctl is-active virtdiskd.service || true)" inactive
busctl --timeout=60 call org.virtdisk1 /org/virtdisk1 org.virtdisk1.Manager GetAllAttachedVirtualDiskPhysicalPaths 'a{sv}' 0
vm_same "the service, after a call" "$(systemctl is-active virtdiskd.service)" active
systemctl stop virtdiskd.service
vm_same "how it ended" "$(systemctl show -P Result virtdiskd.service)" success
