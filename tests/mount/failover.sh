#!/bin/bash
# failover: two servers on one volume, one mount that names both. The one that serves is killed, or
# stopped and then taken over from behind a fence, again and again under programs that check
# themselves; the other one serves on. Every file is compared in the end, and the volume checked.
# TANGELO_SEED repeats the choices; TANGELO_FAILOVERS: so many.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/workloads.sh"
need jq git sqlite3 fio tar diff

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
failovers=${TANGELO_FAILOVERS:-$(scaled 40 6)}
say "seed $seed, $failovers failovers"
if [ -x "$test_server_program" ]; then
  server_program=$test_server_program
  server_options=(--audit)
fi

# ---- the servers: a and b, the first of them serves, the other is its standby -------------------

declare -A pid_of listen_of
start_standby() { # NAME
  local name=$1 dir=$work/server-$1
  mkdir -p "$dir"
  rm -f "$dir/server.json"
  "$server_program" run --standby --volume "$volume=$volume_dir" --run-dir "$dir" \
    --listen "${listen_of[$name]:-127.0.0.1:0}" "${server_options[@]}" \
    >> "$work/server-$name.log" 2>&1 < /dev/null &
  pid_of[$name]=$!
  until_true 20 test -s "$dir/server.json" || { tail "$work/server-$name.log"; die "$name"; }
  listen_of[$name]=$(jq -r .listen "$dir/server.json")
}
other_of() { if [ "$1" = a ]; then echo b; else echo a; fi; }
holder() { # the server that holds the volume; nothing if none does
  local pid name
  pid=$(cut -d' ' -f1 "$volume_dir"/lock)
  for name in a b; do
    [ "${pid_of[$name]:-}" = "$pid" ] && kill -0 "$pid" 2> /dev/null && echo $name
  done
  return 0
}
holds() { [ "$(holder)" = "$1" ]; }
is_connected_to() {
  status_json 2> /dev/null |
    jq -e --arg a "${listen_of[$1]}" '.mounts[0] | .state == "SERVING" and
      .import.state == "FULL" and .import.address == $a' > /dev/null
}

"$server_program" init "$volume_dir" > /dev/null
start_standby a
until_true 10 holds a || die "a does not take the volume"
start_standby b
mkdir -p "$mnt"
timeout 60 "$tangelo" mount "${listen_of[a]},${listen_of[b]}:/$volume" "$mnt" > /dev/null
until_true 20 is_serving || die "it does not serve"

# ---- what is refused ----------------------------------------------------------------------------

step "no takeover without a fence, or behind one that fails"
refused() { # CODE PATTERN COMMAND...
  local code=0 expected=$1 pattern=$2
  shift 2
  timeout 30 "$@" > "$work/out" 2>&1 || code=$?
  [ "$code" = "$expected" ] && grep -qE -- "$pattern" "$work/out" ||
    die "$*: exit code $code, $(cat "$work/out")"
}
refused 2 'no --fence'     "$server_program" takeover "$volume_dir"
refused 1 'fence failed'   "$server_program" takeover "$volume_dir" --fence 'exit 7'
refused 3 'process '"${pid_of[a]}"' on' "$server_program" run --listen 127.0.0.1:0 \
  --volume "$volume=$volume_dir"
refused 3 'process '"${pid_of[a]}"' on' "$server_program" check "$volume_dir"
holds a || die "a has lost the volume"

# ---- programs, and failovers under them ---------------------------------------------------------

small_fio() { try_fio "$(scaled 16000000 4000000)"; }
take_turns() {
  local try turns=0
  until [ -e "$work/stop" ]; do
    for try in try_tar try_sqlite small_fio try_git; do
      [ ! -e "$work/stop" ] || break
      $try
    done
    turns=$((turns + 1))
    echo "$turns" > "$work/turns"
  done
}
take_turns > "$work/turns.out" 2>&1 &
turns_pid=$!

longest=0
for ((i = 1; i <= failovers || $(cat "$work/turns" 2> /dev/null || echo 0) == 0; ++i)); do
  kill -0 "$turns_pid" 2> /dev/null || { tail -20 "$work/turns.out"; die "a program failed"; }
  from=$(holder)
  [ -n "$from" ] || die "nobody holds the volume"
  to=$(other_of "$from")
  pid=${pid_of[$from]}
  begin=$(milliseconds)
  if [ $((i % 3)) = 0 ]; then
    stage="failover $i: $from, pid $pid, is stopped, $to takes over"
    kill -STOP "$pid"
    sleep "0.$((RANDOM % 400 + 100))"
    timeout 30 "$server_program" takeover "$volume_dir" \
      --fence 'kill -KILL "$TANGELO_HOLDER_PID"' > "$work/out" 2>&1 || die "$(cat "$work/out")"
    grep -q "now held by process ${pid_of[$to]} " "$work/out" || die "$(cat "$work/out")"
  else
    stage="failover $i: $from, pid $pid, is killed, $to takes over"
    kill -KILL "$pid"
  fi
  wait "$pid" 2> /dev/null || true
  until_true 30 is_connected_to "$to" || die "the mount does not find $to"
  took=$(($(milliseconds) - begin))
  [ "$took" -le "$longest" ] || longest=$took
  holds "$to" || die "$to does not hold the volume"
  start_standby "$from"
  sleep "0.$((RANDOM % 700 + 300))"
done
say "$((i - 1)) failovers, the longest until the mount served again: $longest ms"

step "the programs come to their end"
touch "$work/stop"
wait "$turns_pid" || { tail -20 "$work/turns.out"; die "a program failed"; }
say "turns of the programs: $(cat "$work/turns")"
git -C "$mnt/clone" fsck --strict --full 2> "$work/fsck" || { cat "$work/fsck"; die "git fsck"; }
diff -r -x .git "$work/repository" "$mnt/clone" || die "the clone differs"
[ "$(sqlite3 "$mnt/db" 'pragma integrity_check')" = ok ] || die "integrity_check"
[ "$(timeout 20 "$tangelo" ops "$mnt")" = "no pending operations" ] || die "operations left over"
[ "$(counter lost_files)" = 0 ] || die "files have lost data"
unmount_volume

step "the volume is whole, and no operation took effect twice"
for name in a b; do
  kill -TERM "${pid_of[$name]}"
  wait "${pid_of[$name]}" || die "server $name: exit code $?"
  grep -hE "$suspicious" "$work/server-$name.log" && die "suspicious lines of server $name"
done
"$server_program" check "$volume_dir" || die "the volume is damaged"
if [ -x "$test_server_program" ]; then
  "$test_server_program" audit-report "$volume_dir" || die "the audit found duplicates"
fi
