#!/bin/bash
# kill_any: watchdog, front end and core, one at random, are killed or stopped again and again
# under real programs and under programs that hold something for long. Nothing may be lost, nothing
# may happen twice, nothing may grow.
# TANGELO_SEED repeats the choices; TANGELO_SCALE=100: 1,000 kills, else 60; TANGELO_KILLS: so many;
# TANGELO_ROLES: only these. Every sixth (TANGELO_STOP_EVERY; 0: none) is SIGSTOP: front end and
# core must be replaced all the same, a watchdog is killed after a moment. A watchdog is replaced by
# `tangelo watchdog --adopt`; every fourth takes front end or core along, so that nobody but its
# successor starts them again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/workloads.sh"
need jq git sqlite3 fio tar diff
need_python

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
kills=${TANGELO_KILLS:-$((scale >= 100 ? 1000 : 60))}
stop_every=${TANGELO_STOP_EVERY:-6}
read -ra roles <<< "${TANGELO_ROLES:-watchdog front_end core}"
say "seed $seed, $kills kills of ${roles[*]}"

use_audit
start_server
mount_volume
until_true 20 is_serving || die "it does not serve"

# ---- what runs meanwhile ------------------------------------------------------------------------

touch_every_slot() { # so that the arenas grow no more
  step "fio: as many operations at once as there are slots"
  mkdir "$mnt/slots"
  fio --directory="$mnt/slots" --size=64m --ioengine=libaio --direct=1 --norandommap \
    --randrepeat=0 --fallocate=none --time_based --runtime=2 --output="$work/fio.out" \
    --name=large-writes --rw=randwrite --bs=1m --iodepth=96 \
    --name=small-writes --rw=randwrite --bs=64k --iodepth=640 \
    --name=large-reads --rw=randread --bs=1m --iodepth=96 \
    --name=small-reads --rw=randread --bs=64k --iodepth=640 || { cat "$work/fio.out"; die fio; }
  rm -r "$mnt/slots"
}

# ---- kills --------------------------------------------------------------------------------------

declare -A slowest=([watchdog]=0 [front_end]=0 [core]=0 [stopped]=0)
struck=0
adopted() { # the watchdog that was pid $1 has a successor
  timeout 30 "$tangelo" watchdog --adopt "$mnt" > "$work/adopt.out" 2>&1 || true
  is_replaced watchdog "$1"
}
strike_another() { # whose watchdog is dead
  local name role=${roles[RANDOM % ${#roles[@]}]}
  [ "$role" != watchdog ] || return 0
  name=pid_$role
  stage+=", and to the $role, pid ${!name}"
  kill -KILL "${!name}"
}
# strike ROLE SIGNAL: and waits until all is well again.
strike() {
  local role=$1 signal=$2 name=pid_$1 pid begin took
  until_true 30 is_serving || die "it does not serve before kill $struck"
  pid=${!name}
  struck=$((struck + 1))
  stage="kill $struck: SIG$signal to the $role, pid $pid"
  begin=$(milliseconds)
  kill "-$signal" "$pid"
  if [ "$role" = watchdog ]; then
    if [ "$signal" = STOP ]; then
      sleep "0.$((RANDOM % 300 + 100))"
      kill -KILL "$pid"
    fi
    [ $((RANDOM % 4)) != 0 ] || strike_another
    until_true 30 adopted "$pid" || { cat "$work/adopt.out"; die "it is not adopted"; }
  else
    until_true 30 is_replaced "$role" "$pid" || die "it is not replaced"
  fi
  took=$(($(milliseconds) - begin))
  [ "$signal" = STOP ] && [ "$role" != watchdog ] && role=stopped
  [ "$took" -le "${slowest[$role]}" ] || slowest[$role]=$took
}

# ---- what may not grow --------------------------------------------------------------------------

fds_of() { ls "/proc/$1/fd" | wc -l; }
# What the arenas take, in KiB: they outlive every process.
arenas_of() {
  stat -L -c '%i %b' $(ls -l "/proc/$1/fd" | awk -v p="/proc/$1/fd/" '/memfd/ { print p $9 }') |
    sort -u | awk '{ n += $2 } END { print n / 2 }'
}
pss_of() { awk '$1 == "Pss:" { print $2 }' "/proc/$1/smaps_rollup"; }
# Everybody stands still, each process is new: what is left is what it takes. Sets $fds, $pss and
# $arenas.
measure() {
  local what role name sum=0
  step "$1: measuring"
  touch "$work/pause"
  for what in turns "${holders[@]}"; do
    until_true 300 test -e "$work/paused.$what" || die "$what goes on and on"
  done
  for role in "${roles[@]}"; do strike "$role" KILL; done
  find "$mnt" -maxdepth 1 -ls > /dev/null
  until_true 30 nothing_pending || die "operations do not end"
  is_serving || die "it does not serve"
  fds=
  for role in watchdog front_end core; do
    name=pid_$role
    fds+="$role $(fds_of "${!name}") "
    sum=$((sum + $(pss_of "${!name}")))
    say "$role: $(fds_of "${!name}") descriptors, PSS $(pss_of "${!name}") KiB"
  done
  pss=$sum arenas=$(arenas_of "$pid_front_end")
  say "arenas: $arenas KiB"
  rm "$work/pause"
}

# ---- and so it goes -----------------------------------------------------------------------------

touch_every_slot
start_holders
start_turns
half=$((kills / 2))
for ((i = 1; i <= kills || $(cat "$work/turns" 2> /dev/null || echo 0) == 0; ++i)); do
  all_work
  [ $((i % 100)) != 0 ] || say "$i kills"
  if [ $((RANDOM % 4)) != 0 ]; then sleep "0.$((RANDOM % 200 + 100))"; fi
  signal=KILL
  if [ "$stop_every" != 0 ] && [ $((i % stop_every)) = 0 ]; then signal=STOP; fi
  strike "${roles[RANDOM % ${#roles[@]}]}" "$signal"
  if [ "$i" = "$half" ]; then
    measure "half of the kills"
    fds_half=$fds pss_half=$pss arenas_half=$arenas
  fi
done
measure "all $struck kills"
[ "$fds" = "$fds_half" ] || die "descriptors: at half: $fds_half, now: $fds"
say "grown since: PSS of all three by $((pss - pss_half)) KiB," \
  "arenas $((arenas - arenas_half)) KiB"
# Of the arenas' 200 MiB a slot or two may have been used for the first time.
[ $((pss - pss_half)) -lt 1024 ] && [ $((arenas - arenas_half)) -lt 4096 ] || die "memory grows"

end_programs
say "the longest until all was well again: watchdog ${slowest[watchdog]} ms (adoption included)," \
  "front end ${slowest[front_end]} ms, core ${slowest[core]} ms, stopped ${slowest[stopped]} ms"
[ "${slowest[stopped]}" -le 6000 ] || die "a stopped process is replaced too late"

all_is_there
say "counters: $(status_json | jq -c '.mounts[0].counters')"
unmount_volume
stop_server
nothing_twice
