#!/bin/bash
# identity: who may do what, as root and as several users, with modes, ACLs and attributes: the same
# in a mount as in a directory of this machine's own disk, call by call. Then what a server's
# configuration changes in it.
. "$(dirname "$0")/lib.sh"
need jq diff setpriv
need_python

mkdir "$work/plain"
chmod 755 "$work"
"$python" - "$work/plain" <<'END' || { echo "skipped: no ACLs on the local disk"; exit 77; }
import os, struct, sys
os.setxattr(sys.argv[1], "system.posix_acl_access",
            struct.pack("<IHHIHHIHHI", 2, 1, 7, 0xffffffff, 4, 5, 0xffffffff, 32, 5, 0xffffffff))
END
program=$(dirname "$0")/identity.py
as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }

step "the same calls here and there"
"$python" "$program" "$work/plain" > "$work/plain.out" || die "the local directory"
start_server
mount_volume
chmod 755 "$mnt"
mkdir "$mnt/there"
"$python" "$program" "$mnt/there" > "$work/mount.out" || die "the mount"
[ "$(wc -l < "$work/plain.out")" -gt 2000 ] || die "too few calls"
diff "$work/plain.out" "$work/mount.out" > "$work/differences" ||
  { head -50 "$work/differences"; die "$(grep -c '^>' "$work/differences") calls differ"; }

step "a root of its own user namespace is root of what is its own"
if unshare --user --map-root-user true 2> /dev/null; then
  mkdir -m 777 "$mnt/open"
  as 1001 unshare --user --map-root-user sh -c \
    "cd $mnt/open && touch f && chmod 4000 f && chmod 600 f && echo x > f && rm f" ||
    die "a user namespace"
fi

step "a program with capabilities has them from its first call on"
reader=$work/cat
cp "$(command -v cat)" "$reader"
reads() { # DIRECTORY: as a user who has been there, by a program that may read everything
  # shellcheck disable=SC2016
  as 1001 sh -c 'read -r x < "$1/pub"; exec "$2" "$1/sec"' sh "$1" "$reader" 2>&1
}
for dir in "$work/plain" "$mnt/there"; do
  echo public > "$dir/pub"
  echo secret > "$dir/sec"
  chmod 600 "$dir/sec"
done
{ reads "$mnt/there" || true; } | grep -q 'Permission denied' || die "without the capability"
if setcap cap_dac_override+ep "$reader" 2> /dev/null &&
  [ "$(reads "$work/plain")" = secret ]; then
  for i in 1 2 3; do
    [ "$(reads "$mnt/there")" = secret ] || die "with the capability, time $i"
  done
fi

step "tools"
if command -v setfacl > /dev/null; then
  mkdir "$mnt/acl"
  setfacl -m u:1004:rwx,d:u:1004:rw,m::rx "$mnt/acl"
  getfacl -cpE "$mnt/acl" | grep -q '^user:1004:rwx$' || die "getfacl"
  touch "$mnt/acl/f"
  getfacl -cpE "$mnt/acl/f" | grep -q '^user:1004:rw' || die "inherited"
fi

step "after a restart of the server all is as before"
stop_server KILL
start_server "$address"
[ "$(as 1001 cat "$mnt/none" 2>&1 | grep -c 'No such file')" = 1 ] || die "after the restart"
unmount_volume
stop_server

step "root is nobody where it is squashed"
printf '[[volume]]\nname = "%s"\npath = "%s"\nsquash = "root"\n' "$volume" "$volume_dir" \
  > "$work/server.toml"
start_with() { # the configuration in server.toml
  rm -f "$server_dir/server.json"
  "$server_program" run --config "$work/server.toml" --listen 127.0.0.1:0 \
    --run-dir "$server_dir" >> "$server_log" 2>&1 < /dev/null &
  server_pid=$!
  until_true 20 test -s "$server_dir/server.json" || die "the server did not start"
  address=$(jq -r .listen "$server_dir/server.json")
}
start_with
mount_volume
touch "$mnt/by-root" 2> /dev/null && die "root has written where only root may"
mkdir -p "$work/none"
as 1001 ls "$mnt" > /dev/null || die "another user"
unmount_volume
stop_server

step "nothing is changed where that is not allowed"
sed -i 's/squash.*/read_only = true/' "$work/server.toml"
start_with
mount_volume
{ touch "$mnt/x" 2>&1 || true; } | grep -q 'Read-only file system' || die "read_only"
ls "$mnt" > /dev/null || die "reading"
unmount_volume
stop_server

step "clients elsewhere are refused"
sed -i 's/read_only.*/allow = ["192.0.2.0\/24"]/' "$work/server.toml"
start_with
if timeout 60 "$tangelo" mount "$address:/$volume" "$mnt" 2> "$work/out"; then die "let in"; fi
grep -q 'is not for 127.0.0.1' "$work/out" && grep -q allow "$work/out" || die "$(cat "$work/out")"
stop_server
