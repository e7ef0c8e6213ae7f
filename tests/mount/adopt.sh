#!/bin/bash
# adopt: a mount goes on without its watchdog, and another one takes it over, whoever died with it.
# A watchdog that dies again and again harms nobody.
. "$(dirname "$0")/lib.sh"
need jq python3

start_server
mount_volume
watchdog=$(process_pid watchdog)
run=$(echo "$TANGELO_RUN_DIR"/mounts/*)
log=$(ls "$TANGELO_RUN_DIR"/log/*.log)

adopt() { timeout 30 "$tangelo" watchdog --adopt "$mnt"; }
expect_pid() { # of role $1 to be $2
  [ "$(process_pid "$1")" = "$2" ] || die "$1 is $(process_pid "$1"), not $2"
}
expect_other() { # of role $1 to be another process than $2, soon
  local i pid
  for ((i = 0; i < 100; ++i)); do
    pid=$(process_pid "$1")
    [ "$pid" = "$2" ] || [ "$pid" = 0 ] || return 0
    sleep 0.05
  done
  die "$1 $2 was not replaced"
}
# A process of its own holds a file open: whoever inherits it waits at its end, in close(2), while
# there is no front end.
hold_file() {
  coproc holder {
    exec python3 -uc 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for line in sys.stdin: print(os.pread(fd, 100, 0).decode().strip())' "$mnt/file"
  }
}
expect_file() { # the open file and the mount to work
  local said=
  echo >&"${holder[1]}"
  read -r -t 20 said <&"${holder[0]}" || die "the open file does not answer"
  [ "$said" = content ] || die "the open file is not what it was"
  echo "$stage" > "$mnt/other"
  [ "$(cat "$mnt/other")" = "$stage" ] || die "what was written is not there"
}
note_pids() {
  watchdog=$(process_pid watchdog) front_end=$(process_pid front_end) core=$(process_pid core)
}
lose_watchdog() { # and perhaps others, by pid
  kill -9 "$watchdog" "$@"
  local i
  for ((i = 0; i < 100; ++i)); do [ -d "/proc/$watchdog" ] || break; sleep 0.02; done
}

echo content > "$mnt/file"
hold_file

step "one that lives is not replaced"
note_pids
"$build/watchdog/tangelo-watchdog" --adopt --mount-point "$mnt" --run-dir "$TANGELO_RUN_DIR" \
  > "$work/out" 2>&1 < /dev/null && die "it was"
grep -q "another tangelo-watchdog serves it" "$work/out" || { cat "$work/out"; die "no reason"; }
expect_pid watchdog "$watchdog"

step "front end and core go on, and are taken over as they are"
note_pids
lose_watchdog
expect_file
adopt > /dev/null || die "adopt"
expect_pid front_end "$front_end"
expect_pid core "$core"
timeout 20 "$tangelo" status "$mnt" | grep -q SERVING || die "it does not say SERVING"
grep -q "^watchdog_pid = $(process_pid watchdog)$" "$run/mount.toml" || die "mount.toml"
expect_file
step "what the new watchdog did not start itself it replaces all the same"
kill -9 "$core"
expect_other core "$core"
kill -9 "$front_end"
expect_other front_end "$front_end"
expect_file

step "a core that died with the watchdog"
note_pids
lose_watchdog "$core"
cat "$mnt/file" > "$work/out" & reader=$!
adopt > /dev/null || die "adopt"
expect_other core "$core"
expect_pid front_end "$front_end"
wait "$reader" || die "the reader got an error"
expect_file

step "a front end that died with the watchdog: the core hands everything over"
note_pids
lose_watchdog "$front_end"
cat "$mnt/file" > "$work/out" & reader=$!
adopt > /dev/null || die "adopt"
expect_other front_end "$front_end"
expect_other core "$core"
wait "$reader" || die "the reader got an error"
expect_file

step "a front end that stands still"
note_pids
kill -STOP "$front_end"
lose_watchdog
adopt > /dev/null || die "adopt"
expect_other front_end "$front_end"
expect_file

step "a core that stands still"
note_pids
kill -STOP "$core"
lose_watchdog
adopt > /dev/null || die "adopt"
expect_other core "$core"
expect_pid front_end "$front_end"
expect_file

step "watchdogs that die at any moment harm nobody"
note_pids
RANDOM=${TANGELO_SEED:-7}
"$build/watchdog/tangelo-watchdog" --help > /dev/null
for ((i = 0; i < $(scaled 40 15); ++i)); do
  lose_watchdog 2> /dev/null || true
  "$build/watchdog/tangelo-watchdog" --adopt --mount-point "$mnt" --run-dir "$TANGELO_RUN_DIR" \
    >> "$log" 2>&1 < /dev/null &
  watchdog=$!
  sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
done
lose_watchdog 2> /dev/null || true
expect_pid front_end "$front_end"
adopt > /dev/null || die "adopt"
expect_pid front_end "$front_end"
expect_file

step "the policy is kept, and kept up"
timeout 20 "$tangelo" set "$mnt" reconnect_delay=5 fast_io_fail_tmo=20 > /dev/null
if timeout 20 "$tangelo" set "$mnt" dev_loss_tmo=10 > "$work/out" 2>&1; then die "unsound"; fi
grep -q "fast_io_fail_tmo=20" "$work/out" || { cat "$work/out"; die "no reason"; }
grep -q 'options = \["reconnect_delay=5", "fast_io_fail_tmo=20"\]' "$run/mount.toml" || die "set"
note_pids
lose_watchdog
adopt > /dev/null || die "adopt"
grep -q 'options = \["reconnect_delay=5", "fast_io_fail_tmo=20"\]' "$run/mount.toml" || die "adopt"
expect_file

step "a watchdog that is stopped is said to be, and not replaced"
note_pids
kill -STOP "$watchdog"
stopped="its watchdog (pid $watchdog) is stopped"
timeout 20 "$tangelo" status "$mnt" > "$work/out" 2>&1 && die "exit code 0"
grep -qF "  $mnt: $stopped" "$work/out" || { cat "$work/out"; die "status does not say that"; }
if grep -q -- --adopt "$work/out"; then cat "$work/out"; die "it cannot be adopted"; fi
if adopt > "$work/out" 2>&1; then die "adopted"; fi
grep -qF "$stopped" "$work/out" || { cat "$work/out"; die "--adopt does not say that"; }
kill -CONT "$watchdog"
expect_file

step "an adopted mount ends as any other"
note_pids
kill "$holder_PID"
wait "$holder_PID" 2> /dev/null || true
unmount_volume
for ((i = 0; i < 60; ++i)); do
  [ -d "/proc/$watchdog" ] || [ -d "/proc/$front_end" ] || [ -d "/proc/$core" ] || break
  sleep 0.05
done
[ ! -e "$run" ] || die "the run directory is left"
[ ! -d "/proc/$front_end" ] && [ ! -d "/proc/$core" ] || die "a process is left"

step "with all three dead there is nothing to adopt, and it is said"
mount_volume
note_pids
lose_watchdog "$front_end" "$core"
timeout 20 "$tangelo" status "$mnt" > "$work/out" 2>&1 && die "exit code 0"
grep -qF "tangelo umount -f $mnt" "$work/out" || { cat "$work/out"; die "no word of umount -f"; }
if grep -q -- --adopt "$work/out"; then cat "$work/out"; die "it cannot be adopted"; fi
if adopt > "$work/out" 2>&1; then die "adopted"; fi
grep -q "neither its front end nor its core answers" "$work/out" || { cat "$work/out"; die "why"; }
timeout 20 "$tangelo" umount -f "$mnt" > /dev/null 2>&1 || die "umount -f"
if grep -qF "$mnt" /proc/self/mountinfo; then die "it is still mounted"; fi
step "with all three stopped its end takes no longer"
mount_volume
note_pids
kill -STOP "$watchdog" "$front_end" "$core"
begin=$(milliseconds)
timeout 20 "$tangelo" umount -f "$mnt" > "$work/out" 2>&1 || { cat "$work/out"; die "umount -f"; }
took=$(($(milliseconds) - begin))
[ $took -le $((2000 + (scale < 100 ? 1000 : 0))) ] || die "umount -f took $took ms"
if grep -qF "$mnt" /proc/self/mountinfo; then die "it is still mounted"; fi
kill -CONT "$watchdog" "$front_end" "$core"
until_true 10 no_own_processes || die "left: $(own_processes)"
allowed_words='neither its front end nor its core|another tangelo-watchdog serves it'
stop_server
