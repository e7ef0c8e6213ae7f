#!/bin/bash
# ready.sh: what systemd is told of a mount. READY comes when the mount has answered a statfs;
# without a server after a while; not at all from a server that refuses. The status says what the
# import does, and how many operations wait.
. "$(dirname "$0")/lib.sh"
need jq
need_python

# Stands for systemd: a line for each message, in $notified.
notified=$work/notified
"$python" - "$work/notify.sock" "$notified" << 'END' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
with open(sys.argv[2], "ab", 0) as out:
    while True:
        out.write(s.recv(65536).replace(b"\n", b" ") + b"\n")
END
until_true 10 test -S "$work/notify.sock" || die "nobody listens"

watchdog=
start_service() { # source; as the unit does
  mkdir -p "$mnt" "$TANGELO_RUN_DIR/log"
  : > "$notified"
  NOTIFY_SOCKET=$work/notify.sock "$build/watchdog/tangelo-watchdog" --foreground \
    --source "$1" --mount-point "$mnt" >> "$TANGELO_RUN_DIR/log/service.log" 2>&1 &
  watchdog=$!
}
end_service() {
  kill -TERM "$watchdog"
  wait "$watchdog" || die "the watchdog ended with $?"
}
told() { grep -qE "$1" "$notified"; }
status_is() { [[ $(grep -o 'STATUS=.*' "$notified" | tail -1) =~ $1 ]]; }
mounted() { awk -v m="$mnt" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo; }

step "a server that takes connections and does not answer"
start_server
kill -STOP "$server_pid"
start_service "$address:/$volume"
until_true 10 told 'STATUS=.*waiting for the server.*import CONNECTING' ||
  die "the status is not told: $(cat "$notified")"
! told READY=1 || die "READY without an answer"
kill -CONT "$server_pid"
until_true 20 told READY=1 || die "not READY: $(cat "$notified")"
told 'READY=1 STATUS=serving .*import FULL, operations waiting: 0' ||
  die "READY says: $(grep READY "$notified")"
answered=$("$tangelo" metrics "$mnt" |
  sed -n 's/^tangelo_ops_answered_total{.*op="statfs".*} //p')
[ "${answered:-0}" -ge 1 ] || die "READY, and no statfs was answered"

step "an operation waits"
kill -STOP "$server_pid"
stat "$mnt/nothing" 2> /dev/null &
waiter=$!
until_true 20 status_is 'operations waiting: 1$' || die "the status: $(tail -1 "$notified")"
kill -CONT "$server_pid"
wait "$waiter" || true
until_true 20 status_is 'serving .*operations waiting: 0$' || die "still: $(tail -1 "$notified")"
end_service

step "a server that refuses"
start_service "$address:/nothing"
code=0
wait "$watchdog" || code=$?
[ "$code" = 5 ] || die "a mount that is refused ends with $code"
told 'STATUS=.*says: .*no volume' || die "the reason is not told: $(cat "$notified")"
! told READY=1 || die "READY, though refused"
! mounted || die "what was refused is still mounted"
allowed_words='says: .*no volume'

step "no server"
stop_server
start_service "$address:/$volume"
until_true 40 told READY=1 || die "without a server it is never READY, and a boot hangs"
told 'READY=1 STATUS=.*waiting for the server' || die "READY says: $(grep READY "$notified")"
mounted || die "READY, and not mounted"
start_server "$address"
until_true 30 status_is 'serving' || die "the status: $(tail -1 "$notified")"
timeout 20 stat -f "$mnt" > /dev/null || die "it does not answer"

step "the watchdog of a mount that is in use starts again: READY at once"
stop_server
kill -KILL "$watchdog"
wait "$watchdog" || true
: > "$notified"
NOTIFY_SOCKET=$work/notify.sock "$build/watchdog/tangelo-watchdog" --foreground \
  --adopt --mount-point "$mnt" >> "$TANGELO_RUN_DIR/log/service.log" 2>&1 &
watchdog=$!
until_true 9 told READY=1 || die "an adopted mount is not READY"
end_service
