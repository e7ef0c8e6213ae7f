#!/bin/bash
# full: a volume on a small disk of its own, filled by writers that overwrite each other's files:
# they get ENOSPC and nothing else. What has its room is written all the same, again and again:
# old data, also through a mapping, and what was allocated (full.py). Then the server starts again
# on it, files can be removed, and what they give back can be written. Guards fit all the while.
. "$(dirname "$0")/lib.sh"
need jq mkfs.ext4
need_python
here=$(dirname "$0")

allowed_words='^$'
truncate -s 112M "$work/disk"
mkfs.ext4 -q "$work/disk"
mkdir "$work/small"
mount -o loop "$work/disk" "$work/small" 2> "$work/said" ||
  { echo "skipped: no loop device: $(cat "$work/said")"; exit 77; }
volume_dir=$work/small/volume
start_server
mount_volume

write_until_full() { # N: writes file N again and again, and says what it was told in the end
  local round
  for round in 1 2 3 4 5 6 7 8; do
    dd if=/dev/urandom of="$mnt/$1" bs="${1}7000" count=$((round * 300)) seek=$((round * 7 % 40)) \
      conv=notrunc status=none 2>> "$work/told.$1" || true
  done
}

full() { # COMMAND
  timeout 200 "$python" "$here/full.py" "$1" "$mnt" "$work/small" || die "full.py $1"
}
full prepare

step "six writers fill it"
writers=()
for n in 1 2 3 4 5 6; do write_until_full $n & writers+=($!); done
wait "${writers[@]}"
cat "$work"/told.* > "$work/told"
grep -q 'No space left on device' "$work/told" || die "it is not full: $(df "$mnt" | tail -1)"
! grep -v 'No space left on device' "$work/told" || die "and other errors"

step "what is there is read"
for n in 1 2 3 4 5 6; do
  dd if="$mnt/$n" of=/dev/null bs=1M iflag=direct status=none || die "file $n"
done

step "what has its room is overwritten"
full overwrite

step "the server starts again"
stop_server KILL
start_server "$address"
until_true 30 is_serving || die "the mount does not come back"

full compare

step "files are removed, and their room can be used"
rm "$mnt"/[1-5] || die "a full volume does not let go"
rm -f "$mnt/filler"  # there was no room for it, perhaps
dd if=/dev/urandom of="$work/data" bs=1M count=8 status=none
has_room() { cp "$work/data" "$mnt/data" 2> /dev/null && sync "$mnt/data"; }
until_true 30 has_room || die "it is still full: $(df "$mnt" | tail -1)"
cmp "$work/data" "$mnt/data"
full compare

unmount_volume
stop_server
"$server_program" scrub "$volume_dir" || die "scrub"
"$server_program" check "$volume_dir" || die "check"
umount "$work/small"
say "passed"
