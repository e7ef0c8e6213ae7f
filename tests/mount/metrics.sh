#!/bin/bash
# Metrics of a mount and of its server, `tangelo ops` with caller and file, `top`, `trace`, `ping`:
# while all is well, after each process was killed, and while the server stands still.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need jq
need_python
reader=$(dirname "$0")/metrics.py
read_series() { "$python" "$reader" "$@"; }

listener=
watcher=
sleeper=

of_mount() { # SERIES [LABELS]: of our mount, now
  "$tangelo" metrics "$mnt" > "$work/metrics.txt"
  read_series "$work/metrics.txt" "$1{mount=\"$mnt\"${2:+,$2}}"
}
is_equal() { # COUNT SERIES LABELS
  [ "$(of_mount "${@:2}")" = "$1" ]
}

step "the metrics of a mount count what was done"
server_options+=(--metrics 127.0.0.1:0)
start_server
mount_volume
for i in 1 2 3 4 5; do mkdir "$mnt/d$i"; done
dd if=/dev/zero of="$mnt/file" bs=64k count=16 conv=fsync 2> /dev/null
until_true 5 is_equal 1048576 tangelo_op_bytes_total 'op="write"' ||
  die "$(of_mount tangelo_op_bytes_total 'op="write"') bytes written, 1048576 were"
[ "$(of_mount tangelo_ops_answered_total 'op="mkdir"')" = 5 ] || die "mkdir is not counted"
[ "$(of_mount tangelo_op_seconds_count 'class="make"')" = 5 ] || die "make is not measured"
[ "$(of_mount tangelo_up)" = 1 ] || die "it is up"
[ "$(of_mount tangelo_mount_state 'state="SERVING"')" = 1 ] || die "it serves"

step "... and those of the server"
server_metrics=$(grep -o 'http://127.0.0.1:[0-9]*/metrics' "$server_log" | tail -1)
[ "$(read_series "$server_metrics" 'tangelo_server_calls_answered_total{op="mkdir"}')" = 5 ] ||
  die "mkdir is not counted by the server"
[ "$(read_series "$server_metrics" 'tangelo_server_bytes_total{op="write"}')" = 1048576 ] ||
  die "the server has not counted the bytes"
[ "$(read_series "$server_metrics" "tangelo_server_volume_serving{volume=\"$volume\"}")" = 1 ] ||
  die "the volume is served"

step "counters survive every process of the mount"
for role in core front_end watchdog; do
  look
  pid=pid_$role
  killed=${!pid}
  kill -9 "$killed"
  [ $role != watchdog ] || "$tangelo" watchdog --adopt "$mnt" > /dev/null
  until_true 20 is_replaced $role "$killed" || die "$role did not come back"
  [ "$(of_mount tangelo_ops_answered_total 'op="mkdir"')" = 5 ] || die "$role: mkdirs forgotten"
done
mkdir "$mnt/d6"
[ "$(of_mount tangelo_ops_answered_total 'op="mkdir"')" = 6 ] || die "it does not go on counting"
[ "$(of_mount tangelo_process_restarts_total 'role="core"')" -ge 1 ] || die "no restart is told"

step "whoever asks over HTTP gets the same, and only this machine may"
"$tangelo" metrics --listen 127.0.0.1:0 2> "$work/listener.log" &
listener=$!
until_true 10 grep -q 'ready: http' "$work/listener.log" || die "it does not listen"
url=$(grep -o 'http://127.0.0.1:[0-9]*/metrics' "$work/listener.log")
[ "$(read_series "$url" "tangelo_up{mount=\"$mnt\"}")" = 1 ] || die "no answer over HTTP"
rc=0
"$tangelo" metrics --listen 0.0.0.0:0 2> "$work/refused" || rc=$?
[ $rc = 2 ] || die "exit code $rc for an address beyond this machine, 2 was expected"
grep -q '127.0.0.1:PORT' "$work/refused" || die "no hint: $(cat "$work/refused")"

step "ping needs no volume and leaves nothing behind"
"$tangelo" ping "$address" -c 1 --size 1M > "$work/ping" || die "no answer: $(cat "$work/ping")"
grep -q 'over tcp: 1 .*, answered in .*, took .*/s), gave .*/s)' "$work/ping" ||
  die "ping says: $(cat "$work/ping")"
"$tangelo" ping "$address:/any" -c 2 --size 5000001 --fabric tcp --json > "$work/ping" ||
  die "no answer: $(cat "$work/ping")"
[ "$(jq -s 'map(select(.fabric == "tcp" and .to_server_bytes_per_s > 0 and
  .from_server_bytes_per_s > 0)) | length' "$work/ping")" = 2 ] ||
  die "ping says: $(cat "$work/ping")"
# A name with addresses where nobody listens, and one where the server does.
printf '%s\n' '::1 several' '127.0.0.3 several' '127.0.0.1 several' > "$work/hosts"
unshare --mount bash -c 'mount --bind "$0" /etc/hosts && "$@"' "$work/hosts" \
  "$tangelo" ping "several:${address##*:}" -c 1 --fabric tcp > "$work/ping" ||
  die "not all addresses of a name are tried: $(cat "$work/ping")"
[ "$("$tangelo" server list "$server_dir" --json | jq '.servers[0].clients | length')" = 1 ] ||
  die "ping is a client"
rc=0
"$tangelo" ping 127.0.0.1:1 -c 1 > /dev/null 2>&1 || rc=$?
[ $rc = 5 ] || die "exit code $rc for nobody, 5 was expected"

step "top and trace"
"$tangelo" top "$mnt" --json > "$work/top" &
top=$!
for i in $(seq 100); do echo "$i" > "$mnt/file$i"; done
wait $top
jq -e '.mounts[0] | .state == "SERVING" and .ops_per_s >= 0' "$work/top" > /dev/null ||
  die "top says: $(cat "$work/top")"
for key in q '\x03'; do
  "$python" "$(dirname "$0")/terminal.py" 2.5 "$key" "$tangelo" top "$mnt" > "$work/screen" ||
    die "top on a terminal ended with $? at $key"
  grep -q 'ops/s' "$work/screen" || die "top showed: $(cat "$work/screen")"
done
"$tangelo" trace "$mnt" --slower 100ms --json > "$work/trace" 2> "$work/trace.log" &
watcher=$!
until_true 10 grep -q "^following operations of $mnt" "$work/trace.log" ||
  die "trace says: $(cat "$work/trace.log")"

step "while the server stands still: who waits, how long, for which file"
"$python" -c 'import os, sys, time
os.chdir(sys.argv[1])
open(sys.argv[2] + "/there", "w").close()
while not os.path.exists(sys.argv[2] + "/go"):
    time.sleep(0.01)
open("stuck-file")' "$mnt/d1" "$work" 2> /dev/null &
sleeper=$!
until_true 20 test -e "$work/there" || die "the program does not start"
kill -STOP "$server_pid"
touch "$work/go"
is_named() {
  "$tangelo" ops "$mnt" --json > "$work/ops" || true
  jq -e --arg mnt "$mnt" --argjson pid $sleeper '.mounts[0].ops[] | select(.pid == $pid and
    (.command | startswith("python")) and .path == $mnt + "/d1/stuck-file" and .age_ms >= 1000)' \
    "$work/ops" > /dev/null
}
until_true 20 is_named || die "ops says: $(cat "$work/ops")"
[ "$(of_mount tangelo_ops_pending 'state="in_progress"')" -ge 1 ] || die "no pending operation"
[ "$(of_mount tangelo_op_oldest_seconds)" -ge 1 ] || die "the oldest is not old"
[ "$(read_series "$url" "tangelo_op_oldest_seconds{mount=\"$mnt\"}")" -ge 1 ] || die "over HTTP"
"$tangelo" abort "$mnt" > /dev/null
wait $sleeper && die "it opened a file without a server" || true
sleeper=
[ "$(of_mount tangelo_op_io_errors_total)" -ge 1 ] || die "EIO is not counted"
kill -CONT "$server_pid"
until_true 20 nothing_pending || die "something waits for ever"
kill -INT $watcher 2> /dev/null || true
kill -TERM $watcher 2> /dev/null || true
wait $watcher || true
watcher=
jq -es 'any(.[]; .took_us >= 100000 and (.command | startswith("python")))' "$work/trace" \
  > /dev/null || die "trace saw: $(cat "$work/trace")"
grep -q 'operations passed' "$work/trace.log" || die "trace does not say how many passed"

step "a connection that breaks is counted"
lost=$(of_mount tangelo_connections_lost_total)
stop_server KILL
start_server "$address"
is_reconnected() {
  [ "$(of_mount tangelo_connected)" = 1 ] &&
    is_equal $((lost + 1)) tangelo_connections_lost_total
}
until_true 30 is_reconnected ||
  die "$(of_mount tangelo_connections_lost_total) connections lost, $lost before"
unmount_volume
[ "$("$tangelo" metrics | grep -c "mount=\"$mnt\"")" = 0 ] || die "the mount is gone"
