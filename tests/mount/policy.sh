#!/bin/bash
# policy: how long callers wait for a server that does not come back: what is refused at mount, what
# fails when and with which errno, what can be changed while it is mounted, `tangelo abort`.
. "$(dirname "$0")/lib.sh"
need jq gcc

gcc -O1 -pthread -o "$work/parked" "$(dirname "$0")/parked.c" || exit 77
start_server

# ---- what is refused ----------------------------------------------------------------------------

step "combinations that make no sense"
mkdir -p "$mnt"
refused() { # PATTERN OPTIONS
  local code=0
  timeout 30 "$tangelo" mount -o "$2" "$address:/$volume" "$mnt" > "$work/out" 2>&1 || code=$?
  [ "$code" = 2 ] && grep -qE -- "$1" "$work/out" || die "$2: exit code $code, $(cat "$work/out")"
  say "ok: $2: $(head -1 "$work/out")"
}
refused 'less than dev_loss_tmo'  fast_io_fail_tmo=60,dev_loss_tmo=60
refused 'longer than fast_io'     reconnect_delay=20,fast_io_fail_tmo=10
refused '600 s is the most'       fast_io_fail_tmo=601
refused '600 s is the most while' dev_loss_tmo=601
refused 'at least 1 s'            reconnect_delay=0
refused 'not a number of seconds' dev_loss_tmo=soon
refused 'not a number of seconds' fast_io_fail_tmo=

# ---- what is set --------------------------------------------------------------------------------

policy() { status_json | jq -c '.mounts[0].policy | [.[]][:3]'; }
path() { status_json | jq -r '.mounts[0].path.state'; }
is_path() { [ "$(path)" = "$1" ]; }
set_policy() { timeout 20 "$tangelo" set "$mnt" "$@" > "$work/out" 2>&1; }
expect_policy() { [ "$(policy)" = "$1" ] || die "the policy is $(policy), not $1"; }

step "what is set at mount and later, and what it outlives"
timeout 60 "$tangelo" mount -o dev_loss_tmo=6,fast_io_fail_tmo=2 "$address:/$volume" "$mnt"
until_true 20 is_serving || die "it does not serve"
expect_policy '["off",2,6]'
timeout 20 "$tangelo" status "$mnt" | grep -q 'policy .*fast_io_fail_tmo 2, dev_loss_tmo 6' ||
  die "status does not show it"
set_policy reconnect_delay=1 fast_io_fail_tmo=3 || die "set: $(cat "$work/out")"
expect_policy '[1,3,6]'
set_policy fast_io_fail_tmo=7 && die "a bad combination was taken"
grep -q 'less than dev_loss_tmo' "$work/out" || die "set does not say why: $(cat "$work/out")"
expect_policy '[1,3,6]'
old=$pid_front_end
kill -9 "$pid_front_end"
until_true 20 is_replaced front_end "$old" || die "no other front end"
expect_policy '[1,3,6]'
old=$pid_watchdog
kill -9 "$pid_watchdog"
set_policy dev_loss_tmo=9 && die "set without a watchdog"
grep -q 'tangelo watchdog --adopt' "$work/out" || die "set does not say what to do"
timeout 20 "$tangelo" watchdog --adopt "$mnt" || die "it is not adopted"
until_true 20 is_replaced watchdog "$old" || die "no other watchdog"
expect_policy '[1,3,6]'
set_policy reconnect_delay=off fast_io_fail_tmo=2 || die "set: $(cat "$work/out")"

# ---- what fails, and when -----------------------------------------------------------------------

round=0
begin_op() { # OP: prepares it; go_op does it, and then $work/said.OP has two lines
  rm -f "$work/go" "$work/said.$1"
  round=$((round + 1))
  "$work/parked" once "$1" "$mnt/$round-$1" "$work/go" > "$work/said.$1" 2> "$work/why" &
  until_true 20 said "$1" 1 || die "$1 cannot be prepared: $(cat "$work/why")"
}
said() { [ -e "$work/said.$1" ] && [ "$(wc -l < "$work/said.$1")" -ge "$2" ]; }
is_in_progress() { timeout 20 "$tangelo" ops "$mnt" | grep -q "$1 .*in_progress"; }
# expect_end OP ERRNO FROM TO: it ends with that, so many ms after $begin.
expect_end() {
  local took
  until_true 30 said "$1" 2 || die "$1 does not end"
  took=$(($(milliseconds) - begin))
  [ "$(tail -1 "$work/said.$1")" = "$2" ] || die "$1: $(tail -1 "$work/said.$1"), not $2"
  [ "$took" -ge "$3" ] && [ "$took" -le "$4" ] || die "$1: $2 after $took ms, not $3 to $4"
  say "$1: $2 after $took ms"
}
new_op() { # OP PATTERN MS: it says that, within so many ms
  local dir begin took
  dir="$mnt/$((++round))"
  begin=$(milliseconds)
  case $1 in
    lookup) ls "$dir" > "$work/new" 2>&1 || true ;;
    mkdir) mkdir "$dir" > "$work/new" 2>&1 || true ;;
  esac
  took=$(($(milliseconds) - begin))
  grep -q "$2" "$work/new" || die "$1: $(cat "$work/new"), not $2"
  [ "$took" -le "$3" ] || die "$1: $took ms"
  say "a new $1: $2 after $took ms"
}

step "a server that dies: what may have been executed fails later than what was not"
begin_op write
begin_op statfs
kill -STOP "$server_pid"
touch "$work/go"
until_true 20 is_in_progress write || die "the write is not on its way"
begin=$(milliseconds)
stop_server KILL
expect_end statfs EIO 1500 4500
until_true 10 is_path fail_fast || die "the path is $(path)"
said write 2 && die "the write ended with it"
new_op mkdir 'Input/output error' 500
timeout 20 "$tangelo" status "$mnt" | grep -q 'FAILING' || die "status does not say FAILING"
until_true 20 said write 2 || die "the write does not end"
[ "$(tail -1 "$work/said.write")" = EIO ] || die "write: $(tail -1 "$work/said.write")"
until_true 10 is_path lost || die "the path is $(path)"
new_op lookup 'Input/output error' 500

step "it comes back, and so does the mount"
start_server "$address"
until_true 60 is_serving || die "it does not serve again"
is_path running || die "the path is $(path)"
echo again > "$mnt/again"
[ "$(cat "$mnt/again")" = again ] || die "content"

step "a server that stands still"
set_policy fast_io_fail_tmo=1 dev_loss_tmo=off || die "set: $(cat "$work/out")"
begin_op statfs
kill -STOP "$server_pid"
begin=$(milliseconds)
touch "$work/go"
expect_end statfs EIO 900 15000
kill -CONT "$server_pid"
until_true 30 is_serving || die "it does not serve again"

step "a policy that is set while callers wait concerns them, too"
set_policy fast_io_fail_tmo=off || die "set: $(cat "$work/out")"
begin_op statfs
kill -STOP "$server_pid"
touch "$work/go"
until_true 30 is_path blocked || die "the path is $(path)"
sleep 1.2
said statfs 2 && die "it did not wait: $(tail -1 "$work/said.lookup")"
begin=$(milliseconds)
set_policy fast_io_fail_tmo=1 || die "set: $(cat "$work/out")"
expect_end statfs EIO 0 1500
set_policy fast_io_fail_tmo=off || die "set: $(cat "$work/out")"
kill -CONT "$server_pid"
until_true 30 is_serving || die "it does not serve again"

# ---- abort --------------------------------------------------------------------------------------

for who in watchdog front_end; do
  step "tangelo abort, answered by the $who"
  begin_op write
  kill -STOP "$server_pid"
  touch "$work/go"
  until_true 20 is_in_progress write || die "the write is not on its way"
  look
  old=$pid_watchdog
  [ "$who" = watchdog ] || kill -9 "$pid_watchdog"
  begin=$(milliseconds)
  timeout 10 "$tangelo" abort "$mnt" > "$work/out" 2>&1 || die "abort: $(cat "$work/out")"
  expect_end write EIO 0 1000
  [ "$(status_json | jq .mounts[0].counters.refused)" -gt 0 ] || die "nothing was refused"
  kill -CONT "$server_pid"
  if [ "$who" != watchdog ]; then
    timeout 20 "$tangelo" watchdog --adopt "$mnt" || die "it is not adopted"
  fi
  until_true 30 is_serving || die "it does not serve any more"
  echo "after $who" > "$mnt/file"
  [ "$(cat "$mnt/file")" = "after $who" ] || die "content"
done
[ "$(timeout 20 "$tangelo" ops "$mnt")" = "no pending operations" ] || die "operations left over"
unmount_volume
allowed_words='fast_io_fail_tmo|dev_loss_tmo|reconnect_delay'
stop_server
