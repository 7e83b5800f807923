#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the real polkitd makes of our policy and our rule. Prints "ACTION USER EXIT-STATUS-OF-PKCHECK" lines; everything
# happens in a mount namespace and on a bus of its own. The users' sessions are made up by a rule that comes first:
# daemon is an active member of GROUP, bin an inactive one, games active but no member; nobody is left as polkitd sees it.
# usage: unshare -m polkitd-answers.sh POLICY RULES GROUP
set -eu
policy=$1 rules=$2 group=$3
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
cp "$rules" "$dir/rules"
cat > "$dir/rules/00-sessions.rules" <<RULE
var addRule = polkit.addRule;
var sessions = {daemon: [true, "$group"], bin: [false, "$group"], games: [true, "games"]};
polkit.addRule = function(rule) {
  addRule.call(polkit, function(action, subject) {
    var session = sessions[subject.user];
    if (session === undefined)
      return rule(action, subject);
    return rule(action, {user: subject.user, active: session[0], isInGroup: function(name) { return name == session[1]; }});
  });
};
RULE
chmod -R a+rX "$dir"
mount --make-rprivate /
mount --bind "$dir/actions" /usr/share/polkit-1/actions
mount --bind "$dir/rules" /usr/share/polkit-1/rules.d
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

for action in attach-read-only manage-volume attach-at-boot manage-others; do
  for user in daemon bin games nobody root; do
    status=0
    setpriv --reuid="$user" --clear-groups sh -c 'exec pkcheck --action-id "$1" --process $$' sh \
      "org.virtdisk1.$action" >/dev/null 2>&1 || status=$?
    echo "$action $user $status"
  done
done
sed 's/^/polkitd says: /' "$dir/errors"
