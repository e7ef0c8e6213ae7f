#!/bin/bash
# unprivileged: users mount by themselves, through fusermount3: all processes are theirs and may be
# killed as root's may, nobody else gets in, and every command works on what is one's own.

# Without udev and systemd /dev/fuse may be root's alone, and its connections not be shown: then
# there is a mount namespace of our own with both.
if ! setpriv --reuid games --regid games --clear-groups test -w /dev/fuse; then
  [ -z "${OWN_FUSE:-}" ] || { echo "skipped: users may not open /dev/fuse"; exit 77; }
  OWN_FUSE=$(mktemp -d)
  export OWN_FUSE
  mknod -m 666 "$OWN_FUSE/fuse" c 10 229
  # shellcheck disable=SC2016
  unshare -m bash -c 'mount --bind "$OWN_FUSE/fuse" /dev/fuse &&
    mount -t fusectl fusectl /sys/fs/fuse/connections && bash "$0"' "$0"
  code=$?
  rm -r "$OWN_FUSE"
  exit $code
fi
. "$(dirname "$0")/lib.sh"
need jq setpriv unshare tar git dd fusermount3
need_python

# Refused mounts say so in a log, and so does who loses a mount that is in use.
allowed_words='ERROR (/|fusermount3|mount options|secret_file)'
chmod 755 "$work"
users=(games news)
for user in "${users[@]}"; do
  mkdir -p "$work/$user/runtime" "$work/$user/mnt"
  chmod 700 "$work/$user/runtime"
  chown -R "$user:" "$work/$user"
done
mnt=$work/games/mnt
runtime=$work/games/runtime  # of games; empty: there is none
path=$PATH                   # of users

as() { # USER COMMAND...: in an environment of that user's own
  local user=$1 where=$work/$1/runtime
  shift
  [ "$user" != games ] || where=$runtime
  setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups \
    env -i "PATH=$path" "HOME=$work/$user" ${where:+"XDG_RUNTIME_DIR=$where"} "$@"
}
as_games() { as games timeout 60 "$tangelo" "$@"; }
status_json() { as games timeout 20 "$tangelo" status "$mnt" --json; }
own_processes() { # they log to a directory below ours
  local pid
  for pid in $(ls -l /proc/[0-9]*/fd/2 2> /dev/null | grep -F -- "-> $work/" | grep -F /log/ |
    grep -o '/proc/[0-9]*' | grep -o '[0-9]*'); do
    case $(readlink "/proc/$pid/exe") in
      */tangelo-watchdog* | */tangelo-fs* | */tangelo-core*) echo "$pid" ;;
    esac
  done
}
is_mounted() { grep -qF " $mnt " /proc/self/mountinfo; }
left() { # of the processes of games
  local pid
  for pid in $(own_processes); do
    [ "$(stat -c %U "/proc/$pid" 2> /dev/null)" != games ] || echo "$pid"
  done
}
nothing_left() { [ -z "$(left)" ]; }
is_over() { ! is_mounted && nothing_left; }
refused() { # PATTERN COMMAND...: it fails and says that
  local pattern=$1 code=0
  shift
  "$@" > "$work/out" 2>&1 || code=$?
  [ "$code" != 0 ] && grep -qE -- "$pattern" "$work/out" ||
    die "$*: exit code $code, not refused with /$pattern/: $(cat "$work/out")"
  say "ok: $(head -1 "$work/out")"
}
says() { # PATTERN COMMAND...: it succeeds and says that
  local pattern=$1
  shift
  "$@" > "$work/out" 2>&1 || die "$*: $(cat "$work/out")"
  grep -qE -- "$pattern" "$work/out" || die "$*: nothing of /$pattern/: $(cat "$work/out")"
}

step "root prepares the volume"
start_server
mkdir -p "$work/root"
"$tangelo" mount "$address:/$volume" "$work/root" > /dev/null
mkdir "$work/root"/{games,news}
for user in "${users[@]}"; do chown "$user:" "$work/root/$user"; done
echo secret > "$work/root/of-root"
chmod 600 "$work/root/of-root"
source=$address,127.0.0.1:1:/$volume  # a source may have commas

step "a user mounts"
says "mounted on $mnt" as_games mount -o noatime "$source" "$mnt"
until_true 20 is_serving || die "it does not serve: $(status_json)"
for pid in $pid_watchdog $pid_front_end $pid_core; do
  [ "$(awk '/^Uid:/ { print $2, $3, $4 }' "/proc/$pid/status")" = "5 5 5" ] ||
    die "a process runs as another user: $(cat "/proc/$pid/status")"
  [ "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" = 0000000000000000 ] ||
    die "a process has capabilities"
done
says "^fuse.tangelo $source .*nosuid,nodev,noatime.*user_id=$(id -u games)," \
  findmnt -nro FSTYPE,SOURCE,OPTIONS "$mnt"
[ "$(stat -c '%a %U' "$runtime/tangelo")" = "700 games" ] || die "the run directory is open"
says 'already mounted' as_games mount "$source" "$mnt"

step "only that user gets in, with that user's rights"
refused 'Permission denied' as news ls "$mnt"
refused 'Permission denied' ls "$mnt"
refused 'Permission denied' as games cat "$mnt/of-root"
refused 'Permission denied' as games touch "$mnt/news/x"
as games bash -c "echo mine > '$mnt/games/file'"
[ "$(cat "$work/root/games/file")" = mine ] || die "root's mount of the volume sees something else"
[ "$(stat -c %U "$work/root/games/file")" = games ] || die "it does not belong to games"

step "every command works on one's own"
says 'unprivileged .*not from malice' as_games status "$mnt"
[ "$(status_json | jq -c '.mounts[0] | [.unprivileged, .user]')" = "[true,5]" ] ||
  die "$(status_json)"
[ "$(as_games status --json | jq -c '[.mounts[].mount_point]')" = "[\"$mnt\"]" ] ||
  die "status without a name: $(as_games status --json)"
says 'no pending' as_games ops "$mnt"
says "$mnt" as_games top "$mnt" --json
says "tangelo_up.mount=\"$mnt\". 1" as_games metrics
as_games set "$mnt" dev_loss_tmo=77 > /dev/null
says 77 as_games set "$mnt"
says 'answered' as_games abort "$mnt"
as games bash -c 'echo $$ > "$HOME/runtime/tracer"; exec "$0" trace "$1"' "$tangelo" "$mnt" \
  > "$work/traced" 2>&1 &
tracer=$!
until_true 10 grep -q '^following operations' "$work/traced" || die "trace: $(cat "$work/traced")"
as games ls -R "$mnt/games" > /dev/null
until_true 10 grep -q ' ended .* pid [0-9]* ' "$work/traced" || die "trace: $(cat "$work/traced")"
kill "$(cat "$runtime/tracer")"
wait $tracer || die "trace ended with $?"
grep -q 'operations passed' "$work/traced" || die "trace: $(cat "$work/traced")"
front_end=$pid_front_end
says 'now installed' as_games upgrade "$mnt"
until_true 20 is_replaced front_end "$front_end" || die "the upgrade has left the old front end"
for command in status ops set abort upgrade umount "watchdog --adopt"; do
  # shellcheck disable=SC2086  # two words
  refused 'needs root' as news "$tangelo" $command "$mnt"
done
refused 'needs root' as_games umount "$work/root"
for command in status top ops; do says '^no mounts of yours' as news "$tangelo" $command; done
says 'no mounts of yours' as news "$tangelo" metrics
refused "sudo tangelo umount $mnt" as news "$tangelo" umount "$mnt"
chown games: "$work/root/games"
refused 'already, by root' as_games mount "$source" "$work/root"
! grep -q 'umount' "$work/out" || die "a user is told to end root's mount: $(cat "$work/out")"
refused "in another FUSE mount, on $mnt" as_games mount "$source" "$mnt/games"
refused 'sudo -u' "$tangelo" watchdog --adopt "$mnt"

step "two users work while everything of theirs is killed"
as news "$tangelo" mount "$source" "$work/news/mnt" > /dev/null
cat > "$work/works" << 'END'  # TREE DIR
set -e
tar -C "$1" -cf "$2/tree.tar" .
mkdir "$2/tree"
tar -C "$2/tree" -xf "$2/tree.tar"
cd "$2/tree"
git init -q .
git add -A
git -c user.name=x -c user.email=x@x commit -qm all
git fsck --full --strict
diff -r --exclude=.git "$1" .
dd if=/dev/urandom of="$2/big" bs=1M count="$3" conv=fsync
cp "$2/big" "$2/copy"
cmp "$2/big" "$2/copy"
END
tree=$(cd "$(dirname "$0")/../../cli" && pwd)
works=()
for user in "${users[@]}"; do
  as "$user" bash "$work/works" "$tree" "$work/$user/mnt/$user" "$(scaled 100 8)" \
    > "$work/works-$user" 2>&1 &
  works+=($!)
done
kills=0
at_work() { kill -0 "${works[0]}" 2> /dev/null || kill -0 "${works[1]}" 2> /dev/null; }
processes_of() { # USER ROLE: its pid
  { as "$1" "$tangelo" status "$work/$1/mnt" --json 2> /dev/null || true; } |
    jq -r ".mounts[0].processes[]? | select(.role == \"$2\") | .pid"
}
while at_work || [ $kills -lt 4 ]; do
  for user in "${users[@]}"; do
    for role in core front_end; do
      pid=$(processes_of "$user" $role)
      [ "${pid:-0}" = 0 ] || ! kill -9 "$pid" 2> /dev/null || kills=$((kills + 1))
      sleep 0.2
    done
  done
done
for i in 0 1; do
  wait "${works[$i]}" || die "${users[$i]}'s work: $(tail -5 "$work/works-${users[$i]}")"
done
until_true 20 is_serving || die "it does not come back"
[ "$(status_json | jq '[.mounts[0].processes[] | select(.role != "watchdog") | .restarts] | min')" \
  -ge 1 ] || die "nothing was killed: $(status_json)"
say "$kills kills"

step "the watchdog dies, too"
kill -9 "$pid_watchdog"
is_unsupervised() { look; [ "$state" = UNSUPERVISED ]; }
until_true 10 is_unsupervised || die "nobody misses the watchdog"
says 'watchdog again' as_games watchdog --adopt "$mnt"
until_true 20 is_serving || die "the adopted mount does not serve"
[ "$(as games cat "$mnt/games/file")" = mine ] || die "the file is gone"
as news "$tangelo" umount "$work/news/mnt" > /dev/null

step "every way to end it"
touch "$work/games/pid"
chown games "$work/games/pid"
as games bash -c 'echo $$ > "$HOME/pid"; exec tail -f "$1"' x "$mnt/games/file" > /dev/null 2>&1 &
is_open() {
  [[ $(ls -l "/proc/$(< "$work/games/pid")/fd" 2> /dev/null) == *" $mnt/games/file"* ]]
}
until_true 10 is_open || die "nobody uses it"
refused 'busy.*' as_games umount "$mnt"
is_mounted || die "it was unmounted while it was used"
says unmounted as_games umount -l "$mnt"
! is_mounted || die "it is still there"
kill -9 "$(cat "$work/games/pid")"
until_true 30 nothing_left || die "left: $(left)"

step "root believes no watchdog of a user that it is unmounted"
cat > "$work/liar.py" << 'END'
import os, socket, struct, sys
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
os.chdir(sys.argv[3])
os.unlink("control.sock")
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("control.sock")
listener.listen()
print("ready", flush=True)
while True:
    peer, _ = listener.accept()
    peer.recv(100)
    peer.send(struct.pack("<Ii504s", 3, 0, b""))
END
for way in "" -l -f; do
  as_games mount "$source" "$mnt" > /dev/null
  until_true 20 is_serving || die "it does not serve"
  kill -9 "$pid_watchdog"
  rm -f "$work/lying"
  "$python" "$work/liar.py" "$(id -u games)" "$(id -g games)" "$runtime"/tangelo/mounts/* \
    > "$work/lying" &
  liar=$!
  until_true 10 test -s "$work/lying" || die "no liar"
  # shellcheck disable=SC2086  # perhaps no word
  TANGELO_RUN_DIR=$runtime/tangelo says 'says that it is unmounted, and it is not' \
    "$tangelo" umount $way "$mnt"
  ! is_mounted || die "umount $way: it is still there"
  ! grep -q 'answered changes' "$work/out" || die "root is told numbers: $(cat "$work/out")"
  kill "$liar"
  until_true 30 nothing_left || die "left: $(left)"
  rm -rf "$runtime"/tangelo/mounts/*
done

step "a name does not write to root's terminal"
odd=$work/games/$'x\n\e[2Jforged  SERVING'
mkdir "$odd"
chown games "$odd"
as_games mount "$source" "$odd" > "$work/out"
! grep -q $'\e' "$work/out" || die "mount writes escapes"
for command in status top ops abort "umount -f"; do
  # shellcheck disable=SC2086  # two words
  TANGELO_RUN_DIR=$runtime/tangelo "$tangelo" $command "$odd" > "$work/out" 2>&1 ||
    die "$command: $(cat -v "$work/out")"
  ! grep -qE $'\e|^forged' "$work/out" || die "$command writes escapes: $(cat -v "$work/out")"
done
until_true 30 nothing_left || die "left: $(left)"

step "many that stand still are waited for at the same time"
for i in 1 2 3 4; do
  mkdir "$work/games/still-$i"
  chown games "$work/games/still-$i"
  as_games mount "$source" "$work/games/still-$i" > /dev/null
done
still=$(left)
# shellcheck disable=SC2086  # many words
kill -STOP $still
for command in status metrics; do
  begin=$(milliseconds)
  TANGELO_RUN_DIR=$runtime/tangelo "$tangelo" $command > "$work/out" 2>&1 || true
  took=$(($(milliseconds) - begin))
  [ "$(grep -c "$work/games/still-[1-4].*UNSUPERVISED" "$work/out")" -ge 4 ] ||
    die "$(cat "$work/out")"
  [ $took -lt $((2000 + (scale < 100 ? 1000 : 0))) ] || die "$command took $took ms"
done
for i in 1 2 3 4; do
  as_games umount -f "$work/games/still-$i" > /dev/null 2>&1 || die "umount -f"
done
# shellcheck disable=SC2086  # many words
kill -CONT $still
until_true 30 nothing_left || die "left: $(left)"

for how in served unserved; do
  as_games mount "$source" "$mnt" > /dev/null
  until_true 20 is_serving || die "it does not serve"
  kill -STOP "$server_pid"
  as games dd if=/dev/zero of="$mnt/games/parked" bs=4k count=4 2> /dev/null &
  user=$!
  until_true 20 eval '[ "$(counter_of_mount pending_ops)" -ge 1 ]' || die "nobody waits"
  [ $how = served ] || kill -STOP "$pid_watchdog"
  says unmounted as_games umount -f "$mnt"
  until_true 10 eval '! kill -0 $user 2> /dev/null' || die "who waited still waits"
  [ $how = served ] || kill -CONT "$pid_watchdog"
  until_true 30 is_over || die "umount -f, $how: left: $(left)"
  kill -CONT "$server_pid"
done
helper=$build/cli/mount.tangelo
as games timeout 60 "$helper" "$source" "$mnt" -o rw,_netdev,user=games || die "mount.tangelo"
is_mounted || die "mount.tangelo does not mount"
as games fusermount3 -u "$mnt" || die "fusermount3 -u"
until_true 30 is_over || die "after fusermount3 -u: left: $(left)"

step "what a user may not"
mkdir "$work/bin"
mounts() { as_games mount "$@" "$source" "$mnt"; }
refused 'need root' mounts -o suid
refused 'need root' mounts -o dev
refused 'directory of your own' as_games mount "$source" "$work/bin"
chmod 600 "$server_dir/server.json"
refused 'Permission denied' mounts -o "secret_file=$server_dir/server.json"
refused 'no_new_privs' as games setpriv --no-new-privs "$tangelo" mount "$source" "$mnt"
install -m 755 "$(command -v fusermount3)" "$work/bin/"
path=$work/bin:$PATH refused 'fusermount3.*|setuid root' mounts
grep -q 'setuid root' "$work/out" || die "no word of setuid: $(cat "$work/out")"
path=/nowhere refused 'No such file' as games "$tangelo" mount "$source" "$mnt"
grep -q 'apt install fuse3' "$work/out" || die "no word of fuse3: $(cat "$work/out")"
! is_mounted || die "something is mounted"

# inside COMMAND...: where /etc/fuse.conf, /dev/fuse and /tmp can be something else.
inside() { unshare --mount --propagation private bash -euo pipefail -c "$@" inside; }
export -f as as_games mounts refused says say die
export work mnt runtime path tangelo source build address volume
step "allow_other"
echo 'mount_max = 1000' > "$work/fuse.conf"
inside 'mount --bind "$work/fuse.conf" /etc/fuse.conf
  refused "user_allow_other" mounts -o allow_other
  grep -q "without allow_other only you" "$work/out" || die "what to do: $(cat "$work/out")"
  echo user_allow_other >> "$work/fuse.conf"
  says mounted mounts -o allow_other
  says mine as news cat "$mnt/games/file"
  refused "Permission denied" as news touch "$mnt/games/y"
  says unmounted as_games umount "$mnt"'

step "/dev/fuse is not for users"
touch "$work/fuse"
chmod 600 "$work/fuse"
inside 'mount --bind "$work/fuse" /dev/fuse
  refused "/dev/fuse: Permission denied" mounts
  grep -q "0666" "$work/out" || die "no word of what to do: $(cat "$work/out")"'

step "a run directory in /tmp is the user's alone"
runtime=
# What we need of /tmp is moved into the fresh one.
inside 'mkdir -p "$work/fresh"
  mount -t tmpfs -o mode=1777 none "$work/fresh"
  for kept in "$work" "$build"; do
    case $kept in /tmp/*)
      mkdir -p "$work/fresh/${kept#/tmp/}"
      mount --bind "$kept" "$work/fresh/${kept#/tmp/}" ;;
    esac
  done
  mount --move "$work/fresh" /tmp
  own=/tmp/tangelo-$(id -u games)
  ln -s "$work/games" $own
  chown -h news: $own
  refused "$own: not a directory" mounts
  rm $own
  as news mkdir -m 777 $own
  refused "$own: belongs to user 9" mounts
  rm -r $own
  as games mkdir -m 755 $own
  refused "$own: is open to others" mounts
  rm -r $own
  says mounted mounts
  [ "$(stat -c "%a %U" $own)" = "700 games" ] || die "$(stat $own)"
  says "unprivileged" as_games status "$mnt"
  runtime=$work/games/runtime says "unprivileged" as_games status "$mnt"
  unset TANGELO_RUN_DIR
  says "unprivileged" "$tangelo" status "$mnt"
  says unmounted as_games umount "$mnt"
  says mounted mounts
  says unmounted "$tangelo" umount "$mnt"
  # What another one has put there is not believed.
  says mounted mounts
  mv $own $own.away
  cp -a $own.away $own
  chown -R news: $own
  says "UNSUPERVISED" bash -c "as_games status $mnt || true"
  rm -r $own
  mv $own.away $own
  says unmounted as_games umount "$mnt"'
runtime=$work/games/runtime
until_true 30 nothing_left || die "left: $(left)"
cp "$runtime"/tangelo/log/*.log "$work"/news/runtime/tangelo/log/*.log "$TANGELO_RUN_DIR/log/"
"$tangelo" umount "$work/root" > /dev/null
stop_server
