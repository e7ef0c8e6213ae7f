#!/bin/bash
# two_mounts: two mounts of one volume at work on the same files and names (two_mounts.py,
# two_works.py): who makes a name is one, what is open stays usable, what was closed is seen by who
# opens, and the rest within the validity of what a mount has cached.
. "$(dirname "$0")/lib.sh"
need jq
need_python

start_server
mount_volume
second=$work/mnt2
mkdir "$second"
timeout 100 "$tangelo" mount "$address:/$volume" "$second" > /dev/null

step "both at work"
"$python" "$(dirname "$0")/two_mounts.py" "$mnt" "$second" "$(scaled 1000 200)" ||
  die "the two mounts do not agree"

step "a database and builds on both"
"$python" "$(dirname "$0")/two_works.py" "$mnt" "$second" "$(scaled 1000 50)" ||
  die "the works on two mounts disturb each other"

step "ac=0: the other one's changes are seen at once"
timeout 60 "$tangelo" umount "$second" > /dev/null
timeout 100 "$tangelo" mount -o ac=0 "$address:/$volume" "$second" > /dev/null
"$python" "$(dirname "$0")/two_mounts.py" --at-once "$mnt" "$second" 50 ||
  die "ac=0: something stale was seen"

timeout 60 "$tangelo" umount "$second" > /dev/null
unmount_volume
