#!/bin/bash
# protection: one flipped bit of file data at each hop is noticed and named, and healed where the
# bytes are there once more: in the client's slot while the server is away, on the wire in both
# directions. Without protection the same bit arrives: so the test can see it.
. "$(dirname "$0")/lib.sh"
need jq dd cmp
need_python

allowed_words='on the way (to|from) the server|integrity'
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
counts_are 0 0 || die "something is counted"
unmount_volume
end_forwarding
say "passed"
