#!/bin/bash
# log.sh: what is logged is changed while a mount and a server run: for all three processes of the
# mount, also for those that come after one of them was killed.
. "$(dirname "$0")/lib.sh"
need jq

start_server
mount_volume
log=$(echo "$TANGELO_RUN_DIR"/log/*.log)

lines_of() { grep -cE "(^| )$1\[$2\] .*$3" "$log" || true; } # role, pid, what
logs() { [ "$(lines_of "$@")" -gt 0 ]; }
op_is_logged() { # by the front end $1
  stat "$mnt/nothing" > /dev/null 2>&1 || true
  logs fs "$1" 'op .* --'
}

step "debug"
look
! op_is_logged "$pid_front_end" || die "debug lines without being asked for"
"$tangelo" set "$mnt" log=debug | grep -q 'log debug' || die "set does not show it"
until_true 10 op_is_logged "$pid_front_end" || die "the front end does not log more"
"$tangelo" status "$mnt" | grep -qE '^ *log +debug' || die "status does not show it"
[ "$(status_json | jq -r '.mounts[0].policy.log')" = debug ] || die "status --json"
grep -q '"log=debug"' "$TANGELO_RUN_DIR"/mounts/*/mount.toml || die "mount.toml does not keep it"

step "it lasts: front end and core are replaced, then the watchdog"
was_core=$pid_core
was_front_end=$pid_front_end
kill -KILL "$pid_front_end" "$pid_core"
until_true 20 is_replaced front_end "$was_front_end" || die "no front end comes"
until_true 10 op_is_logged "$pid_front_end" || die "the next front end logs less"
next_core_logs() { # the one that stays: another may have come too early for the front end
  look
  [ "$pid_core" != "$was_core" ] && logs core "$pid_core" 'import .* --'
}
until_true 10 next_core_logs || die "the next core logs less"
kill -KILL "$pid_watchdog"
was_watchdog=$pid_watchdog
"$tangelo" watchdog --adopt "$mnt" > /dev/null || die "adopt"
until_true 20 is_replaced watchdog "$was_watchdog" || die "no watchdog comes"
was_core=$pid_core
kill -KILL "$was_core"
until_true 20 is_replaced core "$was_core" || die "no core comes"
until_true 10 logs watchdog "$pid_watchdog" 'core: .* --' || die "the next watchdog logs less"

step "less"
"$tangelo" set "$mnt" log=error > /dev/null
was_core=$pid_core
kill -KILL "$was_core"
until_true 20 is_replaced core "$was_core" || die "no core comes"
! logs watchdog "$pid_watchdog" "core started, pid $pid_core" || die "the watchdog logs as much"
code=0
"$tangelo" set "$mnt" log=loud 2> "$work/said" || code=$?
[ "$code" = 2 ] && grep -q 'log=loud.*not a level' "$work/said" ||
  die "log=loud: $(cat "$work/said")"

step "a server"
"$tangelo" server log "$server_dir" error > /dev/null || die "server log"
mark=$(wc -l < "$server_log")
was_core=$pid_core
kill -KILL "$was_core"
until_true 20 is_replaced core "$was_core" || die "no core comes"
[ "$(wc -l < "$server_log")" = "$mark" ] || die "it logs: $(tail -n "+$mark" "$server_log")"
"$tangelo" server log "$server_dir" info | grep -q 'log level info' || die "server log info"
was_core=$pid_core
kill -KILL "$was_core"
until_true 20 is_replaced core "$was_core" || die "no core comes"
[ "$(wc -l < "$server_log")" -gt "$mark" ] || die "it logs nothing any more"
code=0
"$tangelo" server log "$server_dir" loud 2> /dev/null || code=$?
[ "$code" = 2 ] || die "server log loud: exit code $code"
