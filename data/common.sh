# SPDX-License-Identifier: LGPL-2.1-or-later
# Shared by data/install.sh and tests/run.sh, which source it: packages, and the servers that a machine without
# systemd as process 1 lacks. Sets nothing outside its functions.
# shellcheck shell=bash

vd_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

vd_say() { printf '%s\n' "$*"; }
vd_die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
vd_have() { command -v "$1" >/dev/null 2>&1; }
vd_booted() { [ -d /run/systemd/system ]; }

# vd_packages FAMILY SET...: names of the packages, one a line. FAMILY: debian, fedora.
vd_packages() {
  local family=$1
  shift
  awk -v family="$family" -v sets=" $* " '
    /^#/ || NF < 3 {next}
    index(sets, " " $1 " ") {name = family == "debian" ? $2 : $3; if (name != "-") print name}' "$vd_here/packages" | sort -u
}

vd_install_debian() {
  local missing=() name
  while read -r name; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done < <(vd_packages debian "$@")
  while read -r name; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] && continue
    if apt-cache show "$name" >/dev/null 2>&1; then missing+=("$name"); fi
  done < <(vd_packages debian "${@/#/?}")
  [ ${#missing[@]} -gt 0 ] || return 0
  vd_say "installing: ${missing[*]}"
  # Some need not be real packages (pkg-config, udev's successors), so apt decides, not we.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
}

vd_install_fedora() {
  local missing=() name
  while read -r name; do
    rpm -q --whatprovides "$name" >/dev/null 2>&1 || missing+=("$name")
  done < <(vd_packages fedora "$@")
  [ ${#missing[@]} -eq 0 ] || { vd_say "installing: ${missing[*]}"; dnf install -y -q --setopt=install_weak_deps=False "${missing[@]}"; }
  missing=()
  while read -r name; do
    rpm -q --whatprovides "$name" >/dev/null 2>&1 || missing+=("$name")
  done < <(vd_packages fedora "${@/#/?}")
  [ ${#missing[@]} -eq 0 ] || dnf install -y -q --setopt=install_weak_deps=False --skip-unavailable "${missing[@]}" || true
}

# vd_install SET...: installs what is missing of these sets.
vd_install() {
  if vd_have apt-get; then vd_install_debian "$@"
  elif vd_have dnf; then vd_install_fedora "$@"
  else vd_die "neither apt-get nor dnf here: install what data/packages lists for '$*', then use --no-deps"
  fi
}

# vd_await NAME SECONDS: until NAME is owned on the system bus.
vd_await() { gdbus wait --system --timeout "$2" "$1"; }

vd_bus_answers() { dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId >/dev/null 2>&1; }
vd_owned() {
  dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner "string:$1" >/dev/null 2>&1
}

# vd_first PATH...: the first that can be executed.
vd_first() {
  local path
  for path in "$@"; do
    [ -x "$path" ] && { printf '%s\n' "$path"; return 0; }
  done
  return 1
}

# vd_pid_of COMMAND: the process of that name in our root directory.
vd_pid_of() {
  local dir
  for dir in /proc/[0-9]*; do
    [ "$(cat "$dir/comm" 2>/dev/null)" = "$1" ] && [ "$dir/root" -ef / ] && { printf '%s\n' "${dir#/proc/}"; return 0; }
  done
  return 1
}

# vd_start_udevd PIDFILE: where none runs.
vd_start_udevd() {
  local program
  # An udevd that was killed leaves its socket behind.
  [ -e /run/udev/control ] && udevadm control --ping --timeout=30 2>/dev/null && return 0
  if vd_booted; then systemctl start systemd-udevd.service; return; fi
  program=$(vd_first /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd /usr/bin/udevadm) || vd_die "no udevd here"
  vd_say "starting udevd"
  mkdir -p "$(dirname "$1")"
  # Forks when it listens.
  "$program" --daemon </dev/null >/dev/null 2>&1 || vd_die "udevd did not start"
  vd_pid_of systemd-udevd >"$1"
}

# vd_start_bus PIDFILE: where none answers.
vd_start_bus() {
  vd_bus_answers && return 0
  if vd_booted; then systemctl start dbus.socket dbus.service; return; fi
  vd_say "starting the system bus"
  mkdir -p "$(dirname "$1")" /run/dbus
  dbus-uuidgen --ensure
  rm -f /run/dbus/pid
  dbus-daemon --system --fork --print-pid >"$1" || vd_die "the system bus did not start"
  vd_bus_answers || vd_die "the system bus does not answer"
}

# vd_start_polkit PIDFILE: where nobody owns its name.
vd_start_polkit() {
  local program
  vd_owned org.freedesktop.PolicyKit1 && return 0
  if vd_booted; then systemctl start polkit.service; return; fi
  program=$(vd_first /usr/lib/polkit-1/polkitd /usr/libexec/polkitd) || vd_die "no polkitd here"
  vd_say "starting polkitd"
  mkdir -p "$(dirname "$1")"
  setsid "$program" --no-debug </dev/null >/dev/null 2>&1 &
  echo $! >"$1"
  vd_await org.freedesktop.PolicyKit1 15 || vd_die "polkitd did not start"
}

# vd_stop PIDFILE COMMAND: ends the process that we started, if it is still that program, and waits.
vd_stop() {
  local pid
  [ -r "$1" ] || return 0
  pid=$(head -n 1 "$1")
  rm -f "$1"
  case $(cat "/proc/${pid:-0}/comm" 2>/dev/null) in
    "$2"*) kill "$pid" 2>/dev/null && tail --pid="$pid" -f /dev/null ;;
  esac
  return 0
}
