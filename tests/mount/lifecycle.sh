#!/bin/bash
# lifecycle: the ways in which a mount ends, and what is left of it: nothing.
. "$(dirname "$0")/lib.sh"
allowed_words='not known to be durable'  # when it is ended by force
need jq

start_server

all_gone() { # processes $1..., the mount and its run directory, within 3 s
  local i pid left=1
  for ((i = 0; i < 60 && left; ++i)); do
    left=
    for pid in "$@"; do [ ! -d "/proc/$pid" ] || left=1; done
    ! grep -qF "$mnt" /proc/self/mountinfo || left=1
    [ -z "$(ls "$TANGELO_RUN_DIR/mounts")" ] || left=1
    [ -z "$left" ] || sleep 0.05
  done
  [ -z "$left" ] || die "something is left: $(ls "$TANGELO_RUN_DIR/mounts"), $(ps -o pid,args "$@")"
}
trio() { status_json | jq -r '.mounts[0].processes[].pid'; }
begin() {
  step "$1"
  mount_volume
  mapfile -t pids < <(trio)
  watchdog=${pids[0]} front_end=${pids[1]}
  echo "$1" > "$mnt/file"
}

begin "plain umount(8)"
umount "$mnt"
all_gone "${pids[@]}"

begin "SIGTERM to the watchdog"
kill -TERM "$watchdog"
all_gone "${pids[@]}"

begin "SIGTERM to the watchdog of a mount in use"
exec 7< "$mnt/file"
kill -TERM "$watchdog"
all_gone "${pids[@]}"
if cat <&7 > /dev/null 2>&1; then die "an open file outlived its mount"; fi
exec 7<&-

begin "a lazy unmount serves what is open until it is closed"
exec 7<> "$mnt/file"
timeout 20 "$tangelo" umount -l "$mnt" > /dev/null
sleep 2.5
[ "$(cat "/proc/$$/fd/7")" = "a lazy unmount serves what is open until it is closed" ] ||
  die "the open file cannot be read any more"
exec 7<&-
all_gone "${pids[@]}"

begin "a bind mount keeps it alive"
mkdir -p "$work/bound"
mount --bind "$mnt" "$work/bound"
timeout 20 "$tangelo" umount "$mnt" > /dev/null
sleep 2.5
[ "$(cat "$work/bound/file")" = "a bind mount keeps it alive" ] || die "the bind mount is dead"
umount "$work/bound"
all_gone "${pids[@]}"

begin "mounting again at once"
for i in 1 2 3 4 5; do
  unmount_volume
  mount_volume
  [ "$(cat "$mnt/file")" = "mounting again at once" ] || die "round $i"
done
mapfile -t pids < <(trio)
unmount_volume
all_gone "${pids[@]}"

begin "SIGHUP disturbs nobody"
kill -HUP "$watchdog" "$front_end"
sleep 0.2
[ "$(cat "$mnt/file")" = "SIGHUP disturbs nobody" ] || die "it did"

step "garbage on control.sock disturbs nobody"
name=$(ls "$TANGELO_RUN_DIR/mounts")
python3 - "$TANGELO_RUN_DIR/mounts/$name" << 'END'
import os, socket, sys
os.chdir(sys.argv[1])
idle = []
for i in range(40):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect("control.sock")
    try:
        if i % 4 == 0: s.send(os.urandom(i + 1))
        elif i % 4 == 1: s.send(b"\1\0\0\0\xff\0\0\0")
        elif i % 4 == 2: s.send(os.urandom(60000))
        else: idle.append(s)
    except BrokenPipeError:
        pass
END
sleep 0.1
timeout 20 "$tangelo" status "$mnt" | grep -q SERVING || die "the watchdog does not answer any more"

step "a watchdog that is killed leaves an UNSUPERVISED mount that works"
mapfile -t pids < <(trio)
kill -9 "$watchdog"
sleep 0.2
[ "$(cat "$mnt/file")" = "SIGHUP disturbs nobody" ] || die "the mount does not work any more"
timeout 20 "$tangelo" status "$mnt" > "$work/out" 2>&1 && die "status says that all is well"
grep -q UNSUPERVISED "$work/out" || die "status does not say UNSUPERVISED"
timeout 20 "$tangelo" umount "$mnt" > /dev/null 2>&1 || die "umount"
for ((i = 0; i < 60; ++i)); do
  [ -d "/proc/${pids[1]}" ] || [ -d "/proc/${pids[2]}" ] || break
  sleep 0.05
done
[ ! -d "/proc/${pids[1]}" ] && [ ! -d "/proc/${pids[2]}" ] || die "front end or core go on"

begin "SIGTERM to the watchdog while the front end stands still"
kill -STOP "$front_end"
kill -TERM "$watchdog"
all_gone "${pids[@]}"

begin "umount -f by somebody"
exec 7< "$mnt/file"
umount -f "$mnt" 2> /dev/null || true  # what is in use stays in the mount table, dead
all_gone "${pids[@]}"
exec 7<&-

begin "tangelo umount -f while the core stands still and the mount is in use"
exec 7< "$mnt/file"
kill -STOP "${pids[2]}"
timeout 20 "$tangelo" umount -f "$mnt" > /dev/null || die "umount -f"
exec 7<&-
all_gone "${pids[@]}"

# No front end can be started where no process can be watched.
inject=(strace -f -qq -o /dev/null -e trace=pidfd_open -e "inject=pidfd_open:error=EMFILE")
if "${inject[@]}" true 2> /dev/null; then
  stage="a mount that no front end comes to serve is not left"
  allowed_words+='|front_end cannot be started|before it was ready'
  "${inject[@]}" "$tangelo" mount "$address:/$volume" "$mnt" > "$work/out" 2>&1 && die "mounted"
  grep -q 'tangelo-fs cannot be started' "$work/out" || { cat "$work/out"; die "why"; }
  if grep -qF " $mnt " /proc/self/mountinfo; then die "a dead mount is left"; fi
  until_true 5 no_own_processes || die "left: $(own_processes)"
else
  say "not looked at: a front end that cannot be started (no strace)"
fi
stop_server
