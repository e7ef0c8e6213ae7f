#!/bin/bash
# partition: a mount in a network namespace of its own, whose link to the server goes down. Shorter
# than the lease nobody notices. Longer, the server goes on without it: what it had not made durable
# is lost, and said, once per open file; the mount works again by itself; another mount of the same
# volume sees nothing of it. Lease 2 s.
if [ -z "${TANGELO_OWN_NET:-}" ]; then
  unshare --net true 2> /dev/null || { echo "skipped: no network namespaces"; exit 77; }
  TANGELO_OWN_NET=1 exec unshare --net "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"
need jq ip nsenter ss
need_python
ip link set lo up

victim=("$python" "$(dirname "$0")/victim.py")
allowed_words='[Ee]victed|EVICTED|has forgotten this mount|ERROR lost: '
server_times lease_seconds=2 evict_seconds=5 window_soft_seconds=3 window_hard_seconds=6 \
  commit_interval_ms=1000
start_server
near=$work/mnt far=$work/far
mkdir -p "$far"

step "two mounts, one behind a link"
unshare --net sleep 1000 &
far_net=/proc/$!/ns/net
until_true 5 sh -c "[ \$(readlink $far_net) != \$(readlink /proc/$$/ns/net) ]" || die "namespace"
ip link add tangelo0 type veth peer name tangelo1 netns "$!"
ip addr add 10.99.0.1/30 dev tangelo0
ip link set tangelo0 up
nsenter --net="$far_net" sh -c \
  'ip addr add 10.99.0.2/30 dev tangelo1; ip link set tangelo1 up; ip link set lo up'
"$python" "$(dirname "$0")/forward.py" 10.99.0.1 7471 127.0.0.1 "${address##*:}" &
until_true 5 sh -c 'ss -ltn | grep -q 10.99.0.1:7471' || die "the forwarder does not listen"
mount_volume
nsenter --net="$far_net" timeout 60 "$tangelo" mount "10.99.0.1:7471:/$volume" "$far" > /dev/null

far_serves() { mnt=$far; is_serving; local code=$?; mnt=$near; return $code; }
far_is_cut() { timeout 20 "$tangelo" status "$far" --json | jq -e '.mounts[0].state != "SERVING"'; }
until_true 20 is_serving && until_true 20 far_serves || die "they do not serve"
cut_link() { ip link set tangelo0 down; }
heal_link() { ip link set tangelo0 up; }

# ---- a trial: an application on the far mount, a probe on the near one --------------------------

begin_trial() { # NAME
  trial=$1 control=$work/control-$1
  mkdir "$control"
  "${victim[@]}" work "$far/$trial" "$control" > "$work/told-$trial" 2> "$work/victim-$trial" &
  victim_pid=$!
  "${victim[@]}" probe "$near/probe-$trial" "$control" > "$work/probe-$trial" 2>&1 &
  probe_pid=$!
  until_true 20 test -e "$control/begun" || die "it does not begin: $(cat "$work/victim-$trial")"
  sleep 0.3
}
end_trial() { # none|lost LONGEST: and the near mount never waited longer than that, in ms
  until_true 40 far_serves || die "the far mount does not come back"
  touch "$control/stop"
  wait "$victim_pid" || { cat "$work/victim-$trial"; die "the application"; }
  wait "$probe_pid" || { cat "$work/probe-$trial"; die "the near mount saw an error"; }
  "${victim[@]}" check "$work/told-$trial" "$near/$trial" "$1" || die "$trial"
  say "$trial: the longest operation on the near mount: $(cat "$work/probe-$trial") ms"
  [ "$(cat "$work/probe-$trial")" -le "$2" ] || die "the near mount waited too long"
  echo "$trial" > "$far/new-$trial"
  [ "$(cat "$near/new-$trial")" = "$trial" ] || die "new files do not work"
  [ "$(ls "$far/$trial")" = "$(ls "$near/$trial")" ] || die "the mounts differ"
}

step "shorter than the lease: nobody notices"
begin_trial short
cut_link
sleep 1
heal_link
end_trial none 3000

step "longer, but the server lives: what was answered is kept, who waits is told"
begin_trial long
cut_link
sleep 9
heal_link
end_trial unknown 3000

step "the server dies meanwhile, and does not wait for ever"
begin_trial crash
kill -STOP "$probe_pid"  # its fsyncs make everybody's changes durable
sleep 0.3
cut_link
kill -KILL "$server_pid"
wait "$server_pid" 2> /dev/null || true
server_pid=
start_server "$address"
kill -CONT "$probe_pid"
sleep 9
heal_link
end_trial lost 15000

step "the end"
timeout 60 "$tangelo" umount "$far" > /dev/null
unmount_volume
stop_server
