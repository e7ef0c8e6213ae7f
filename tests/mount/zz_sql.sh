#!/bin/bash
. "$(dirname "$0")/lib.sh"
server_times lease_seconds=4
start_server
mount_volume
mnt2=$work/mnt2
mkdir -p "$mnt2"
timeout 100 "$tangelo" mount "$address:/$volume" "$mnt2" > /dev/null
  sqlite3 "$mnt/db" "pragma journal_mode=truncate; create table t(x);" > /dev/null
  insert() {
    local i
    for ((i = 0; i < $2; ++i)); do
      echo "pragma busy_timeout=60000; insert into t values($i);"
    done |
      timeout 200 strace -f -o /tmp/merge-strace.$3 -tt -e trace=desc,file sqlite3 "$1/db" > /dev/null
  }
  n=20
  insert "$mnt" "$n" 1 & a=$!
  insert "$mnt2" "$n" 2 & b=$!
  wait $a || say "the first mount failed"
  wait $b || say "the second mount failed"
timeout 60 "$tangelo" umount "$mnt2" > /dev/null
