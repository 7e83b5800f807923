# SPDX-License-Identifier: LGPL-2.1-or-later
# For test-*.sh, which source it: . "$VM_LIB". Stops a test at the first command that fails, and says where.
# shellcheck shell=bash
set -euo pipefail
trap 'printf "failed: %s:%s: %s\n" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

# A boot is shared, and so is the kernel's log: what other tests left there counts for none but them.
vm_mark="vm-test $0 $$ $RANDOM"
printf '%s\n' "$vm_mark" >/dev/kmsg

# vm_kernel_quiet: fails if the kernel has complained since the test began.
vm_kernel_quiet() {
  local said
  said=$(dmesg | awk -v mark="$vm_mark" 'index($0, mark) { said = ""; next } { said = said $0 "\n" } END { printf "%s", said }' |
    grep -E 'I/O error|blocked for more than|BUG: |WARNING: CPU') || return 0
  vm_fail "the kernel complains: $said"
}

# vm_skip REASON: ends the test; it counts as skipped.
vm_skip() { printf '%s\n' "$*"; exit 77; }

# vm_fail WHAT: ends the test; it has failed.
vm_fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }

# vm_same WHAT GOT WANTED
vm_same() { [ "$2" = "$3" ] || vm_fail "$1: '$2', not '$3'"; }

# vm_refused COMMAND...: fails if the command does not fail; prints what it said.
vm_refused() {
  local said
  if said=$("$@" 2>&1); then vm_fail "was not refused: $* ($said)"; fi
  printf '%s\n' "$said"
}

# vm_until SECONDS COMMAND...: until the command succeeds. It is tried again after each event of the kernel's devices, and
# each half second.
vm_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || vm_fail "not in time: $*"
    read -r -t 0.5 <> <(:) || true
  done
}

# vm_user NAME [GROUP...]: makes an account, with a home that others may enter.
vm_user() {
  local name=$1
  shift
  id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$name"
  chmod 755 "/home/$name"
  for group in "$@"; do usermod --append --groups "$group" "$name"; done
}

# vm_as NAME COMMAND...: as that user, without a session.
vm_as() {
  local name=$1
  shift
  systemd-run --quiet --wait --pipe --collect --uid="$name" --working-directory="/home/$name" --setenv=HOME="/home/$name" "$@"
}

# vm_session NAME COMMAND...: as that user in an active session at the console (seat0), as a desktop has it.
vm_session() {
  local name=$1 vt=$((7 + RANDOM % 50))
  shift
  chvt "$vt" 2>/dev/null || vm_switch "$vt"
  systemd-run --quiet --wait --pipe --collect --uid="$name" --working-directory="/home/$name" --setenv=HOME="/home/$name" \
    --property=PAMName=login --property=TTYPath="/dev/tty$vt" --setenv=XDG_SEAT=seat0 --setenv=XDG_VTNR="$vt" "$@"
}

vm_switch() {
  python3 -c "import fcntl, os
tty = os.open('/dev/tty0', os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(tty, 0x5606, $1)  # VT_ACTIVATE
fcntl.ioctl(tty, 0x5607, $1)  # VT_WAITACTIVE"
}

# vm_reboot: restarts the guest; the test is run again from its start, with VM_BOOT one higher.
vm_reboot() {
  : >"$VM_STATE/reboot"
  sync
  systemctl reboot
  exec sleep infinity
}
