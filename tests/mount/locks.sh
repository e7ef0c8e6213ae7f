#!/bin/bash
# locks: fcntl, OFD and flock locks on one mount and on two of one volume: what they do, handed over
# while cores and the server are killed, a thousand waiters, a holder that is killed. A number that
# is read and written under a lock by both mounts must count every step.
. "$(dirname "$0")/lib.sh"
need jq
need_python
driver=$(dirname "$0")/locks.py

server_times lease_seconds=4
start_server
mount_volume
mnt2=$work/mnt2
mkdir -p "$mnt2"
timeout 100 "$tangelo" mount "$address:/$volume" "$mnt2" > /dev/null

locks_now() { timeout 20 "$tangelo" status "$1" --json | jq ".mounts[0].counters.$2"; }
none_held() {
  [ "$(locks_now "$mnt" locks_held)" = 0 ] && [ "$(locks_now "$mnt2" locks_held)" = 0 ]
}

step "what locks do on one mount"
timeout 100 "$python" "$driver" rules "$mnt" "$mnt"
step "what locks do on two mounts"
timeout 100 "$python" "$driver" rules "$mnt" "$mnt2"
until_true 10 none_held || die "locks are left"

step "a thousand waiters"
"$python" "$driver" hold "$mnt" many posix > "$work/holder" &
holder=$!
until_true 10 grep -q held "$work/holder" || die "the lock is not to be had"
n=$(scaled 1000 50)
timeout 200 "$python" "$driver" wait "$mnt2" many "$n" > "$work/had" &
waiters=$!
all_wait() { [ "$(locks_now "$mnt2" locks_waiting)" = "$n" ]; }
until_true 60 all_wait || die "only $(locks_now "$mnt2" locks_waiting) wait"
kill -9 "$holder"
wait "$waiters" || die "a waiter failed"
[ "$(sort -u "$work/had" | wc -l)" = "$n" ] || die "not all had it"

count_both() { # KIND N, while $3 runs every half second
  local kind=$1 n=$2 a b
  rm -f "$mnt/number"
  timeout 200 "$python" "$driver" count "$mnt" number "$n" "$kind" & a=$!
  timeout 200 "$python" "$driver" count "$mnt2" number "$n" "$kind" & b=$!
  while kill -0 $a 2> /dev/null || kill -0 $b 2> /dev/null; do
    sleep 0.5
    $3
  done
  wait $a || die "$kind: the first mount failed"
  wait $b || die "$kind: the second mount failed"
  [ "$(($(sed 's/^0*//' "$mnt/number")))" = $((2 * n)) ] ||
    die "$kind: $(cat "$mnt/number") of $((2 * n))"
}
for kind in posix flock ofd; do
  step "hand-over, $kind"
  count_both $kind "$(scaled 200 20)" :
done
kill_both_cores() {
  local dir pid
  for dir in "$mnt" "$mnt2"; do
    pid=$(timeout 20 "$tangelo" status "$dir" --json |
      jq -r '.mounts[0].processes[] | select(.role == "core") | .pid') || continue
    [ "$pid" = 0 ] || kill -9 "$pid" 2> /dev/null || true
  done
}
step "hand-over while cores are killed"
count_both posix "$(scaled 400 40)" kill_both_cores
kill_front_end() {
  local pid
  pid=$(process_pid front_end) || return 0
  [ "$pid" = 0 ] || kill -9 "$pid" 2> /dev/null || true
}
step "hand-over while a front end is killed"
count_both flock "$(scaled 300 40)" kill_front_end
step "hand-over while the server is killed"
kills=0
kill_server() {
  [ $kills -lt 3 ] || return 0
  kills=$((kills + 1))
  stop_server KILL
  start_server "$address"
}
count_both posix "$(scaled 400 100)" kill_server
[ $kills -gt 0 ] || die "the server was not killed"

step "a lock outlives its server"
"$python" "$driver" hold "$mnt" kept posix > "$work/holder" &
holder=$!
until_true 10 grep -q held "$work/holder" || die "the lock is not to be had"
"$python" "$driver" hold "$mnt2" kept posix > "$work/waiter" &
waiter=$!
one_waits() { [ "$(locks_now "$mnt2" locks_waiting)" = 1 ]; }
until_true 10 one_waits || die "it does not wait"
stop_server KILL
start_server "$address"
if "$python" "$driver" try "$mnt2" kept posix; then die "somebody else got it"; fi
! grep -q held "$work/waiter" || die "who waited got it while it was held"
kill -9 "$holder"
until_true 20 grep -q held "$work/waiter" || die "who waited did not get it"
kill -9 "$waiter"
[ "$(locks_now "$mnt" lost_locks)" = 0 ] && [ "$(locks_now "$mnt2" lost_locks)" = 0 ] ||
  die "locks were lost"

if command -v sqlite3 > /dev/null; then
  step "SQLite on both mounts at once"
  sqlite3 "$mnt/db" "pragma journal_mode=truncate; create table t(x);" > /dev/null
  insert() {
    local i
    for ((i = 0; i < $2; ++i)); do
      echo "pragma busy_timeout=60000; insert into t values($i);"
    done |
      timeout 200 sqlite3 "$1/db" > /dev/null
  }
  n=$(scaled 100 10)
  insert "$mnt" "$n" & a=$!
  insert "$mnt2" "$n" & b=$!
  wait $a || die "the first mount failed"
  wait $b || die "the second mount failed"
  [ "$(sqlite3 "$mnt/db" 'select count(*) from t; pragma integrity_check' | tr '\n' ' ')" = \
    "$((2 * n)) ok " ] || die "rows are missing"
fi

step "nolock: locks are those of this machine"
timeout 60 "$tangelo" umount "$mnt2" > /dev/null
timeout 100 "$tangelo" mount -o nolock "$address:/$volume" "$mnt2" > /dev/null
timeout 100 "$python" "$driver" rules "$mnt2" "$mnt2"
"$python" "$driver" hold "$mnt" local posix > "$work/holder" &
holder=$!
until_true 10 grep -q held "$work/holder" || die "the lock is not to be had"
"$python" "$driver" try "$mnt2" local posix || die "it asks the server"
kill -9 "$holder"
timeout 60 "$tangelo" umount "$mnt2" > /dev/null
say "passed"
