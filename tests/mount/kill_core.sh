#!/bin/bash
# kill_core: real programs on a mount whose core is killed every 200 ms, at random phases. Nothing
# may be lost, nothing may happen twice, and the kills must have met operations in every state.
# TANGELO_SEED repeats the phases; TANGELO_SCALE is the size in per cent.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/workloads.sh"
need jq git make gcc sqlite3 fio tar diff setsid

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
say "seed $seed, scale $scale %"

use_audit
start_server
mount_volume
watchdog=$(process_pid watchdog)
front_end=$(process_pid front_end)

# The watchdog's children are the front end and the core.
core_of_watchdog() {
  local pid
  for pid in $(cat "/proc/$watchdog/task/$watchdog/children"); do
    [ "$pid" = "$front_end" ] || echo "$pid"
  done
}

# Every fifth time the front end stands still for a moment before, so that the core dies with
# answers written that nobody has taken.
kill_for_ever() {
  local pid n=0
  while sleep "0.$((RANDOM % 200 + 100))"; do
    pid=$(core_of_watchdog)
    [ -n "$pid" ] || continue
    n=$((n + 1))
    if [ $((n % 5)) = 0 ]; then
      kill -STOP "$front_end"
      sleep 0.02
      kill -9 "$pid" 2>/dev/null
      sleep 0.03
      kill -CONT "$front_end"
    else
      kill -9 "$pid" 2>/dev/null
    fi
  done
}
kill_for_ever &
killer=$!

# ---- workloads ----------------------------------------------------------------------------------

make_c_project() {
  local n=$1 i dir=$2
  mkdir -p "$dir"
  {
    echo 'CFLAGS = -O0'
    printf 'OBJECTS = main.o'
    for ((i = 0; i < n; ++i)); do printf ' f%d.o' "$i"; done
    printf '\nprogram: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n'
  } > "$dir/Makefile"
  {
    for ((i = 0; i < n; ++i)); do echo "int f$i(void);"; done
    echo '#include <stdio.h>'
    echo 'int main(void) { long sum = 0;'
    for ((i = 0; i < n; ++i)); do echo "sum += f$i();"; done
    echo 'printf("%ld\n", sum); return 0; }'
  } > "$dir/main.c"
  for ((i = 0; i < n; ++i)); do echo "int f$i(void) { return $i; }" > "$dir/f$i.c"; done
}
try_make() {
  local n
  n=$(scaled 200 20)
  step "make -j4 of $n files"
  make_c_project "$n" "$mnt/project"
  make -s -C "$mnt/project" -j4 || die "make"
  [ "$("$mnt/project/program")" = $((n * (n - 1) / 2)) ] || die "the program computes nonsense"
}

enough_kills() {
  local json name
  json=$(status_json)
  name() { jq ".mounts[0].counters.core_losses_$1" <<< "$json"; }
  say "kills: $(jq -c '.mounts[0].counters | {core_losses, core_losses_waiting,
    core_losses_in_progress, core_losses_serviced, purged, downcalls_dropped}' <<< "$json")"
  [ "$(name in_progress)" -ge "$(scaled 100 10)" ] && [ "$(name waiting)" -gt 0 ] &&
    [ "$(name serviced)" -gt 0 ]
}

try_git
try_make
try_sqlite
try_fio "$(scaled 64000000 8000000)"
try_tar
try_crowd 5

# More of the same until every state has been met; a small scale may need it.
deadline=$((SECONDS + 120))
until enough_kills; do
  [ $SECONDS -lt $deadline ] || die "the kills did not meet every state (seed $seed)"
  try_crowd 5
done

kill "$killer"
wait "$killer" 2>/dev/null || true
kill -CONT "$front_end"
all_is_there
unmount_volume
stop_server
nothing_twice
