#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs the tests: installs what they need, builds, runs each level, and checks that nothing is left behind.
#
#   sudo tests/run.sh [--level LEVEL,...] [--no-deps] [--build-dir DIR] [--meson-arg ARG]... [--list] [FILTER]
#
#   --level     lint, unit, crash, bus, system, vm (default: all)
#   --build-dir where to build (default: build-tests in the source tree)
#   --meson-arg passed to meson setup, such as -Db_sanitize=address,undefined; CC and CXX choose the compiler
#   FILTER      only tests whose name contains this
#
# Without root the system level is skipped. The last line is the count: "N passed, N failed, N skipped".
set -uo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=../data/common.sh
. "$source_dir/data/common.sh"

# In a chroot / is no mount, so nothing can be mounted privately below it; there it becomes one, over /mnt, in a mount
# namespace that ends with the tests (and with the udevd that they start).
if [ "$(id -u)" = 0 ] && [ -z "${VIRTDISK_TESTS_ROOT:-}" ] && ! mountpoint -q /; then
  exec env VIRTDISK_TESTS_ROOT=/mnt unshare --mount --propagation unchanged bash -c \
    'mount --rbind / /mnt && exec chroot /mnt bash "$@"' bash "$source_dir/tests/run.sh" "$@"
fi

levels=lint,unit,crash,bus,system,vm deps=yes build_dir=$source_dir/build-tests filter='' list=no meson_args=()
while [ $# -gt 0 ]; do
  case $1 in
    --level) levels=${2:?}; shift ;;
    --level=*) levels=${1#*=} ;;
    --no-deps) deps=no ;;
    --build-dir) build_dir=${2:?}; shift ;;
    --build-dir=*) build_dir=${1#*=} ;;
    --meson-arg) meson_args+=("${2:?}"); shift ;;
    --meson-arg=*) meson_args+=("${1#*=}") ;;
    --list) list=yes ;;
    -h | --help) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) vd_die "unknown argument: $1 (see --help)" ;;
    *) filter=$1 ;;
  esac
  shift
done
for level in ${levels//,/ }; do
  case $level in lint | unit | crash | bus | system | vm) ;; *) vd_die "no such level: $level (lint, unit, crash, bus, system, vm)" ;; esac
done

if [ "$deps" = yes ]; then
  if [ "$(id -u)" = 0 ]; then vd_install build run test || vd_die "packages could not be installed (see above; --no-deps skips this)"
  else vd_say "not root: no packages are installed, the system level is skipped"
  fi
  # Where the guest's packages cannot be had its level is skipped, by name.
  if [ "$(id -u)" = 0 ] && [[ ,$levels, == *,vm,* ]]; then vd_install vm || vd_say "the packages of level vm could not be installed"; fi
fi

vd_say "building in $build_dir"
build_start=$SECONDS
how=()
[ -f "$build_dir/build.ninja" ] && how=(--reconfigure)
log=$(mktemp)
if ! { meson setup "${how[@]}" --prefix=/usr -Dtests=enabled "${meson_args[@]}" "$build_dir" "$source_dir" && ninja -C "$build_dir"; } >"$log" 2>&1; then
  tail -n 40 "$log"
  rm -f "$log"
  vd_say "the build failed"
  vd_say "0 passed, 1 failed, 0 skipped"
  exit 1
fi
rm -f "$log"
vd_say "built in $((SECONDS - build_start)) s"

# udevd belongs to the machine; every machine with disks has one. It is started before the first look and goes on.
if [ "$(id -u)" = 0 ] && [[ ,$levels, == *,system,* || ,$levels, == *,unit,* ]]; then
  vd_start_udevd /run/virtdisk-tests.udevd && rm -f /run/virtdisk-tests.udevd
fi
python=python3
/usr/bin/python3 -c 'import gi' 2>/dev/null && python=/usr/bin/python3
exec env PYTHONDONTWRITEBYTECODE=1 "$python" "$source_dir/tests/runner.py" --levels "$levels" --build-dir "$build_dir" \
  --filter "$filter" --list "$list"
