#!/bin/bash
# many: a directory of many names (a million at full scale), read while it changes; a sparse file of
# 100 GiB; names of all bytes (many.py).
. "$(dirname "$0")/lib.sh"
need_python

start_server
mount_volume
count=$((scale < 100 ? 1000 * scale : 10000 * scale))
step "$count names"
"$python" "$(dirname "$0")/many.py" "$mnt" "$count" ||
  die "not as it has to be"
unmount_volume

step "the volume is whole"
stop_server
"$server_program" check "$volume_dir" || die "the volume is damaged"
