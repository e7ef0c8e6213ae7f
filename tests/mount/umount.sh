#!/bin/bash
# umount: every way to end a mount, in every state that it can be in: it is over within 2 s, and no
# process of ours is left. A gentle way may instead say, within 2 s, that the mount is in use.
. "$(dirname "$0")/lib.sh"
need jq dd

start_server
ms_max=$((2000 + (scale < 100 ? 1000 : 0)))  # others may want the processors

is_over() { ! grep -qF " $mnt " /proc/self/mountinfo && no_own_processes; }
no_core() { [ "$(core_pid)" = 0 ]; }
is_pending() { [ "$(counter_of_mount pending_ops)" -ge "$1" ]; }

# ---- the states ----------------------------------------------------------------------------------

states=(well core_stopped no_core server_dead server_stopped front_end_stopped callers_parked)
user=  # a process that uses the mount
enter() { # a state
  case $1 in
    well) ;;
    core_stopped) kill -STOP "$pid_core" ;;
    no_core)
      kill -STOP "$server_pid"
      until_true 60 core_away || die "there is always a core"
      ;;
    server_dead) stop_server KILL ;;
    server_stopped) kill -STOP "$server_pid" ;;
    front_end_stopped) kill -STOP "$pid_front_end" ;;
    callers_parked)
      kill -STOP "$server_pid"
      dd if=/dev/zero of="$mnt/parked" bs=4k count=4 2> /dev/null &
      user=$!
      until_true 20 is_pending 1 || die "nobody waits"
      ;;
  esac
}
core_away() { # and the next one comes in no less than a second
  local next
  next=$(status_json | jq '.mounts[0].processes[] | select(.role == "core") | .next_start_in_ms')
  [ "$next" -gt 1000 ] || { kill_core || true; false; }
}
leave() { # what is left of a state
  [ -z "$user" ] || { until_true 5 user_gone || die "who waited still waits"; }
  user=
  if [ -z "$server_pid" ]; then
    rm -rf "$volume_dir"  # of the old one it would expect its clients
    start_server
  fi
  kill -CONT "$server_pid"
}
user_gone() { ! kill -0 "$user" 2> /dev/null; }

# ---- the ways ------------------------------------------------------------------------------------

ways=("tangelo umount" "umount" "umount -f" "tangelo umount -f" "SIGTERM")
run_way() {
  case $1 in
    "tangelo umount") timeout 10 "$tangelo" umount "$mnt" ;;
    "tangelo umount -f") timeout 10 "$tangelo" umount -f "$mnt" ;;
    "umount") timeout -s KILL 2 umount "$mnt" ;;
    "umount -f") timeout 10 umount -f "$mnt" || true ;;  # see umount(2): busy, but dead
    "SIGTERM") kill -TERM "$pid_watchdog" ;;
  esac > "$work/out" 2>&1
}
# umount(8) asks for the attributes of the root first, when neither -f nor -l is given. Where nobody
# can tell them it waits, as on NFS; it can be killed, and umount(2) itself does not wait.
waits_for_attributes() {
  [ "$1" = umount ] && [ "$code" = 124 ] &&
    [[ " no_core server_dead server_stopped callers_parked " == *" $state_name "* ]]
}
is_gentle() { [ "$1" = umount ] || [ "$1" = "tangelo umount" ]; }

wrong=0
for state_name in "${states[@]}"; do
  slowest=0 slowest_way=
  for way in "${ways[@]}"; do
    stage="$way, $state_name"
    mount_volume
    until_true 20 is_serving || die "it does not serve"
    echo x > "$mnt/file"
    enter "$state_name"
    begin=$(milliseconds)
    code=0
    run_way "$way" || code=$?
    [ "$code" != 137 ] || code=124
    if waits_for_attributes "$way"; then
      begin=$(milliseconds) code=0
      timeout 10 "$tangelo" umount -f "$mnt" > "$work/out" 2>&1 || code=$?
    fi
    if [ -n "$user" ] && is_gentle "$way" && grep -q busy "$work/out"; then
      took=$(($(milliseconds) - begin))
      timeout 10 "$tangelo" umount -f "$mnt" > /dev/null || die "it cannot be ended at all"
      until_true 10 is_over || die "it does not end"
    else
      until_true 10 is_over || {
        cat "$work/out"
        die "$stage: left: $(own_processes | xargs -r ps -o pid,stat,args -p)"
      }
      took=$(($(milliseconds) - begin))
      [ "$code" = 0 ] || { say "WRONG: $stage: exit code $code: $(cat "$work/out")"; wrong=1; }
    fi
    [ "$took" -le "$slowest" ] || slowest=$took slowest_way=$way
    [ "$took" -le "$ms_max" ] || { say "WRONG: $stage: $took ms"; wrong=1; }
    leave
  done
  say "$state_name: at most $slowest ms ($slowest_way)"
done
[ "$wrong" = 0 ] || die "not every way ends a mount in 2 s"
# Who is made to leave says so.
allowed_words='in use|pending|lost|force|unmounted|not known to be durable'
stop_server
