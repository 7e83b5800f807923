#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every function that the header of the Windows names declares is exported, and nothing else.
# Usage: win32-symbols.sh LIBRARY HEADER
set -eu
exported=$(nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
declared=$(grep -oE '^(DWORD|BOOL|HANDLE) [A-Za-z0-9]+\(' "$2" | sed 's/.* //; s/($//' | sort -u)
if [ "$exported" != "$declared" ]; then
  printf 'exported:\n%s\ndeclared:\n%s\n' "$exported" "$declared"
  exit 1
fi
[ "$(printf '%s\n' "$exported" | wc -l)" -gt 40 ]
