#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the library exports: virtdisk_* and nothing else, and every function that a public header declares.
# Usage: symbols.sh LIBRARY HEADER...
set -eu
library=$1
shift
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
others=$(printf '%s\n' "$exported" | grep -v '^virtdisk_' || true)
if [ -n "$others" ]; then
  printf 'exported but not virtdisk_*:\n%s\n' "$others"
  exit 1
fi
missing=0
for name in $(cat "$@" | grep -v '^ \*' | grep -o 'virtdisk_[a-z0-9_]*(' | tr -d '(' | sort -u); do
  if ! printf '%s\n' "$exported" | grep -qx "$name"; then
    echo "declared but not exported: $name"
    missing=1
  fi
done
count=$(printf '%s\n' "$exported" | wc -l)
if [ "$count" -lt 100 ]; then
  echo "only $count symbols found in $library"
  exit 1
fi
exit "$missing"
