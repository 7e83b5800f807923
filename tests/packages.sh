#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian packages, on a machine that may be thrown away (a fresh chroot of Debian; as root): installed, upgraded while a disk
# is written to, removed and purged. Afterwards the machine is as it was.
#
#   tests/packages.sh --throw-away [--packages DIR]
#
#   --packages DIR  those to test (default: data/package.sh builds them)
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../data/common.sh
. "$source_dir/data/common.sh"

packages='' sure=no
while [ $# -gt 0 ]; do
  case $1 in
    --packages) packages=$(realpath "${2:?}"); shift ;;
    --throw-away) sure=yes ;;
    -h | --help) sed -n '3,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) vd_die "unknown argument: $1 (see --help)" ;;
  esac
  shift
done
[ "$sure" = yes ] || vd_die "changes this machine: say --throw-away"
[ "$(id -u)" = 0 ] || vd_die "needs root"
vd_have apt-get || vd_die "needs a Debian"
export DEBIAN_FRONTEND=noninteractive
work=$(mktemp -d /var/tmp/packages-test.XXXXXX)
started=$work/started
names=() writer=''

# Its root directory is its own.
serving_worker() { grep -lx virtdisk-worker /proc/[0-9]*/comm 2>/dev/null | head -n 1 | cut -d/ -f3; }

clean_up() {
  touch "$work/enough"
  [ -z "$writer" ] || wait "$writer" || true
  ! mountpoint -q "$work/mnt" || umount "$work/mnt" || true
  vd_stop "$work/virtdiskd.pid" virtdiskd
  vd_stop "$started/polkitd.pid" polkitd
  vd_stop "$started/dbus-daemon.pid" dbus-daemon
  rm -rf "$work"
}
trap 'echo "failed: line $LINENO: $BASH_COMMAND" >&2' ERR
trap clean_up EXIT

# What a machine consists of, without what apt and its servers write for themselves.
snapshot() {
  find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/lib/apt \
    -o -path /var/lib/systemd/deb-systemd-helper-enabled -o -path /var/cache -o -path /var/log -o -path "$source_dir" \) -prune -o -printf '%y %m %u %p %l\n' |
    grep -vE ' /(run/(dbus|lock)|etc/(passwd|group|shadow|gshadow)-|etc/(ld\.so\.cache|\.pwd\.lock))' | LC_ALL=C sort
  getent passwd | LC_ALL=C sort
  getent group | LC_ALL=C sort
}

start_service() {
  setsid /usr/libexec/virtdisk/virtdiskd --bus=system </dev/null >>"$work/virtdiskd.log" 2>&1 &
  echo $! >"$work/virtdiskd.pid"
  vd_await org.virtdisk1 60 || { cat "$work/virtdiskd.log" >&2; vd_die "virtdiskd did not start"; }
}

# The same packages, as the next version.
next_version() {
  local package folder
  mkdir "$work/next"
  for package in "$packages"/*.deb; do
    folder=$work/unpacked
    dpkg-deb -R "$package" "$folder"
    sed -i -E 's/^Version: .*/&+next/; s/(virtdisk[a-z0-9.-]* \(= [^)]*)\)/\1+next)/g' "$folder/DEBIAN/control"
    dpkg-deb -b --root-owner-group "$folder" "$work/next/$(basename "$package")" >/dev/null
    rm -r "$folder"
  done
}

if [ -z "$packages" ]; then
  packages=$work/first
  "$source_dir/data/package.sh" --output "$packages"
else
  mkdir "$work/first"
  cp "$packages"/*.deb "$work/first/"
  packages=$work/first
fi
rm -f "$packages"/*-dbgsym_*
for package in "$packages"/*.deb; do names+=("$(dpkg-deb -f "$package" Package)"); done

vd_say "--- the machine before, with what the packages depend on"
next_version
apt-get install -y -qq --no-install-recommends e2fsprogs libglib2.0-bin >/dev/null
apt-get install -y -qq --no-install-recommends "$packages"/*.deb >/dev/null
apt-get purge -y -qq "${names[@]}" >/dev/null
vd_start_udevd "$started/udevd.pid"
vd_start_bus "$started/dbus-daemon.pid"
vd_start_polkit "$started/polkitd.pid"
snapshot >"$work/before"

vd_say "--- install: ${names[*]}"
apt-get install -y -qq --no-install-recommends "$packages"/*.deb >/dev/null
dpkg --verify "${names[@]}"
start_service
virtdisk create --quiet --size=64M "$work/disk.vhdx"
device=$(virtdisk attach --route=fuse "$work/disk.vhdx")
mkfs.ext4 -q "$device"
mkdir "$work/mnt"
mount -t virtdisk -o partition=0 "$work/disk.vhdx" "$work/mnt"

vd_say "--- upgrade, while $device is written to"
(while [ ! -e "$work/enough" ]; do dd if=/dev/urandom of="$work/mnt/file" bs=64k count=64 conv=fsync status=none || exit 1; done) &
writer=$!
worker=$(serving_worker)
[ -n "$worker" ] || vd_die "nobody serves $device"
apt-get install -y -qq --no-install-recommends "$work"/next/*.deb >/dev/null
[ -z "$(dpkg --verify "${names[@]}")" ] || vd_die "files differ from the packages"
vd_stop "$work/virtdiskd.pid" virtdiskd
start_service
[ "$(virtdisk list --json | grep -c "$device\"")" -ge 1 ] || vd_die "the new service does not know $device"
[ "$(cat "/proc/$worker/comm" 2>/dev/null)" = virtdisk-worker ] || vd_die "the worker has ended"
touch "$work/enough"
wait "$writer" || vd_die "writing failed during the upgrade"
sha256sum "$work/mnt/file" >"$work/sum"

vd_say "--- remove is refused while it is attached"
if apt-get remove -y -qq virtdisk >/dev/null 2>&1; then vd_die "removed with a disk attached"; fi
dpkg -s virtdisk | grep -q '^Status: install ok installed\|^Status: .* installed' || vd_die "half removed"
sha256sum -c --quiet "$work/sum"
umount "$work/mnt"
apt-get install -y -qq --no-install-recommends "$work"/next/*.deb >/dev/null
virtdisk detach "$work/disk.vhdx"
virtdisk check --quiet "$work/disk.vhdx"
vd_stop "$work/virtdiskd.pid" virtdiskd

vd_say "--- remove and purge"
apt-get remove -y -qq "${names[@]}" >/dev/null
dpkg --purge "${names[@]}" >/dev/null 2>&1 # most have nothing left, and are not known any more
snapshot >"$work/after"
diff "$work/before" "$work/after" || vd_die "the machine is not as it was"
vd_say "packages: installed, upgraded under load, removed and purged; the machine is as it was"
