#!/bin/bash
# parked: callers that wait because the server stands still, or because there is no core. Those
# that are killed are gone at once; ten thousand of them do not exhaust memory; what is closed or
# forgotten meanwhile is not lost.
. "$(dirname "$0")/lib.sh"
need jq gcc

gcc -O1 -pthread -o "$work/parked" "$(dirname "$0")/parked.c" || exit 77
start_server
mount_volume
until_true 20 is_serving || die "it does not serve"
gone_ms_max=1000  # the aim is 100; other tests may want the processors

is_pending() { [ "$(counter_of_mount pending_ops)" -ge "$1" ]; }
all_say() { # each of the files $2... begins with the word $1
  local word=$1 file
  shift
  for file in "$@"; do
    [ -s "$file" ] && [ "$(head -1 "$file")" = "$word" ] || return 1
  done
}

# ---- no server, or no core ----------------------------------------------------------------------

no_core_for_long() { # is one away, and for more than a second?
  local next
  next=$(status_json | jq '.mounts[0].processes[] | select(.role == "core") | .next_start_in_ms')
  [ "$next" -gt 1000 ] || { kill_core || true; false; }
}
take_away() { # server or core
  kill -STOP "$server_pid"
  if [ "$1" = core ]; then
    until_true 60 no_core_for_long || die "there is always a core"
  fi
}
give_back() {
  kill -CONT "$server_pid"
  until_true 30 is_serving || die "it does not serve any more"
}

# ---- callers that are killed --------------------------------------------------------------------

ops=(read write fsync truncate lookup open create mkdir symlink unlink rename chmod xattr statfs
  readdir append)
declare -A caller
is_gone() { ! kill -0 "$1" 2> /dev/null; }
start_callers() { # of round $1; they are ready, and wait for the file go
  local op
  rm -f "$work/go" "$work"/said.*
  caller=()
  for op in "${ops[@]}"; do
    "$work/parked" once "$op" "$mnt/$1-$op" "$work/go" > "$work/said.$op" &
    caller[$op]=$!
  done
  until_true 30 all_say ready "${ops[@]/#/$work/said.}" || die "callers are not ready"
  echo 3 > /proc/sys/vm/drop_caches
}
kill_callers() { # $1: what is away; $2: a signal they have handled before, or nothing
  local op begin took longest=0 round=$1$2
  step "callers are killed while there is no $1${2:+, after SIG$2}"
  start_callers "$round"
  take_away "$1"
  touch "$work/go"
  # fsync of a file that is written through, and readdir of a directory read before, need nobody.
  until_true 30 is_pending $((${#ops[@]} - 3)) || die "they do not wait"
  for op in "${ops[@]}"; do
    kill -0 "${caller[$op]}" 2> /dev/null || continue
    if [ -n "$2" ]; then
      kill "-$2" "${caller[$op]}"
      sleep 0.02
    fi
    begin=$(milliseconds)
    kill -KILL "${caller[$op]}" 2> /dev/null || continue
    until_true 5 is_gone "${caller[$op]}" || die "$op: not gone 5 s after SIGKILL"
    took=$(($(milliseconds) - begin))
    [ "$took" -le "$longest" ] || longest=$took
    [ "$took" -le "$gone_ms_max" ] || die "$op: gone $took ms after SIGKILL"
  done
  [ -z "$2" ] || say "ended by SIG$2 already: $(grep -l EINTR "$work"/said.* | wc -l)"
  say "the slowest of ${#ops[@]} was gone $longest ms after SIGKILL (aim: 100)"
  give_back
  until_true 30 nothing_pending || die "operations of killed callers do not end"
  rm -r "$mnt/$round"-* || die "what they left cannot be removed"
}
kill_callers server ""
kill_callers core ""
kill_callers server USR1
kill_callers core USR1

# ---- ten thousand -------------------------------------------------------------------------------

pss_of() { awk '$1 == "Pss:" { print $2 }' "/proc/$1/smaps_rollup"; }
say_memory() {
  look
  say "$1: PSS watchdog $(pss_of "$pid_watchdog"), front end $(pss_of "$pid_front_end") KiB," \
    "core $([ "$pid_core" = 0 ] || pss_of "$pid_core") KiB"
}
callers=$(scaled 10000 2000)
step "$callers callers wait at once"
mkdir "$mnt/crowd"
for ((i = 0; i <= callers / 4; ++i)); do printf '%8192d' "$i" > "$mnt/crowd/f$i"; done
for away in server core; do
  rm -f "$work/go"
  "$work/parked" crowd "$mnt/crowd" "$callers" "$work/go" > "$work/crowd.$away" 2>&1 &
  crowd=$!
  until_true 30 all_say ready "$work/crowd.$away" || die "the crowd is not ready"
  echo 3 > /proc/sys/vm/drop_caches
  say_memory "before"
  take_away "$away"
  touch "$work/go"
  until_true 60 is_pending $((callers * 9 / 10)) || die "they do not all wait"
  say "without a $away: $(counter_of_mount pending_ops) operations pending"
  say_memory "while they wait"
  [ "$(pss_of "$pid_front_end")" -lt 400000 ] || die "the front end takes too much memory"
  # It still hears what concerns nobody who waits.
  timeout 10 "$tangelo" ops "$mnt" > /dev/null || die "ops does not answer"
  give_back
  wait "$crowd" || { tail -5 "$work/crowd.$away"; die "not all of them ended well"; }
  say "$(tail -1 "$work/crowd.$away")"
done
until_true 30 nothing_pending || die "operations are left over"

# ---- RELEASE and FORGET -------------------------------------------------------------------------

object_count() { find "$volume_dir" -path '*object*' -type f | wc -l; }
is_object_count() { [ "$(object_count)" = "$1" ]; }
held=$(scaled 5000 1000)
mkdir "$mnt/held"
until_true 60 nothing_pending
objects=$(object_count)
for how in closes dies; do
  step "who $how with $held files open that have no name, while there is no core"
  rm -f "$work/go"
  "$work/parked" files "$mnt/held" "$held" "$work/go" > "$work/files.$how" &
  holder=$!
  until_true 120 all_say open "$work/files.$how" || die "the files are not open"
  [ "$(object_count)" -ge $((objects + held)) ] || die "files without a name have no data"
  take_away core
  if [ "$how" = closes ]; then
    touch "$work/go"
  else
    begin=$(milliseconds)
    kill -KILL "$holder"
    wait "$holder" 2> /dev/null || true
    say "it was gone after $(($(milliseconds) - begin)) ms"
  fi
  echo 2 > /proc/sys/vm/drop_caches  # FORGET for all that is in the cache
  give_back
  [ "$how" = dies ] || wait "$holder" || die "it could not close them"
  until_true 60 nothing_pending || die "operations are left over"
  until_true 60 is_object_count "$objects" ||
    die "$(($(object_count) - objects)) files without a name are still held at the server"
done
find "$mnt/crowd" -name 'f*' | wc -l | grep -qx $((callers / 4 + 1)) || die "files are missing"
cat "$mnt"/crowd/f* | wc -c | grep -qx $(((callers / 4 + 1) * 8192)) || die "data is missing"

unmount_volume
stop_server
