#!/bin/bash
# named.sh: what is said of one mount is not disturbed by others: a bind mount of it is no mount of
# its own, and another one in trouble does not concern who has named this one. Of a watchdog that
# is dead no pid is shown, also while nobody has reaped it.
. "$(dirname "$0")/lib.sh"
need jq
need_python

start_server
mount_volume
two=$work/two
bind=$work/bind
mkdir -p "$two" "$bind"

step "a bind mount"
mount --bind "$mnt" "$bind"
ups() { "$tangelo" metrics | grep '^tangelo_up{' | grep -F "$work/" || true; }
[ "$(ups)" = "tangelo_up{mount=\"$mnt\"} 1" ] || die "the metrics tell of: $(ups)"
points=$({ "$tangelo" status --json 2> /dev/null || true; } |
  jq -r '.mounts[].mount_point' | grep -F "$work/")
[ "$points" = "$mnt" ] || die "status tells of: $points"
[ "$("$tangelo" status "$bind" --json | jq -r '.mounts[0].mount_point')" = "$mnt" ] ||
  die "the bind mount, when it is named: $("$tangelo" status "$bind")"
umount "$bind"
"$tangelo" status "$mnt" | grep -q SERVING || die "the mount is gone with its bind mount"

step "a watchdog is dead, and not reaped"
mkfifo "$work/hold"
"$python" -c 'import subprocess, sys
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
open(sys.argv[1]).read()' "$work/hold" "$build/watchdog/tangelo-watchdog" --foreground \
  --source "$address:/$volume" --mount-point "$two" >> "$TANGELO_RUN_DIR/log/two.log" 2>&1 &
exec 9> "$work/hold"
of_two() { # role: its pid
  { "$tangelo" status "$two" --json 2> /dev/null || true; } |
    jq -r ".mounts[0].processes[]? | select(.role == \"$1\") | .pid"
}
serves_two() { "$tangelo" status "$two" 2> /dev/null | grep -q SERVING; }
until_true 20 serves_two || die "the second mount does not come"
front_end=$(of_two front_end)
core=$(of_two core)
watchdog=$(of_two watchdog)
kill -KILL "$watchdog"
is_zombie() { grep -q '^State:.Z' "/proc/$watchdog/status"; }
until_true 10 is_zombie || die "it was reaped: the test sees nothing"
[ "$(of_two watchdog)" = 0 ] || die "a dead watchdog has pid $(of_two watchdog)"
[ "$(of_two front_end)" = "$front_end" ] || die "a living front end has pid $(of_two front_end)"

step "another mount is in trouble"
kill -KILL "$front_end" "$core"
! "$tangelo" ops "$two" > /dev/null 2>&1 || die "nothing is wrong with the second mount"
"$tangelo" ops "$mnt" > /dev/null || die "ops of the first mount: exit code $?"
"$tangelo" status "$mnt" > /dev/null || die "status of the first mount: exit code $?"
"$tangelo" umount -f "$two" > /dev/null 2>&1 || umount -l "$two"
exec 9>&-
