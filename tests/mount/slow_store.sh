#!/bin/bash
# slow_store: nothing in front end, core and server waits for one operation: a store that takes its
# time sees at least 64 of them at once from one mount. Each writes for two seconds: all of them
# have begun by then, also where others want the processors.
. "$(dirname "$0")/lib.sh"
need jq fio
[ -x "$test_server_program" ] || exit 77

server_program=$test_server_program
server_options=(--slow-us 50000)
start_server
mount_volume

step "96 writers at once"
timeout 120 fio --name=slow --directory="$mnt" --rw=write --bs=4k --size=160k --direct=1 --thread \
  --numjobs=96 --group_reporting > "$work/fio.log" || die "fio failed: $(tail -3 "$work/fio.log")"
most=$(counter in_progress_max)
say "$most operations in progress at once"
[ "$most" -ge 64 ] || die "at most $most operations were in progress at once"

unmount_volume
stop_server
