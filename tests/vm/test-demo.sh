#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What "data/install.sh --demo" shows after it has installed, on a whole system: a dynamic VHDX that the service creates, a
# child of it and an ISO, through ublk.
# deadline: 240
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

"$VM_TESTS/../data/demo.sh" /usr | tee said
grep -q "^/dev/ublkb" said || vm_fail "it did not go through ublk"
vm_same "the last line" "$(tail -n 1 said)" "virtdisk: installed, and the demonstration succeeded"
vm_same "what is attached at the end" "$(virtdisk list | grep -c /dev/ || true)" 0
