#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The machine is restarted with file systems mounted on disks that workers serve, through ublk and FUSE, one of them inside
# another: all is unmounted and written, and each image is closed, before the machine goes. A worker that is told to end
# while its disk is in use serves on, and leaves the image clean at each quiet moment.
# deadline: 300
# shellcheck source=lib.sh
. "$VM_LIB"

[ -e /dev/ublk-control ] || modprobe ublk_drv || vm_skip "needs the ublk driver"

work=/var/lib/shutdown-test # of both boots
units=/etc/systemd/system
clean=00000000000000000000000000000000
disks="ublk fuse outer inner"
route() { case $1 in outer) echo ublk ;; inner) echo fuse ;; *) echo "$1" ;; esac; }
image() { if [ "$1" = inner ]; then echo "$work/outer/inner.vhdx"; else echo "$work/$1.vhdx"; fi; }
workers() { pgrep -x virtdisk-worker || true; }
server() { for pid in $(workers); do if readlink "/proc/$pid/fd/"* | grep -qxF "$1"; then echo "$pid"; fi; done; }
no_worker() { [ -z "$(workers)" ]; }
# LogGuid of the header with the higher sequence number, as it is in the file.
log_of() {
  python3 -c 'import struct, sys
data = open(sys.argv[1], "rb").read(192 << 10)
print(max((struct.unpack_from("<Q", data, at + 8)[0], data[at + 48:at + 64].hex()) for at in (64 << 10, 128 << 10))[1])' "$1"
}
is_clean() { [ "$(log_of "$1")" = $clean ]; }
is_dirty() { ! is_clean "$1"; }
attach() { virtdisk attach --route="$(route "$1")" "$(image "$1")"; }
write() {
  dd if=/dev/urandom of="$work/$1/$2" bs=64k count=32 conv=fsync status=none
  (cd "$work/$1" && sha256sum "$2") >>"$work/$1.sums"
}

# It looks around when all but the last things of a shutdown are over.
witness() {
  cat >"$work/look" <<LOOK
#!/bin/bash
exec >$work/seen 2>&1
pgrep -x virtdisk-worker && echo "a worker lives"
grep -F $work/ /proc/self/mountinfo && echo "a file system is mounted"
grep -lv '^0' /sys/block/{ublkb,loop}*/size 2>/dev/null && echo "a disk is attached"
journalctl -b --no-pager -o short-monotonic >$work/journal
echo "looked around"
LOOK
  chmod 755 "$work/look"
  printf '%s\n' '[Unit]' DefaultDependencies=no After=virtdisk-shutdown.service Before=final.target '[Service]' Type=oneshot \
    "ExecStart=$work/look" >"$units/vm-witness.service"
  mkdir -p "$units/final.target.wants"
  ln -sf ../vm-witness.service "$units/final.target.wants/vm-witness.service"
  systemctl daemon-reload
}

if [ "$VM_BOOT" = 1 ]; then
  systemd-analyze verify --man=no virtdisk-shutdown.service
  vm_refused systemctl start virtdisk-shutdown.service >/dev/null
  mkdir -p "$work"
  cd "$work"
  for disk in $disks; do
    mkdir "$disk"
    virtdisk create --size=64M "$(image "$disk")"
    mkfs.ext4 -q -F "$(attach "$disk")"
    mount "$(virtdisk list | awk -v path="$(image "$disk")" '$0 ~ path {print $1}')" "$disk"
    write "$disk" first
  done

  for disk in ublk fuse; do
    echo "--- $disk: its worker is told to end while it is mounted"
    worker=$(server "$(image "$disk")")
    [ -n "$worker" ] || vm_fail "who serves $disk?"
    vm_until 60 is_dirty "$disk.vhdx"
    systemctl kill --signal=TERM "virtdisk-worker-$worker.scope"
    vm_until 60 is_clean "$disk.vhdx"
    write "$disk" second
    vm_until 60 is_clean "$disk.vhdx"
    [ -e "/proc/$worker" ] || vm_fail "the worker has ended"
  done
  before=$(workers)
  systemctl stop virtdiskd.service
  vm_same "workers, without the service" "$(workers)" "$before"

  echo "--- restart"
  witness
  for disk in $disks; do
    dd if=/dev/urandom of="$disk/last" bs=64k count=32 status=none
    (cd "$disk" && sha256sum last) >>"$disk.sums"
  done
  cd /
  vm_reboot
fi

cd "$work"
rm -r "$units/vm-witness.service" "$units/final.target.wants"
echo "--- what was seen of the shutdown"
sed -n '/Stopped target.*Multi-User/,$p' journal | grep -E "virtdisk|mount|shutdown-test|final|ublk|loop[0-9]" || true
vm_same "late in the shutdown" "$(cat seen)" "looked around"
if grep -E "kernel: .*(I/O error|EXT4-fs error|blocked for more than|lost .* write)" journal; then vm_fail "the kernel complains"; fi
for disk in $disks; do
  echo "--- $disk: after the restart"
  vm_same "log of $disk" "$(log_of "$(image "$disk")")" $clean
  qemu-img check -q -f vhdx "$(image "$disk")" || vm_fail "qemu-img finds faults in $disk"
  device=$(attach "$disk")
  e2fsck -fn "$device" || vm_fail "$disk was not unmounted cleanly"
  mount "$device" "$disk"
  (cd "$disk" && sha256sum -c --quiet "$work/$disk.sums")
done
umount inner
virtdisk detach "$(image inner)"
for disk in ublk fuse outer; do
  umount "$disk"
  virtdisk detach "$(image "$disk")"
done
vm_until 30 no_worker
rm -rf "$work"
