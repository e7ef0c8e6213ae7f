# lib.sh: sourced by every script of tests/mount/. A server, volumes and mounts of the script's
# own, in a directory of its own; everything the script started, and nothing else, is ended when
# it ends; a suspicious word in a log fails it.
#
# Environment (set by meson, see meson.build): TANGELO_BUILD, the build directory.
# Exit codes: 0 passed, 77 skipped, anything else failed.
# shellcheck shell=bash
set -euo pipefail

[ -e /dev/fuse ] && [ "$(id -u)" = 0 ] || { echo "skipped: needs /dev/fuse and root"; exit 77; }

build=${TANGELO_BUILD:?the build directory}
build=$(cd "$build" && pwd)
tangelo=$build/cli/tangelo
server_program=$build/server/tangelo-server
test_server_program=$build/server/tangelo-server-test
scale=${TANGELO_SCALE:-100}  # per cent of the full sizes

unset TANGELO_BIN_DIR
work=$(mktemp -d "${TMPDIR:-/tmp}/tangelo-test.XXXXXX")
export TANGELO_RUN_DIR=$work/run TANGELO_STATE_DIR=$work/state
mkdir -p "$TANGELO_RUN_DIR" "$TANGELO_STATE_DIR"
mnt=$work/mnt
volume=test
volume_dir=$work/volume
server_dir=$work/server
server_log=$work/server.log
server_pid=
server_options=()
stage=start

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
step() { stage=$*; say "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }

scaled() { # $1 at the chosen scale, at least $2 (1)
  local n=$(($1 * scale / 100)) least=${2:-1}
  echo $((n > least ? n : least))
}

need() { # programs without which there is nothing to test
  local program
  for program in "$@"; do
    command -v "$program" > /dev/null || { echo "skipped: needs $program"; exit 77; }
  done
}

# $python: the program itself; python3 may be a script that looks for it, slowly.
need_python() {
  need python3
  python=$(python3 -c 'import sys; print(sys.executable)')
}

# until_true SECONDS COMMAND...: waits for an event, as long as that at most.
until_true() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.02
  done
}
milliseconds() { local us=${EPOCHREALTIME/./}; echo $((us / 1000)); }

# ---- server -------------------------------------------------------------------------------------

# Uses $server_program with ${server_options[@]}; $address is where it listens.
start_server() {
  local listen=${1:-127.0.0.1:0} i
  mkdir -p "$server_dir"
  rm -f "$server_dir/server.json"
  if [ ! -e "$volume_dir" ]; then
    "$server_program" init "$volume_dir" --name "$volume" >> "$server_log" 2>&1 ||
      { cat "$server_log"; die "the volume cannot be made"; }
  fi
  "$server_program" run --volume "$volume=$volume_dir" --listen "$listen" \
    --run-dir "$server_dir" "${server_options[@]}" >> "$server_log" 2>&1 < /dev/null &
  server_pid=$!
  for ((i = 0; i < 200; ++i)); do
    [ -s "$server_dir/server.json" ] && break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.05
  done
  [ -s "$server_dir/server.json" ] || { tail -20 "$server_log"; die "the server did not start"; }
  address=$(jq -r .listen "$server_dir/server.json")
}

# server_times KEY=SECONDS...: before start_server; the keys of its configuration file.
server_times() {
  printf '%s\n' "$@" | sed 's/=/ = /' > "$work/server.toml"
  server_options+=(--config "$work/server.toml")
}

stop_server() { # by signal $1 (TERM), and waits for its end
  [ -n "$server_pid" ] || return 0
  kill "-${1:-TERM}" "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}

# ---- mount --------------------------------------------------------------------------------------

mount_volume() { # OPTIONS...
  mkdir -p "$mnt"
  timeout 100 "$tangelo" mount "$@" "$address:/$volume" "$mnt" > /dev/null
}
unmount_volume() { timeout 60 "$tangelo" umount "$mnt" > /dev/null; }

status_json() { timeout 20 "$tangelo" status "$mnt" --json; }
counter() { status_json | jq ".mounts[0].counters.$1"; }
process_pid() { # watchdog, front_end or core; 0 when it does not run
  status_json | jq -r ".mounts[0].processes[] | select(.role == \"$1\") | .pid"
}
core_pid() { process_pid core; }
kill_core() {
  local pid
  pid=$(core_pid)
  [ "$pid" != 0 ] && kill -9 "$pid" 2>/dev/null
}

# One look at all of it: $state, $pid_watchdog, $pid_front_end, $pid_core.
look() {
  local json
  json=$(status_json 2> /dev/null) || true  # 5 while UNSUPERVISED
  read -r state pid_watchdog pid_front_end pid_core < <(jq -r '.mounts[0] |
    "\(.state) \([.processes[]?.pid] | join(" "))"' <<< "${json:-null}" 2> /dev/null) || state=
}
is_serving() { # all three run, and the server answers
  look
  [ "$state" = SERVING ] && [ "$pid_watchdog" != 0 ] && [ "$pid_front_end" != 0 ] &&
    [ "$pid_core" != 0 ]
}
is_replaced() { # role $1 was pid $2; all is well again
  local now=pid_$1
  is_serving && [ "${!now}" != "$2" ]
}
nothing_pending() { [ "$(counter_of_mount pending_ops)" = 0 ]; }
counter_of_mount() { status_json | jq ".mounts[0].$1"; }

# Watchdogs, front ends and cores that this script's mounts have: they log to our directory.
own_processes() {
  local pid
  for pid in $(ls -l /proc/[0-9]*/fd/2 2> /dev/null | grep -F -- "-> $TANGELO_RUN_DIR/log/" |
    grep -o '/proc/[0-9]*' | grep -o '[0-9]*'); do
    case $(readlink "/proc/$pid/exe") in
      */tangelo-watchdog* | */tangelo-fs* | */tangelo-core*) echo "$pid" ;;
    esac
  done
}
no_own_processes() { [ -z "$(own_processes)" ]; }

# ---- the end ------------------------------------------------------------------------------------

suspicious='ERROR|broken invariant|AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:'
allowed_words='^$'  # lines that match are as they should be; a script may set it

check_logs() {
  local found
  found=$(grep -hE "$suspicious" "$server_log" "$TANGELO_RUN_DIR"/log/*.log 2>/dev/null |
    grep -vE "$allowed_words" || true)
  [ -z "$found" ] || { printf '%s\n' "$found" >&2; die "suspicious lines in a log"; }
}

end_mounts() { # whatever is mounted below $work, the gentle way and then the other one
  local dir
  awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r dir; do
      timeout 10 "$tangelo" umount -l "$dir" > /dev/null 2>&1 || umount -l "$dir" || true
    done
  local pid
  for pid in $(own_processes); do kill -CONT "$pid" 2>/dev/null; kill -TERM "$pid" 2>/dev/null; done
  until_true 3 no_own_processes
  for pid in $(own_processes); do kill -KILL "$pid" 2>/dev/null; done
  return 0
}

finish() {
  local code=$?
  trap - EXIT
  set +e
  if [ "$code" = 0 ]; then (check_logs) || code=1; fi
  if [ "$code" != 0 ] && [ "$code" != 77 ]; then
    say "failed at: $stage"
    timeout 10 "$tangelo" status "$mnt"
    timeout 10 "$tangelo" ops "$mnt" | head -20
    tail -n 25 "$server_log" "$TANGELO_RUN_DIR"/log/*.log 2>/dev/null
  fi
  jobs -p | xargs -r kill -9 2>/dev/null
  end_mounts
  stop_server KILL
  if [ "$code" = 0 ] || [ -z "${TANGELO_KEEP:-}" ]; then
    rm -rf --one-file-system "$work"
  else
    say "kept: $work"
  fi
  exit "$code"
}
trap finish EXIT
