#!/bin/bash
# data: room, holes, copies, appends, files without a name, and what is removed while it is open:
# the same is seen as in a plain directory, also from two mounts of one volume.
. "$(dirname "$0")/lib.sh"
need jq
need_python
driver=$(cd "$(dirname "$0")" && pwd)/data.py

start_server
mount_volume

step "the same as in a plain directory"
mkdir "$work/plain" "$mnt/compared"
PYTHONHASHSEED=1 $python "$driver" compare "$work/plain" "$mnt/compared" || die "differences"

step "two mounts append to one file"
other=$work/other
mkdir "$other"
timeout 100 "$tangelo" mount "$address:/$volume" "$other" > /dev/null
$python "$driver" append "$mnt" "$other" "$(scaled 1000 100)" || die "lines are lost"

step "two mounts append, and cores die"
rm "$mnt/log"
$python "$driver" append "$mnt" "$other" "$(scaled 1000 100)" & pid=$!
for _ in 1 2 3 4 5; do sleep 0.3; kill_core || true; done
wait $pid || die "lines are lost when a core dies"

step "removed and replaced by the other mount"
$python "$driver" two "$mnt" "$other" || die "two mounts"
timeout 60 "$tangelo" umount "$other" > /dev/null

step "room and holes survive the server's death"
$python - "$mnt" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None)
fd = os.open(sys.argv[1] + "/punched", os.O_RDWR | os.O_CREAT)
os.write(fd, b"d" * 1_000_000)
assert libc.fallocate64(fd, 3, ctypes.c_int64(1000), ctypes.c_int64(500_000)) == 0
PY
stop_server KILL
start_server "$address"
$python - "$mnt" <<'PY' || die "the punch was lost"
import sys
data = open(sys.argv[1] + "/punched", "rb").read()
assert data == b"d" * 1000 + bytes(500_000) + b"d" * 499_000
PY
