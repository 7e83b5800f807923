#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the real polkitd makes of our policy and our rule. Prints "ACTION USER EXIT-STATUS-OF-PKCHECK" lines; everything
# happens in a mount namespace and on a bus of its own. The users' sessions are made up by a rule that comes first:
# daemon is an active member of GROUP, bin an inactive one, games active but no member; nobody is left as polkitd sees it.
# Mounting through UDisks2 is asked with a device: loop7 was attached by daemon, loop9 by bin, loop8 by nobody of ours;
# loop3 to loop6 are daemon's as well, and call themselves by a name of fstab.
# usage: unshare -m polkitd-answers.sh POLICY RULES MOUNT-RULES GROUP
set -eu
policy=$1 rules=$2 mount_rules=$3 group=$4
polkitd=
for candidate in /usr/lib/polkit-1/polkitd /usr/libexec/polkitd; do
  [ ! -x "$candidate" ] || polkitd=$candidate
done
dir=$(mktemp -d) bus_pid='' polkit_pid=''
finish() {
  for pid in $polkit_pid $bus_pid; do
    kill "$pid" && wait "$pid" || :
  done
  rm -rf "$dir"
} 2>/dev/null
trap finish EXIT
trap 'exit 1' INT TERM
chmod 755 "$dir"

mkdir "$dir/actions" "$dir/rules" "$dir/empty"
cp /usr/share/polkit-1/actions/org.freedesktop.policykit.policy "$policy" "$dir/actions"
cp "$rules" "$mount_rules" "$dir/rules"
cat > "$dir/actions/org.freedesktop.UDisks2.policy" <<POLICY
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD polkit Policy Configuration 1.0//EN"
 "http://www.freedesktop.org/software/polkit/policyconfig-1.dtd">
<policyconfig><action id="org.freedesktop.udisks2.filesystem-mount-system"><description>Mount</description>
<message>Mount</message><defaults><allow_any>auth_admin</allow_any><allow_inactive>auth_admin</allow_inactive>
<allow_active>auth_admin</allow_active></defaults></action></policyconfig>
POLICY
cat > "$dir/udevadm" <<'UDEVADM'
#!/bin/sh
case $* in
  "info --query=property --name=/dev/loop7") echo DEVNAME=/dev/loop7; echo VIRTDISK_OWNER_UID=$(id -u daemon) ;;
  "info --query=property --name=/dev/ublkb7p1") echo VIRTDISK_OWNER_UID=$(id -u daemon) ;;
  "info --query=property --name=/dev/loop"[3-6]) echo "VIRTDISK_OWNER_UID=$(id -u daemon)"
    case $* in
      *3) printf 'ID_FS_UUID=AbCd-0123\nID_FS_UUID_ENC=AbCd-0123\n' ;;
      *4) printf 'ID_FS_LABEL=two_words\nID_FS_LABEL_ENC=two\\x20words\n' ;;
      *5) printf 'ID_PART_ENTRY_NAME=pool\nID_FS_LABEL=other\n' ;;
      *6) echo DEVLINKS=/dev/disk/by-uuid/abcd-0123 /dev/disk/by-id/virtdisk-6 ;;
    esac ;;
  "info --query=property --name=/dev/loop9") echo VIRTDISK_OWNER_UID=$(id -u bin) ;;
  *) echo DEVNAME=/dev/other ;;
esac
UDEVADM
chmod 755 "$dir/udevadm"
cat > "$dir/rules/00-sessions.rules" <<RULE
var addRule = polkit.addRule;
var sessions = {daemon: [true, "$group"], bin: [false, "$group"], games: [true, "games"]};
polkit.addRule = function(rule) {
  addRule.call(polkit, function(action, subject) {
    var session = sessions[subject.user];
    if (session === undefined)
      return rule(action, subject);
    return rule(action, {user: subject.user, active: session[0], local: session[0], isInGroup: function(name) { return name == session[1]; }});
  });
};
RULE
chmod -R a+rX "$dir"
mount --make-rprivate /
mount --bind "$dir/actions" /usr/share/polkit-1/actions
mount --bind "$dir/rules" /usr/share/polkit-1/rules.d
mount --bind "$dir/udevadm" "$(command -v udevadm)"
# An image of the same name as what the administrator mounts is not it.
cat > "$dir/fstab" <<'FSTAB'
# UUID=5555 /not ext4 defaults 0 0
UUID="abcd-0123" /backup ext4 noauto 0 2
  LABEL=two\040words /music ext4 nofail 0 2
PARTLABEL=pool /pool xfs noauto 0 0
/dev/disk/by-id/virtdisk-6 /six ext4 noauto 0 0
FSTAB
chmod 644 "$dir/fstab"
if [ -e /etc/fstab ]; then
  mount --bind "$dir/fstab" /etc/fstab
else
  mkdir -m 755 "$dir/etc"
  cp -p "$dir/fstab" "$dir/etc"
  mount -t overlay -o "lowerdir=$dir/etc:/etc" none /etc
fi
[ ! -d /etc/polkit-1/rules.d ] || mount --bind "$dir/empty" /etc/polkit-1/rules.d

cat > "$dir/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=$dir/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
<allow receive_type="signal"/></policy></busconfig>
CONF
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$dir/bus"
mkfifo "$dir/ready"
dbus-daemon --config-file="$dir/bus.conf" --nofork --nopidfile --print-address=3 3>"$dir/ready" 2>/dev/null &
bus_pid=$!
read -r _ < "$dir/ready"
"$polkitd" --no-debug 2>"$dir/errors" &
polkit_pid=$!
timeout 20 gdbus wait --system org.freedesktop.PolicyKit1

# The process, once it is the user's.
subject_of() {
  until [ "$(stat -c %U "/proc/$1" 2>/dev/null)" = "$2" ]; do :; done
  echo "$1"
}

for action in attach-read-only manage-volume attach-at-boot manage-others; do
  for user in daemon bin games nobody root; do
    status=0
    setpriv --reuid="$user" --clear-groups sh -c 'exec pkcheck --action-id "$1" --process $$' sh \
      "org.virtdisk1.$action" >/dev/null 2>&1 || status=$?
    echo "$action $user $status"
  done
done

# Details are taken from root only, as from udisksd; the subject is a process that waits as the user.
for device in loop3 loop4 loop5 loop6 loop7 loop8 loop9 ublkb7p1; do
  for user in daemon bin games; do
    status=0
    setpriv --reuid="$user" --clear-groups tail -f /dev/null &
    subject=$!
    pkcheck --action-id org.freedesktop.udisks2.filesystem-mount-system --detail device "/dev/$device" \
      --process "$(subject_of "$subject" "$user")" >/dev/null 2>&1 || status=$?
    kill "$subject"
    wait "$subject" 2>/dev/null || :
    echo "mount-$device $user $status"
  done
done
sed 's/^/polkitd says: /' "$dir/errors"
