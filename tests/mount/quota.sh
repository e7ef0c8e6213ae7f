#!/bin/bash
# quota: real tools meet limits of users, groups and directories: each ends with "Disk quota
# exceeded" at the limit, what shrinks works, df shows a directory's room, mv crosses its border by
# copying; and after servers killed in the middle of it usage is what du finds.
. "$(dirname "$0")/lib.sh"
need_python
need jq dd fallocate setpriv getfattr setfattr
export TMPDIR=$work
chmod 755 "$work"  # for other users

ann=4321 ben=4322 crew=5432
as() { # UID COMMAND...
  local uid=$1
  shift
  setpriv --reuid "$uid" --regid "$crew" --clear-groups "$@"
}
quota() { timeout 30 "$tangelo" quota "$@"; }
value() { quota show "$@" --json | jq -r "$key"; } # key=... value PATH...
used_bytes() { key=.used_bytes value "$@"; }
used_inodes() { key=.used_inodes value "$@"; }
is_counted() { [ "$(key=.counting value "$1")" = false ]; }
refused() { # COMMAND...: ends with EDQUOT
  if "$@" > "$work/out" 2>&1; then die "not refused: $*"; fi
  grep -q "quota exceeded" "$work/out" || die "$* : $(cat "$work/out")"
}
same() { [ "$1" = "$2" ] || die "$3: $1, not $2"; }
tree_is_right() { # DIRECTORY: usage is what du finds
  same "$(used_bytes "$1")" "$(du -s -B1 "$1" | cut -f1)" "bytes of $1"
  same "$(used_inodes "$1")" "$(find "$1" -printf '%i\n' | sort -u | wc -l)" "inodes of $1"
}

start_server
mount_volume -o ac=0
chmod 1777 "$mnt"

step "a user's bytes"
quota set "$mnt" --user $ann --bytes 8M --inodes 20 > /dev/null
mkdir "$mnt/ann" && chown $ann:$crew "$mnt/ann"
refused as $ann dd if=/dev/zero of="$mnt/ann/big" bs=1M count=20
size=$(stat -c %s "$mnt/ann/big")
[ "$size" -ge $((7 << 20)) ] && [ "$size" -le $((8 << 20)) ] || die "ended at $size"
as $ann dd if=/dev/zero of="$mnt/ann/big" bs=1M count=6 conv=notrunc status=none
refused as $ann fallocate -l 16M "$mnt/ann/big"
as $ann truncate -s 1G "$mnt/ann/sparse"
as $ben dd if=/dev/zero of="$mnt/ben" bs=1M count=2 status=none
refused as $ann cp "$mnt/ben" "$mnt/ann/copy"
rm -f "$mnt/ann/copy"
dd if=/dev/zero of="$mnt/ann/big" bs=1M count=10 conv=notrunc status=none
[ "$(used_bytes "$mnt" --user $ann)" -gt $((8 << 20)) ] || die "root is not limited by it"
as $ann rm "$mnt/ann/big"
as $ann dd if=/dev/zero of="$mnt/ann/again" bs=1M count=7 status=none
as $ann truncate -s 0 "$mnt/ann/again"
as $ann tar -C /etc -cf "$mnt/ann/tar" passwd group

step "what has its room already is written at the limit, too"
for i in 0 1 2 3 4 5; do  # more pieces than ext4 finds without a block of its own
  dd if=/dev/zero of="$mnt/ann/holes" bs=4k count=1 seek=$((i * 3)) conv=notrunc status=none
done
chown $ann:$crew "$mnt/ann/holes"
sync "$mnt/ann/holes"
quota set "$mnt" --user $ann --bytes "$(used_bytes "$mnt" --user $ann)" > /dev/null
as $ann dd if=/dev/zero of="$mnt/ann/holes" bs=4k count=1 seek=6 conv=notrunc,fsync status=none ||
  die "an overwrite is refused"
refused as $ann dd if=/dev/zero of="$mnt/ann/holes" bs=4k count=1 seek=7 conv=notrunc,fsync
quota set "$mnt" --user $ann --bytes 8M > /dev/null
rm "$mnt/ann/holes"

step "a user's inodes"
i=0
while as $ann touch "$mnt/ann/t$i" 2> /dev/null; do i=$((i + 1)); [ $i -lt 30 ] || break; done
same "$(used_inodes "$mnt" --user $ann)" 20 "inodes"
refused as $ann mkdir "$mnt/ann/d"
refused as $ann ln -s x "$mnt/ann/l"
as $ann ln "$mnt/ann/t0" "$mnt/ann/hard"
as $ben touch "$mnt/not-limited"
as $ann rm "$mnt/ann/"t?
as $ann mkdir "$mnt/ann/d"

step "who may see and set what"
as $ann "$tangelo" quota show "$mnt" --user $ann > /dev/null || die "one's own"
as $ann "$tangelo" quota show "$mnt" --group $crew > /dev/null || die "one's own group"
as $ann "$tangelo" quota show "$mnt" --user $ben > /dev/null 2>&1 && die "another's"
as $ann "$tangelo" quota set "$mnt" --user $ann --bytes none > /dev/null 2>&1 && die "setting"
as $ann "$tangelo" quota list "$mnt" > /dev/null 2>&1 && die "the list"
listed=$(quota list "$mnt" --json |
  jq -r ".quotas[] | select(.kind == \"user\" and .id == $ann) | .bytes")
same "$listed" $((8 << 20)) "in the list"
[ -z "$(getfattr -d -m - "$mnt" 2> /dev/null | grep tangelo)" ] || die "listed as an attribute"
quota clear "$mnt" --user $ann
as $ann dd if=/dev/zero of="$mnt/ann/big" bs=1M count=10 status=none

step "mapped pages, which the kernel writes in its own name"
quota set "$mnt" --user $ann --bytes 12M > /dev/null
as $ann "$python" - "$mnt/ann/mapped" << 'END' || die "no EDQUOT from msync or fsync"
import errno, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 8 << 20)
m = mmap.mmap(fd, 8 << 20)
m[:] = b"x" * (8 << 20)
try:
    m.flush()
    os.fsync(fd)
except OSError as e:
    sys.exit(e.errno != errno.EDQUOT)
sys.exit(1)
END
[ "$(used_bytes "$mnt" --user $ann)" -le $((12 << 20)) ] || die "passed by mapped pages"
rm "$mnt/ann/mapped"
quota clear "$mnt" --user $ann

step "a group"
quota set "$mnt" --group $crew --bytes 20M > /dev/null
refused as $ben dd if=/dev/zero of="$mnt/of-ben" bs=1M count=20
quota clear "$mnt" --group $crew
as $ben dd if=/dev/zero of="$mnt/of-ben" bs=1M count=20 status=none

step "a directory"
mkdir "$mnt/dir"
quota set "$mnt/dir" --bytes 10M --inodes 50 > /dev/null
refused dd if=/dev/zero of="$mnt/dir/big" bs=1M count=20
same "$(df -B1 --output=size "$mnt/dir" | tail -1 | tr -d ' ')" $((10 << 20)) "df"
same "$(df --output=itotal "$mnt/dir" | tail -1 | tr -d ' ')" 50 "df -i"
[ "$(df -B1 --output=size "$mnt" | tail -1)" -gt $((100 << 20)) ] || die "df of the mount"
[ "$(df -B1 --output=avail "$mnt/dir" | tail -1)" -lt $((1 << 20)) ] || die "df: not full"
rm "$mnt/dir/big"
mkdir "$mnt/dir/sub"
mv "$mnt/of-ben" "$mnt/dir/" 2> /dev/null && die "moved into a directory without room"
rm -f "$mnt/dir/of-ben"
[ "$(stat -c %s "$mnt/of-ben")" = $((20 << 20)) ] || die "a move that failed lost something"
truncate -s 5M "$mnt/of-ben"
mv "$mnt/of-ben" "$mnt/dir/sub/"
mv "$mnt/dir/sub/of-ben" "$mnt/dir/"
tree_is_right "$mnt/dir"
mv "$mnt/dir/of-ben" "$mnt/"
if ln "$mnt/of-ben" "$mnt/dir/link" 2> "$work/err"; then die "a link across"; fi
grep -q "cross-device" "$work/err" || die "$(cat "$work/err")"
quota set "$mnt" --bytes 1G > /dev/null 2>&1 && die "nested"
quota set "$mnt/dir/sub" --bytes 1G > /dev/null 2>&1 && die "nested"
quota set "$mnt/dir" --inodes none > /dev/null
tree_is_right "$mnt/dir"

step "a directory with content"
mkdir "$mnt/old"
tar -C /usr/include/linux -cf - . | tar -C "$mnt/old" -xf -
ln "$mnt/old/fs.h" "$mnt/old/fs2.h"
quota set "$mnt/old" --bytes 1G > /dev/null
until_true 30 is_counted "$mnt/old" || die "never counted"
tree_is_right "$mnt/old"
quota set "$mnt/old" --bytes 1M > /dev/null
refused dd if=/dev/zero of="$mnt/old/big" bs=1M count=1
rm -f "$mnt/old/big"
rm "$mnt/old/"t*.h
quota clear "$mnt/old"
dd if=/dev/zero of="$mnt/old/big" bs=1M count=1 status=none

step "who may set them"
not_permitted() { # COMMAND...
  if "$@" 2> "$work/out"; then die "permitted: $*"; fi
  grep -q "Operation not permitted" "$work/out" || die "$* : $(cat "$work/out")"
}
name=system.tangelo.quota
not_permitted as $ann setfattr -n $name.user.$ann -v bytes=0 "$mnt"
not_permitted setpriv --bounding-set -sys_admin --inh-caps -sys_admin setfattr -x $name "$mnt/dir"
if unshare --user --map-root-user true 2> /dev/null; then
  not_permitted as $ann unshare --user --map-root-user setfattr -x $name "$mnt/dir"
  not_permitted as $ann unshare --user --map-root-user setfattr -n $name -v bytes=1 "$mnt"
fi
for word in --user --group; do
  quota clear "$mnt/dir" $word "" 2> /dev/null && die "$word without a name"
done
quota show "$mnt/dir" > /dev/null || die "a limit is gone"

step "the server dies in the middle"
mkdir "$mnt/made"
cp -r /usr/include/linux /usr/include/c++ "$mnt/made/"
quota set "$mnt/made" --bytes 10G > /dev/null
stop_server KILL  # it counts, or has not begun
start_server "$address"
for ((round = 0; round < 3; ++round)); do
  (
    for ((i = 0; i < 200; ++i)); do
      head -c $((RANDOM * 8)) /dev/zero > "$mnt/dir/f$((RANDOM % 20))"
      [ $((RANDOM % 3)) != 0 ] || rm -f "$mnt/dir/f$((RANDOM % 20))"
      [ $((RANDOM % 3)) != 0 ] || truncate -s $RANDOM "$mnt/dir/f$((RANDOM % 20))"
    done 2> /dev/null
  ) &
  writer=$!
  sleep 0.$((3 + RANDOM % 6))
  stop_server KILL
  start_server "$address"
  wait "$writer"
done
tree_is_right "$mnt/dir"
until_true 60 is_counted "$mnt/made" || die "never counted after a crash"
tree_is_right "$mnt/made"
unmount_volume
stop_server TERM
timeout 60 "$server_program" check "$volume_dir" > "$work/check.txt" ||
  die "$(cat "$work/check.txt")"
