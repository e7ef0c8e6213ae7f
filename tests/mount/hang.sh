#!/bin/bash
# hang: a process that stands still is replaced within a second or so, whichever it is; one that
# only has to wait, or is held by a debugger, is not.
. "$(dirname "$0")/lib.sh"
need jq python3

start_server
mount_volume
watchdog=$(process_pid watchdog)
log=$(ls "$TANGELO_RUN_DIR"/log/*.log)

ms() { echo $(($(date +%s%N) / 1000000)); }
restarts() { status_json | jq "[.mounts[0].processes[].restarts] | add"; }
# Waits until role $1 has another process than $2, at most $3 ms from now; prints how long it took.
succession() {
  local role=$1 old=$2 limit=$3 begin now
  begin=$(ms)
  while now=$(process_pid "$role"); [ "$now" = "$old" ] || [ "$now" = 0 ]; do
    [ $(($(ms) - begin)) -lt "$limit" ] || die "$role $old was not replaced in $limit ms"
    sleep 0.02
  done
  say "$role $old -> $now after $(($(ms) - begin)) ms"
}
stood_still() { grep -c "stands still" "$log" || true; }

echo content > "$mnt/file"
exec 7<> "$mnt/file"

for role in core front_end; do
  step "a $role that stands still is replaced; its callers go on"
  sleep 0.5
  pid=$(process_pid "$role")
  kill -STOP "$pid"
  cat "$mnt/file" > "$work/out" & reader=$!
  succession "$role" "$pid" 2500
  wait "$reader" || die "the reader got an error"
  [ "$(cat "$work/out")" = content ] || die "the reader got something else"
  [ "$(cat "/proc/$$/fd/7")" = content ] || die "the open file is not what it was"
  [ ! -d "/proc/$pid" ] || [ "$(awk '{ print $3 }' "/proc/$pid/stat")" = Z ] ||
    die "the old one is still there"
done
[ "$(stood_still)" = 2 ] || die "the log tells of $(stood_still) hangs"

step "a front end that is killed is replaced, and takes its core along"
front_end=$(process_pid front_end) core=$(process_pid core)
kill -9 "$front_end"
[ "$(cat "$mnt/file")" = content ] || die "cannot read"
succession core "$core" 2000
[ "$(cat "/proc/$$/fd/7")" = content ] || die "the open file is not what it was"

step "nothing is replaced while the server stands still"
before=$(restarts) still=$(stood_still)
kill -STOP "$server_pid"
echo more >> "$mnt/file" & writer=$!
sleep "$(scaled 10 5)"
kill -CONT "$server_pid"
wait "$writer" || die "the writer got an error"
[ "$(restarts)" = "$before" ] || die "something was replaced"

step "nor when the watchdog, or everything, stood still for a while"
exec 7>&-  # whoever closes it while the front end stands still waits for it
kill -STOP "$watchdog"
sleep 2.5
kill -CONT "$watchdog"
sleep 1
trio="$watchdog $(process_pid front_end) $(process_pid core)"
# shellcheck disable=SC2086
kill -STOP $trio
sleep 2.5
# shellcheck disable=SC2086
kill -CONT $trio
sleep 1
[ "$(restarts)" = "$before" ] || die "something was replaced"
[ "$(stood_still)" = "$still" ] || die "something was found to stand still"

step "nor while a debugger holds a process"
core=$(process_pid core)
python3 - "$core" << 'END_PYTHON' || die "cannot trace the core"
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
pid, attach, detach = int(sys.argv[1]), 16, 17
if libc.ptrace(attach, pid, None, None) != 0: sys.exit(1)
os.waitpid(pid, 0x40000000)
time.sleep(2)
sys.exit(0 if libc.ptrace(detach, pid, None, None) == 0 else 1)
END_PYTHON
[ "$(process_pid core)" = "$core" ] || die "the core was replaced"
grep -q "held by a debugger" "$log" || die "the log does not say so"
cat "$mnt/file" > /dev/null

unmount_volume
stop_server
