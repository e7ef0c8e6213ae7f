#!/bin/bash
# manifest: applications write down, outside the mount, what fsync and commit have promised them.
# The server dies under them and comes back; then everything dies at once, server, watchdog, front
# end and core. On a new mount everything promised must be there, byte for byte.
# TANGELO_SCALE=100: 60 rounds, 10: 6; TANGELO_SEED repeats the choices.
. "$(dirname "$0")/lib.sh"
need jq
need_python

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
rounds=$(scaled 60 6)
writers=3
say "seed $seed, $rounds rounds"
manifest=("$python" "$(dirname "$0")/manifest.py")

allowed_words='is evicted: it did not come back in the recovery window'
server_times lease_seconds=1
start_server

restart_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" 2> /dev/null || true
  server_pid=
  start_server "$address"
}
begin_round() {
  mnt=$work/mnt$round
  mount_volume
  until_true 20 is_serving || die "it does not serve"
  rm -f "$work/may_fail"
  pids=()
  for ((w = 0; w < writers; ++w)); do
    "${manifest[@]}" write "$mnt/$round-$w" "$work/manifest-$round-$w" "$seed-$round-$w" \
      "$work/may_fail" > "$work/writer-$w" 2>&1 &
    pids+=($!)
  done
  # Before that a writer may begin when the mount is gone, on the directory below it.
  for ((w = 0; w < writers; ++w)); do
    until_true 60 test -s "$work/manifest-$round-$w" || die "a writer does not begin"
  done
}
end_round() { # everything dies
  local w
  look
  touch "$work/may_fail"
  kill -KILL "$server_pid" "$pid_watchdog" "$pid_front_end" "$pid_core"
  wait "$server_pid" 2> /dev/null || true
  server_pid=
  # A front end that dies while it has the kernel drop the pages of a file that is being written
  # does not end before that write does, and keeps /dev/fuse; only this ends it.
  umount -f "$mnt" 2> /dev/null || true
  umount -l "$mnt" 2> /dev/null || true
  until_true 10 no_own_processes || die "processes are left"
  for ((w = 0; w < writers; ++w)); do
    wait "${pids[w]}" || { cat "$work/writer-$w"; die "a writer saw an error"; }
  done
}
promises=0
check_round() { # $1
  local w kept pairs=()
  for ((w = 0; w < writers; ++w)); do pairs+=("$mnt/$1-$w" "$work/manifest-$1-$w"); done
  kept=$("${manifest[@]}" check "${pairs[@]}") || die "a promise was broken"
  promises=$((promises + kept))
}

for ((round = 1; round <= rounds; ++round)); do
  step "round $round"
  begin_round
  [ "$round" = 1 ] || check_round $((round - 1))
  sleep "0.$((RANDOM % 900 + 100))"
  for ((i = RANDOM % 3; i > 0; --i)); do
    restart_server
    sleep "0.$((RANDOM % 900 + 100))"
  done
  end_round
  start_server "$address"
done
mnt=$work/last
mount_volume
pairs=()
for ((round = 1; round <= rounds; ++round)); do
  for ((w = 0; w < writers; ++w)); do
    pairs+=("$mnt/$round-$w" "$work/manifest-$round-$w")
  done
done
"${manifest[@]}" check "${pairs[@]}" > /dev/null || die "a promise was broken later"
say "$rounds rounds, $promises promises kept"
[ "$promises" -ge $((rounds * 10)) ] || die "too few promises to prove anything"
unmount_volume
stop_server
