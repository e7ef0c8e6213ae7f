#!/bin/bash
# smoke: what anybody does with a filesystem in the first five minutes, with one core killed in
# the middle.
. "$(dirname "$0")/lib.sh"
need jq setfattr getfattr diff tar

start_server
mount_volume
cd "$mnt"

step "files and directories"
mkdir -p a/b/c
echo hello > a/b/c/file
[ "$(cat a/b/c/file)" = hello ] || die "content"
echo more >> a/b/c/file
[ "$(wc -c < a/b/c/file)" = 11 ] || die "append"
: > empty
[ ! -s empty ] || die "empty file"
truncate -s 100000 sparse
[ "$(stat -c %s sparse)" = 100000 ] || die "truncate"
chmod 640 empty
[ "$(stat -c %a empty)" = 640 ] || die "chmod"
chown 1000:1000 empty
[ "$(stat -c %u:%g empty)" = 1000:1000 ] || die "chown"
touch -d '2001-02-03 04:05:06.789 UTC' empty
[ "$(stat -c %Y empty)" = 981173106 ] || die "mtime"

step "links"
ln -s a/b/c/file symlink
[ "$(cat symlink)" = "$(cat a/b/c/file)" ] || die "symbolic link"
ln a/b/c/file hardlink
[ "$(stat -c %h hardlink)" = 2 ] || die "link count"
[ "$(stat -c %i hardlink)" = "$(stat -c %i a/b/c/file)" ] || die "hard link"

step "names"
mv hardlink renamed
[ -e renamed ] && [ ! -e hardlink ] || die "rename"
echo x > target
mv -f renamed target
[ "$(wc -c < target)" = 11 ] || die "rename over"
rmdir a 2>/dev/null && die "a directory that is not empty was removed"
name=$(printf 'n%.0s' {1..255})
echo long > "$name" && rm "$name"
: 2>/dev/null > "${name}n" && die "a name of 256 bytes was taken"
[ "$(find a | wc -l)" = 4 ] || die "find"

step "extended attributes"
setfattr -n user.colour -v orange target
[ "$(getfattr --only-values -n user.colour target)" = orange ] || die "getxattr"
getfattr -d target | grep -q user.colour || die "listxattr"
setfattr -x user.colour target
getfattr -n user.colour target 2>/dev/null && die "removexattr"

step "space"
df "$mnt" | tail -1 | grep -q "$mnt" || die "df"

step "a tree, with a core killed in the middle"
tree=/usr/include/linux
cp -a "$tree" tree & copy=$!
sleep 0.3
kill_core || die "no core to kill"
wait "$copy" || die "cp -a"
diff -r "$tree" tree || die "the copy differs"
tar -C "$tree" -cf - . | tar -C tree -df - || die "tar finds differences"
[ "$(counter core_losses)" -ge 1 ] || die "the loss of the core was not seen"

step "a big file"
head -c "$(scaled 64000000 1000000)" /dev/urandom > "$work/big"
cp "$work/big" big
cmp "$work/big" big || die "the big file differs"
dd if="$work/big" of=direct bs=1M oflag=direct 2>/dev/null || die "direct write"
cmp "$work/big" direct || die "the file written directly differs"

step "an open file outlives its name"
exec 7<> unlinked
echo kept >&7
rm unlinked
[ "$(cat "/proc/$$/fd/7")" = kept ] || die "unlinked but open"
exec 7>&-

step "many files, then none"
mkdir many
for ((i = 0; i < 500; ++i)); do echo "$i" > "many/$i"; done
find many -type f -printf x | wc -c | grep -qx 500 || die "readdir"
rm -r many tree a big direct sparse

step "after a new mount all is as before"
cd "$work"
unmount_volume
mount_volume
[ "$(cat "$mnt/target")" = "$(printf 'hello\nmore')" ] || die "content after the new mount"
[ "$(timeout 20 "$tangelo" ops "$mnt")" = "no pending operations" ] || die "operations left over"

step "the end"
unmount_volume
! grep -q "$mnt" /proc/self/mountinfo || die "still mounted"
stop_server
