#!/bin/bash
# evict: the server writes a client off by command. What the client had not made durable is lost and
# said, once per open file; status and journal say so; the mount works again without a new mount,
# and another mount of the volume sees nothing of it.
. "$(dirname "$0")/lib.sh"
need jq
need_python

victim=("$python" "$(dirname "$0")/victim.py")
allowed_words='[Ee]victed|EVICTED|has forgotten this mount|ERROR lost: '
server_times lease_seconds=2
start_server
near=$work/mnt far=$work/far
mount_volume
until_true 20 is_serving || die "it does not serve"
mkdir -p "$far"
timeout 60 "$tangelo" mount "$address:/$volume" "$far" > /dev/null
mnt=$far
until_true 20 is_serving || die "it does not serve"

client_of_far() { status_json | jq -r '.mounts[0].client_id'; }
evict() { timeout 20 "$tangelo" server evict "$server_dir" "$volume" "$1" > "$work/evicted"; }

for round in 1 2 3; do
  step "eviction $round, while an application writes"
  control=$work/control$round
  mkdir "$control"
  "${victim[@]}" work "$far/$round" "$control" > "$work/told" 2> "$work/victim" & victim_pid=$!
  "${victim[@]}" probe "$near/probe" "$control" > "$work/probe" 2>&1 & probe_pid=$!
  until_true 20 test -e "$control/begun" || die "it does not begin: $(cat "$work/victim")"
  sleep "0.$((RANDOM % 500 + 100))"
  evict "$(client_of_far)" || die "evict"
  sleep 1
  until_true 20 is_serving || die "it does not come back"
  touch "$control/stop"
  wait "$victim_pid" || { cat "$work/victim"; die "the application"; }
  wait "$probe_pid" || { cat "$work/probe"; die "the near mount saw an error"; }
  "${victim[@]}" check "$work/told" "$near/$round" unknown ||
    die "what was told is not what happened"
  say "the longest operation on the near mount: $(cat "$work/probe") ms"
  [ "$(cat "$work/probe")" -le 5000 ] || die "the near mount waited too long"
  echo "$round" > "$far/new$round"
  [ "$(cat "$near/new$round")" = "$round" ] || die "new files do not work"
  [ "$(ls "$far/$round")" = "$(ls "$near/$round")" ] || die "the mounts differ"
done

step "it is said"
[ "$(status_json | jq '.mounts[0].import.evictions')" = 3 ] || die "status does not count them"
grep -q evicted "$server_log" || die "the server's log does not say so"
grep -q evicted "$TANGELO_RUN_DIR"/log/*far*.log || die "the mount's log does not say so"

step "the end"
unmount_volume
mnt=$near
unmount_volume
stop_server
