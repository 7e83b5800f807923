#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs virtdisk on this machine: packages that are needed, build, files, accounts, and the servers that are missing
# (with systemd or without). Running it again changes nothing but what is new.
#
#   sudo data/install.sh [--demo] [--prefix=/usr] [--build-dir=DIR] [--no-deps]
#   sudo data/install.sh --uninstall [--force]
#   data/install.sh DESTDIR=DIR [--prefix=/usr] [--build-dir=DIR] [--no-deps]
#
#   --demo        afterwards creates a VHDX, attaches it, writes, detaches, reads back, and shows each command
#   --uninstall   removes everything again; not while disks are attached, unless --force (which detaches them)
#   --no-deps     installs no packages
#   DESTDIR=DIR   builds and copies below DIR only: nothing is started, no account made
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=common.sh
. "$source_dir/data/common.sh"

prefix=/usr destdir=${DESTDIR:-} build_dir='' action=install demo=no deps=yes force=no
while [ $# -gt 0 ]; do
  case $1 in
    --demo) demo=yes ;;
    --uninstall) action=uninstall ;;
    --force) force=yes ;;
    --no-deps) deps=no ;;
    --prefix=*) prefix=${1#*=} ;;
    --prefix) prefix=${2:?}; shift ;;
    --build-dir=*) build_dir=${1#*=} ;;
    --build-dir) build_dir=${2:?}; shift ;;
    DESTDIR=*) destdir=${1#*=} ;;
    -h | --help) sed -n '3,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) vd_die "unknown argument: $1 (see --help)" ;;
  esac
  shift
done
[ "$demo" = no ] || [ -z "$destdir" ] || vd_die "--demo needs an installation on this machine, not DESTDIR"
[ -n "$destdir" ] || [ "$(id -u)" = 0 ] || vd_die "needs root (or DESTDIR=DIR)"
build_dir=${build_dir:-$source_dir/build-install}
manifest=$destdir$prefix/share/virtdisk/installed-files
started=/run/virtdisk-install

build() {
  local how=()
  export GI_SCANNER_DISABLE_CACHE=1 # it would stay in root's home directory
  [ -f "$build_dir/build.ninja" ] && how=(--reconfigure)
  meson setup "${how[@]}" --prefix="$prefix" --buildtype=debugoptimized -Dtests=disabled "$build_dir" "$source_dir" >"$build_dir.log" 2>&1 ||
    { tail -n 30 "$build_dir.log" >&2; vd_die "meson setup failed; all of it: $build_dir.log"; }
  ninja -C "$build_dir" >"$build_dir.log" 2>&1 || { tail -n 40 "$build_dir.log" >&2; vd_die "the build failed; all of it: $build_dir.log"; }
  rm -f "$build_dir.log"
}

# remove: takes away what standard input names, innermost first. A folder only when it is empty; prints those that stay.
remove() {
  local file
  LC_ALL=C sort -ru | while read -r file; do
    [ -n "$file" ] || continue
    if [ -d "$destdir$file" ] && [ ! -L "$destdir$file" ]; then rmdir -- "$destdir$file" 2>/dev/null || printf '%s\n' "$file"
    else rm -f -- "$destdir$file"
    fi
  done
}

# The manifest names the files, and the folders that were made for them, also by an earlier run. Files of an earlier
# version that this one no longer has go.
copy() {
  local old='' name=${manifest#"$destdir"}
  [ -f "$manifest" ] && old=$(cat "$manifest")
  if [ -n "$destdir" ]; then meson install -C "$build_dir" --no-rebuild --destdir "$destdir" >/dev/null
  else meson install -C "$build_dir" --no-rebuild >/dev/null
  fi
  mkdir -p "${manifest%/*}"
  { sed -n "s|^$destdir/|/|p" "$build_dir/meson-logs/install-log.txt"; printf '%s\n' "$name" "${name%/*}"; } | sort -u >"$manifest.new"
  mv "$manifest.new" "$manifest"
  printf '%s\n' "$old" | { grep -vxFf "$manifest" || true; } | remove >>"$manifest"
}

accounts() {
  if vd_have systemd-sysusers; then
    systemd-sysusers "$prefix/lib/sysusers.d/virtdisk.conf"
    return
  fi
  getent group virtdisk >/dev/null || groupadd --system virtdisk
  getent passwd virtdisk-worker >/dev/null ||
    useradd --system --no-create-home --home-dir / --shell /usr/sbin/nologin --comment "Disk image parser" virtdisk-worker
}

folders() {
  install -d -m 0700 /run/virtdisk /var/lib/virtdisk /var/lib/virtdisk/boot
}

# Not every kernel has these as modules; what counts is that the control nodes are there afterwards.
modules() {
  [ -e /dev/loop-control ] || modprobe loop 2>/dev/null || true
  [ -e /dev/ublk-control ] || modprobe ublk_drv 2>/dev/null || true
  [ -e /dev/fuse ] || modprobe fuse 2>/dev/null || true
  [ -e /dev/loop-control ] || vd_say "warning: this kernel has no loop devices (/dev/loop-control is missing): most images cannot be attached"
  [ -e /dev/ublk-control ] || [ -e /dev/fuse ] ||
    vd_say "warning: this kernel has neither ublk nor FUSE: dynamic and differencing images cannot be attached"
}

reload() {
  ! vd_booted || systemctl daemon-reload
  [ ! -e /run/udev/control ] || udevadm control --reload
  ! vd_bus_answers || dbus-send --system --type=method_call --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig >/dev/null
}

# Attached disks are not touched by a stop: the next service adopts them.
stop_service() {
  if vd_booted; then systemctl stop virtdiskd.service 2>/dev/null || true; return 0; fi
  vd_stop "$started/virtdiskd.pid" virtdiskd
}

start_service() {
  if vd_booted; then
    systemctl enable --quiet virtdisk-boot.service
    systemctl restart virtdiskd.service
    return
  fi
  stop_service
  mkdir -p "$started"
  setsid "$prefix/libexec/virtdisk/virtdiskd" --bus=system </dev/null >>/var/log/virtdiskd.log 2>&1 &
  echo $! >"$started/virtdiskd.pid"
  vd_await org.virtdisk1 15 || { tail -n 20 /var/log/virtdiskd.log >&2; vd_die "virtdiskd did not start; it writes to /var/log/virtdiskd.log"; }
}

install_all() {
  [ "$deps" = no ] || if [ "$demo" = yes ]; then vd_install build run demo; else vd_install build run; fi
  vd_say "building in $build_dir"
  build
  vd_say "copying to ${destdir:-/}"
  copy
  if [ -n "$destdir" ]; then vd_say "installed below $destdir"; return; fi
  ldconfig
  accounts
  folders
  modules
  vd_start_udevd "$started/udevd.pid"
  vd_start_bus "$started/dbus-daemon.pid"
  reload
  vd_start_polkit "$started/polkitd.pid"
  start_service
  vd_say "virtdiskd $(gdbus call --system -d org.virtdisk1 -o /org/virtdisk1 -m org.freedesktop.DBus.Properties.Get org.virtdisk1.Manager Version | tr -d "(<>',)") answers on the system bus"
}

attached() { find /run/virtdisk/disks -type f 2>/dev/null; }

devices() { "$prefix/bin/virtdisk" list | awk '$1 ~ "^/dev/" {print $1}'; }

# In rounds, since an image that lies on another disk goes before that disk.
detach_all() {
  local device left before=''
  vd_bus_answers || vd_die "the system bus does not answer, so nothing can be detached"
  while left=$(devices) && [ -n "$left" ] && [ "$left" != "$before" ]; do
    for device in $left; do "$prefix/bin/virtdisk" detach --force "$device" || true; done
    before=$left
  done
  [ -z "$left" ] || vd_die "cannot detach ${left//$'\n'/, }"
}

remove_accounts() {
  ! getent passwd virtdisk-worker >/dev/null || userdel virtdisk-worker
  ! getent group virtdisk-worker >/dev/null || groupdel virtdisk-worker
  if [ -n "$(getent group virtdisk | cut -d: -f4)" ]; then vd_say "the group virtdisk has members and stays"
  elif getent group virtdisk >/dev/null; then groupdel virtdisk
  fi
}

# Only those that were started here. What a bus or an udevd leaves in /run would pass for one that runs.
stop_servers() {
  vd_stop "$started/polkitd.pid" polkitd
  if [ -f "$started/dbus-daemon.pid" ]; then
    vd_stop "$started/dbus-daemon.pid" dbus-daemon
    rm -f /run/dbus/pid /run/dbus/system_bus_socket
    rmdir /run/dbus 2>/dev/null || true
  fi
  if [ -f "$started/udevd.pid" ]; then
    vd_stop "$started/udevd.pid" systemd-udevd
    rm -rf /run/udev
  fi
}

uninstall_all() {
  local files
  [ -f "$manifest" ] || vd_die "not installed with this script (no $manifest)"
  if [ -z "$destdir" ] && [ -n "$(attached)" ]; then
    [ "$force" = yes ] || vd_die "disks are attached: detach them (virtdisk list), or use --force"
    detach_all
  fi
  files=$(cat "$manifest")
  if [ -z "$destdir" ]; then
    ! vd_booted || systemctl disable --quiet --now virtdiskd.service virtdisk-boot.service 2>/dev/null || true
    stop_service
  fi
  printf '%s\n' "$files" | remove >/dev/null
  if [ -n "$destdir" ]; then vd_say "removed from $destdir"; return; fi
  ldconfig
  reload
  stop_servers
  remove_accounts
  rm -rf "$started" /run/virtdisk /var/log/virtdiskd.log
  rmdir /var/lib/virtdisk/boot /var/lib/virtdisk 2>/dev/null || [ ! -d /var/lib/virtdisk ] || vd_say "boot records stay in /var/lib/virtdisk"
  vd_say "virtdisk: removed"
}

case $action in
  uninstall) uninstall_all ;;
  install)
    install_all
    [ "$demo" = no ] || exec "$source_dir/data/demo.sh" "$prefix"
    vd_say "virtdisk: installed"
    ;;
esac
