#!/bin/bash
# protection: one flipped bit of file data at each hop is noticed and named, and healed where the
# bytes are there once more: in the client's slot while the server is away, on the wire in both
# directions, on the server's disk. Without protection the same bit arrives: so the test can see it.
. "$(dirname "$0")/lib.sh"
need jq dd cmp
need_python

allowed_words="on the way (to|from) the server|in the server's store|integrity|protection: "
control=$work/control
mkdir "$control"
start_server
direct_address=$address
begin_forwarding() { # through a forwarder that flips what $control says, at the port it had before
  rm -f "$control/port"
  "$python" "$(dirname "$0")/forward.py" 127.0.0.1 "${port:-0}" "${direct_address%:*}" \
    "${direct_address##*:}" "$control" 7>&- &
  forwarder=$!
  until_true 10 test -s "$control/port" || die "the forwarder does not listen"
  port=$(cat "$control/port")
}
restart_server() { # behind the forwarder
  start_server "$direct_address"
  address=127.0.0.1:$port
}
end_forwarding() { kill "$forwarder"; wait "$forwarder" 2> /dev/null || true; }

flip() { echo "$2" > "$control/$1"; }     # up|down COUNT
flipped() { grep -c "$1" "$control/flipped" 2> /dev/null || true; }
of_core() { status_json | jq -r ".mounts[0].import.$1"; }
is_cut() { [ "$(of_core state)" != FULL ]; }
a_write_waits() { timeout 20 "$tangelo" ops "$mnt" | grep -q write; }
counts_are() { [ "$(of_core protection_healed) $(of_core protection_errors)" = "$1 $2" ]; }
write_direct() { dd if="$1" of="$2" bs=1M oflag=direct conv=notrunc status=none; }
read_direct() { dd if="$1" of="$2" bs=1M iflag=direct status=none; }
new_data() { head -c 1M /dev/urandom > "$work/$1"; }
is_eio() { # COMMAND...: fails, and says why
  if "$@" 2> "$work/said"; then return 1; fi
  grep -q 'Input/output error' "$work/said" || { cat "$work/said"; return 1; }
}

begin_forwarding
address=127.0.0.1:$port
mount_volume

step "without a flipped bit nothing is noticed"
new_data a
write_direct "$work/a" "$mnt/a"
read_direct "$mnt/a" "$work/back"
cmp "$work/a" "$work/back"
counts_are 0 0 || die "something is"
timeout 20 "$tangelo" status "$mnt" | grep -q protection && die "status says something"

step "a bit on the way to the server: sent again"
new_data b
flip up 1
write_direct "$work/b" "$mnt/b" || die "the write fails"
[ "$(flipped up)" = 1 ] || die "nothing was flipped: $(flipped up)"
read_direct "$mnt/b" "$work/back"
cmp "$work/b" "$work/back" || die "other bytes"
until_true 10 counts_are 1 0 || die "not counted as healed"

step "a bit on the way from the server: read again"
flip down 1
read_direct "$mnt/b" "$work/back" || die "the read fails"
[ "$(flipped down)" = 1 ] || die "nothing was flipped"
cmp "$work/b" "$work/back" || die "other bytes"
until_true 10 counts_are 2 0 || die "not counted as healed"

step "always on the way to the server: EIO, and nothing is written"
new_data c
write_direct "$work/b" "$mnt/c"
flip up 1000
is_eio write_direct "$work/c" "$mnt/c" || die "it is written"
flip up 0
[ "$(flipped up)" = 4 ] || die "three attempts were $(($(flipped up) - 1))"
read_direct "$mnt/c" "$work/back"
cmp "$work/b" "$work/back" || die "the file has changed"
until_true 10 counts_are 2 1 || die "not counted as failed"
timeout 20 "$tangelo" status "$mnt" | grep 'protection .*1 failed.*on the way to the server' ||
  die "status does not say it"

step "always on the way from the server: EIO"
flip down 1000
is_eio read_direct "$mnt/c" "$work/back" || die "it is read"
flip down 0
until_true 10 counts_are 2 2 || die "not counted as failed"
of_core protection_last | grep 'guard: expected 0x.*on the way from the server' ||
  die "status does not say it"
inode=$(printf 'inode 0x%x, block 128: guard' "$(stat -c %i "$mnt/c")")
grep -q "read .*$inode.*it fails" "$TANGELO_RUN_DIR"/log/*.log || die "the log does not say it"
read_direct "$mnt/c" "$work/back"
cmp "$work/b" "$work/back" || die "the mount does not work any more"

step "a bit in the slot of a write that waits for the server: the guards are those of its arrival"
unmount_volume
mount_volume -o direct_io  # so the kernel asks for nothing else before it writes
new_data d
head -c 64 "$work/d" > "$work/mark"
exec 7> "$mnt/d"
end_forwarding
until_true 20 is_cut || die "the path is not down"
is_eio sh -c "dd if='$work/d' bs=1M status=none >&7" &
writer=$!
until_true 20 a_write_waits || die "no write waits"
[ "$("$python" "$(dirname "$0")/flip_slot.py" "$(core_pid)" "$work/mark")" -ge 1 ] ||
  die "its bytes are not found"
old_core=$(core_pid)
kill_core  # what the next one sends has the same guards
begin_forwarding
wait "$writer" || die "the write does not fail: $(cat "$work/said")"
exec 7>&-
until_true 20 is_replaced core "$old_core" || die "no other core"
[ "$(stat -c %s "$mnt/d")" = 0 ] || die "it is written"
until_true 10 counts_are 0 1 || die "not counted as failed"
of_core protection_last | grep 'on the way to the server' || die "status does not say it"
timeout 20 "$tangelo" metrics "$mnt" | grep -E '^tangelo_protection_errors_total.* 1$' ||
  die "the metrics do not say it"

# FILE BLOCK: one bit of it on the server's disk, and not in anybody's memory.
flip_on_disk() {
  "$python" - "$volume_dir/objects" "$(stat -c %i "$1")" "$2" << 'END'
import glob, os, sys
path, = glob.glob("%s/*/*/%016x" % (sys.argv[1], int(sys.argv[2])))
fd = os.open(path, os.O_RDWR)
at = int(sys.argv[3]) * 4096 + 1234
byte = os.pread(fd, 1, at)
os.pwrite(fd, bytes([byte[0] ^ 1]), at)
os.fsync(fd)
END
}
block() { dd bs=4096 count=1 status=none conv=notrunc "$@"; }

step "a bit on the server's disk: EIO for its block, the others are read"
new_data f
write_direct "$work/f" "$mnt/f"
sync "$mnt/f"
flip_on_disk "$mnt/f" 5
is_eio read_direct "$mnt/f" "$work/back" || die "it is read"
is_eio block if="$mnt/f" of="$work/back" skip=5 iflag=direct || die "its block is read"
of_core protection_last | grep "block 5: guard: expected 0x.*in the server's store" ||
  die "status does not say it"
until_true 10 counts_are 0 3 || die "not counted as failed"
for other in 4 6; do
  block if="$mnt/f" of="$work/one" skip=$other iflag=direct
  block if="$work/f" of="$work/two" skip=$other
  cmp "$work/one" "$work/two" || die "block $other"
done

step "a part of it written is EIO, all of it written is well again"
is_eio dd if="$work/f" of="$mnt/f" bs=100 count=1 seek=210 conv=notrunc,fsync status=none ||
  die "a bad block has got a good guard"
block if="$work/f" of="$mnt/f" skip=5 seek=5 oflag=direct
read_direct "$mnt/f" "$work/back"
cmp "$work/f" "$work/back"

step "scrub finds what nobody has read"
inode=$(printf 'inode 0x%x' "$(stat -c %i "$mnt/f")")
flip_on_disk "$mnt/f" 200
scrub() { "$server_program" scrub "$volume_dir" "$@" > "$work/scrub"; }
scrub 2> "$work/said" && die "a volume that is served was scrubbed"
grep -q 'held by another server' "$work/said" || { cat "$work/said"; die "it does not say why"; }
stop_server
scrub && die "it finds nothing"
grep "^BAD $inode, block 200: guard: expected 0x" "$work/scrub" ||
  { cat "$work/scrub"; die "it does not say which"; }
scrub --json && die "it finds nothing"
jq -e '.bad_blocks == 1 and .unguarded_blocks == 0 and (.clean | not)' "$work/scrub" ||
  { cat "$work/scrub"; die "json"; }
restart_server
block if="$work/f" of="$mnt/f" skip=200 seek=200 oflag=direct
read_direct "$mnt/f" "$work/back"
cmp "$work/f" "$work/back"

has_written() { [ "$(cat "$work/writes")" -ge "$1" ]; } 2> /dev/null

step "a server killed while it writes over guarded blocks: nobody sees a fault"
for round in 1 2 3; do
  echo 0 > "$work/writes"
  (for ((i = 1; i <= 40; ++i)); do
    write_direct "$work/f" "$mnt/f"
    echo $i > "$work/writes"
  done) &
  writer=$!
  until_true 30 has_written $((round * 5)) || die "nothing is written"
  stop_server KILL
  scrub || { cat "$work/scrub"; die "scrub takes a crash for a bad disk"; }
  restart_server
  wait "$writer" || die "a write fails"
  read_direct "$mnt/f" "$work/back"
  cmp "$work/f" "$work/back" || die "other bytes"
done
counts_are 0 4 || { status_json | jq .mounts[0].import; die "a fault that is none"; }
stop_server
scrub || { cat "$work/scrub"; die "not clean"; }
grep -q 'no guard' "$work/scrub" && { cat "$work/scrub"; die "blocks without a guard"; }
restart_server
until_true 20 is_serving || die "it does not come back"
unmount_volume

step "without protection the bit arrives: the test can see it"
mount_volume -o protection=off
new_data e
flip up 1
write_direct "$work/e" "$mnt/e" || die "the write fails"
read_direct "$mnt/e" "$work/back"
cmp "$work/e" "$work/back" > /dev/null && die "nothing was flipped on the way up"
write_direct "$work/e" "$mnt/e"
flip down 1
read_direct "$mnt/e" "$work/back"
cmp "$work/e" "$work/back" > /dev/null && die "nothing was flipped on the way down"
read_direct "$mnt/e" "$work/back"
cmp "$work/e" "$work/back" || die "it is not only on the wire"
sync "$mnt/e"
flip_on_disk "$mnt/e" 5
read_direct "$mnt/e" "$work/back" || die "it is noticed on the disk"
cmp "$work/e" "$work/back" > /dev/null && die "nothing was flipped on the disk"
counts_are 0 0 || die "something is counted"
unmount_volume
end_forwarding
say "passed"
