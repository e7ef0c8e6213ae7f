#!/bin/bash
# kill_server: the server is killed and started again every few seconds under real programs and
# under programs that hold something; mostly the core dies a moment before, at times the front end,
# and at times the server dies again in the middle of the recovery. Nothing may be lost, nothing may
# happen twice, nobody may see an error.
# TANGELO_SEED repeats the choices; TANGELO_SCALE=100: for ten minutes, 10: one; TANGELO_SECONDS:
# so long. Each program has come to its end at least once before it ends.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/workloads.sh"
need jq git sqlite3 fio tar diff
need_python

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
duration=${TANGELO_SECONDS:-$(scaled 600 60)}
say "seed $seed, $duration s"

use_audit
start_server
mount_volume -o reconnect_delay=1  # it is away all the time
until_true 20 is_serving || die "it does not serve"

kills=0 with_core=0 with_front_end=0 again=0 slowest=0 took_all=0 away=0
strike() { # the server, and at times others; starts another one
  local begin killed_at
  kills=$((kills + 1))
  killed_at=$(milliseconds)
  stage="kill $kills of a server"
  look
  # The core a moment before: what the server has done then is durable, and answered to nobody.
  if [ $((kills % 3)) != 0 ] && [ "${pid_core:-0}" != 0 ]; then
    kill -KILL "$pid_core" 2> /dev/null && with_core=$((with_core + 1))
    sleep "0.$(printf %03d $((RANDOM % 80)))"
  fi
  kill -KILL "$server_pid"
  if [ $((kills % 3)) = 0 ] && [ "${pid_front_end:-0}" != 0 ]; then
    kill -KILL "$pid_front_end" 2> /dev/null && with_front_end=$((with_front_end + 1))
  fi
  wait "$server_pid" 2> /dev/null || true
  server_pid=
  [ $((RANDOM % 2)) = 0 ] || sleep "0.$((RANDOM % 500 + 100))"
  start_server "$address"
  begin=$(milliseconds)
  if [ $((kills % 4)) = 0 ]; then # in the middle of the recovery
    again=$((again + 1))
    sleep "0.$(printf %03d $((RANDOM % 200)))"
    kill -KILL "$server_pid"
    wait "$server_pid" 2> /dev/null || true
    server_pid=
    start_server "$address"
    begin=$(milliseconds)
  fi
  until_true 30 is_serving || die "it does not serve after kill $kills"
  away=$(($(milliseconds) - killed_at))
  begin=$(($(milliseconds) - begin))
  took_all=$((took_all + begin))
  [ "$begin" -le "$slowest" ] || slowest=$begin
}

start_holders
start_turns
finish_by=$((SECONDS + duration))
latest=$((SECONDS + 20 * duration))
until [ $SECONDS -ge $finish_by ] && [ "$(turns)" -gt 0 ]; do
  all_work
  [ $SECONDS -lt $latest ] || die "the programs do not get on"
  # On a slow machine, too, it is there most of the time.
  pause=$((away + RANDOM % 2000 + 500))
  sleep "$((pause / 1000)).$(printf %03d $((pause % 1000)))"
  strike
done
say "$kills kills of the server: $with_core with the core, $with_front_end with the front end," \
  "$again in the recovery; serving again after $((took_all / kills)) ms, $slowest ms at most"
[ "$with_core" -gt 0 ] && [ "$with_front_end" -gt 0 ] && [ "$again" -gt 0 ] ||
  die "too few kills to prove anything"

end_programs
all_is_there
say "counters: $(status_json | jq -c '.mounts[0].counters')"
unmount_volume
stop_server
nothing_twice
