#!/bin/bash
# check: a volume is used, its server killed, and it is clean; it is damaged, and that is found,
# mended, and clean afterwards, with everything else still there.
. "$(dirname "$0")/lib.sh"
need jq tar diff

check() { # CODE OPTIONS...: the exit code; $work/check.json
  local code=0 expected=$1
  shift
  timeout 120 "$server_program" check "$volume_dir" --json "$@" > "$work/check.json" \
    2> "$work/check.err" || code=$?
  [ "$code" = "$expected" ] || { cat "$work/check.json" "$work/check.err"; die "exit code $code"; }
}
found() { jq -e --arg k "$1" '.findings | any(.kind == $k)' "$work/check.json" > /dev/null; }

start_server
mount_volume
step "used, and killed in the middle of it"
mkdir "$mnt/tree"
tar -C /usr/include/linux -cf - . | tar -C "$mnt/tree" -xf -
ln "$mnt/tree/fs.h" "$mnt/link"
check 3  # it is served
grep -q "held by another server" "$work/check.err" || die "$(cat "$work/check.err")"
dd if=/dev/zero of="$mnt/large" bs=1M count=64 status=none 2> /dev/null &
writer=$!
until_true 20 test -s "$mnt/large"
stop_server KILL
check 0
say "after the kill: $(jq -c '[.inodes, .names, .objects, .leftovers]' "$work/check.json")"
start_server "$address"
wait "$writer" || die "the writer failed"
unmount_volume
stop_server TERM
check 0
[ "$(jq .damages "$work/check.json")" = 0 ] || die "damages after a clean stop"

step "an object is lost"
object=$(find "$volume_dir/objects" -type f -size +1k ! -name 0000000000000000 -print -quit)
rm "$object"
check 1
found data_missing || die "not found: $(cat "$work/check.json")"
check 0 --repair
check 0
[ "$(jq '.damages + .leftovers' "$work/check.json")" = 0 ] || die "not clean after the repair"

step "a stray object"
stray=$volume_dir/objects/$(dirname "${object#"$volume_dir/objects/"}")
cp "$(find "$volume_dir/objects" -type f -print -quit)" "$stray/strange"
check 0
found stranger || die "not found: $(cat "$work/check.json")"
rm "$stray/strange"

step "all else is there"
start_server
mount_volume
differing=$(diff -rq /usr/include/linux "$mnt/tree" | wc -l) || true
[ "$differing" -le 1 ] || die "$differing files differ, one was damaged"
[ "$mnt/link" -ef "$mnt/tree/fs.h" ] || die "the second name is another file"
unmount_volume
