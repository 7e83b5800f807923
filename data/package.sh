#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Builds the packages of this source, in a copy of it: the tree stays as it is.
#
#   data/package.sh [--output DIR] [--version VERSION] [--build-dir DIR] [--no-deps] [--rpm]
#
#   --output DIR  where the packages go (default: build-packages in the source tree)
#   --version     of the packages (default: that of meson.build)
#   --build-dir   packages what is built there, with the prefix /usr, instead of building (for tests; .deb only)
#   --no-deps     installs nothing that the build needs
#   --rpm         .rpm instead of .deb
#
# DEBFULLNAME and DEBEMAIL say who makes them, as for Debian's own tools. lintian is asked if it is installed.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=common.sh
. "$source_dir/data/common.sh"

output=$source_dir/build-packages version='' build_dir='' deps=yes kind=deb
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=${2:?}; shift ;;
    --output=*) output=${1#*=} ;;
    --version) version=${2:?}; shift ;;
    --version=*) version=${1#*=} ;;
    --build-dir) build_dir=$(realpath "${2:?}"); shift ;;
    --build-dir=*) build_dir=$(realpath "${1#*=}") ;;
    --no-deps) deps=no ;;
    --rpm) kind=rpm ;;
    -h | --help) sed -n '3,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) vd_die "unknown argument: $1 (see --help)" ;;
  esac
  shift
done
version=${version:-$(sed -n "s/^project([^:]*version: '\([^']*\)'.*/\1/p" "$source_dir/meson.build")}
[ -n "$version" ] || vd_die "meson.build says no version"
maintainer="${DEBFULLNAME:-virtdisk} <${DEBEMAIL:-virtdisk@$(hostname --fqdn 2>/dev/null || hostname)}>"
mkdir -p "$output"
output=$(cd "$output" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/virtdisk-$version

# What is under version control, as it lies there; elsewhere all but builds.
copy_tree() {
  mkdir "$tree"
  if git -C "$source_dir" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git -C "$source_dir" ls-files -z --cached --others --exclude-standard |
      tar -C "$source_dir" --ignore-failed-read --warning=no-failed-read --null -T - -cf - | tar -C "$tree" -xf -
  else
    tar -C "$source_dir" --exclude='./build*' -cf - . | tar -C "$tree" -xf -
  fi
}

build_deb() {
  local nameless=()
  [ "$deps" = no ] || vd_install build package
  cp -r "$tree/data/debian" "$tree/debian"
  sed -i "s/@MAINTAINER@/$maintainer/" "$tree/debian/control"
  printf 'virtdisk (%s) unstable; urgency=medium\n\n  * Built from source with data/package.sh.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date -R -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y "$source_dir/meson.build")}")" >"$tree/debian/changelog"
  (cd "$tree" && VIRTDISK_BUILD_DIR=$build_dir dpkg-buildpackage -us -uc -b ${build_dir:+-d}) >"$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; vd_die "dpkg-buildpackage failed"; }
  if vd_have lintian; then
    # Whoever builds without a name of their own has no address that others could write to either.
    [ -n "${DEBEMAIL:-}" ] || nameless=(--suppress-tags "bogus-mail-host,bogus-mail-host-in-debian-changelog")
    lintian --fail-on error --tag-display-limit 0 --allow-root "${nameless[@]}" "$work"/*.changes || vd_die "lintian has found errors"
  fi
  cp "$work"/*.deb "$output/"
}

build_rpm() {
  vd_have rpmbuild || vd_die "rpmbuild is not installed"
  tar -C "$work" -czf "$work/virtdisk-$version.tar.gz" "virtdisk-$version"
  rpmbuild -bb --define "_topdir $work/rpm" --define "_sourcedir $work" --define "virtdisk_version $version" \
    "$tree/data/virtdisk.spec" >"$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; vd_die "rpmbuild failed"; }
  find "$work/rpm/RPMS" -name '*.rpm' -exec cp {} "$output/" \;
}

copy_tree
build_"$kind"
vd_say "packages are in $output:"
ls -1 "$output"
