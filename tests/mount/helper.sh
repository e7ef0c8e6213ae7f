#!/bin/bash
# helper: mount.tangelo, which mount(8) calls, where no systemd runs (tests/system/systemd.sh: where
# one does): options of fstab, remount, other namespaces, exit codes of mount(8).
. "$(dirname "$0")/lib.sh"

allowed_words="mount option .colour=red. is unknown|another tangelo-watchdog serves it"
helper=$build/cli/mount.tangelo
mounted() { findmnt -nro FSTYPE "$mnt" | grep -qx fuse.tangelo; }
refused() { # CODE PATTERN ARGUMENTS...
  local code=$1 pattern=$2 got=0
  shift 2
  timeout 60 "$helper" "$@" > "$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] && grep -q -- "$pattern" "$work/out" ||
    die "$*: exit code $got, not $code and $pattern: $(cat "$work/out")"
  say "ok: $code: $(head -1 "$work/out")"
}

start_server
source=$address:/$volume
mkdir -p "$mnt"

step "mounts"
"$helper" "$source" "$mnt" -f || die "-f"
! mounted || die "-f mounts"
said=$("$helper" "$source" "$mnt" -sn -o rw,_netdev,nofail,x-a.b=c,comment=d -t tangelo) ||
  die "mount.tangelo"
[ -z "$said" ] || die "it says $said"
[ "$(findmnt -nro SOURCE,FSTYPE "$mnt")" = "$source fuse.tangelo" ] || die "$(findmnt "$mnt")"
"$helper" "$source" "$mnt" || die "what is mounted already is an error"

step "remounts"
echo kept > "$mnt/file"
"$helper" "$source" "$mnt" -o remount,ro,relatime,user_id=0 || die "remount,ro"
! touch "$mnt/file" 2> /dev/null || die "written to what is ro"
"$helper" "$source" "$mnt" -o remount,rw,noexec,dev_loss_tmo=77 || die "remount,rw"
touch "$mnt/file" || die "not written to what is rw"
findmnt -nro OPTIONS "$mnt" | grep -q noexec || die "$(findmnt "$mnt")"
"$tangelo" set "$mnt" | grep -q 77 || die "$("$tangelo" set "$mnt")"
"$tangelo" mount -o remount,ro "$source" "$mnt" | grep -qx "$mnt: remounted" || die "remount"
! touch "$mnt/file" 2> /dev/null || die "written to what tangelo mount has made ro"
"$tangelo" mount -o remount,rw "$source" "$mnt" > /dev/null || die "tangelo mount -o remount,rw"
touch "$mnt/file" || die "not written to what is rw again"
refused 1 'direct_io.*cannot be changed' "$source" "$mnt" -o remount,direct_io
[ "$(cat "$mnt/file")" = kept ] || die "the file"
umount "$mnt" || die "umount"
refused 32 'no Tangelo mount' "$source" "$mnt" -o remount,ro

step "is refused"
refused 1 'SOURCE and DIR' "$source"
refused 1 'unknown' "$source" "$mnt" -o colour=red
refused 32 'no volume' "$address:/nosuchvolume" "$mnt"
refused 32 'ns/mnt' "$source" "$mnt" -N 999999999

step "two at once: one mounts, and the other sees that"
for i in 1 2 3; do
  both=()
  for one in 1 2; do
    timeout 60 "$tangelo" mount "$source" "$mnt" > "$work/said-$one" 2>&1 &
    both+=($!)
  done
  for pid in "${both[@]}"; do wait "$pid" || die "$(cat "$work"/said-*)"; done
  [ "$(grep -cF " $mnt " /proc/self/mountinfo)" = 1 ] || die "not one mount"
  "$tangelo" umount "$mnt" > /dev/null || die "umount"
done

step "another namespace"
unshare --mount --propagation private sleep 1000 &
there=$!
until_true 5 eval '[ "$(readlink /proc/$there/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]' ||
  die "no namespace"
"$helper" "$source" "$mnt" -N $there || die "-N"
! mounted || die "-N mounts here"
[ "$(nsenter -t $there -m cat "$mnt/file")" = kept ] || die "-N does not mount there"
nsenter -t $there -m umount "$mnt" || die "umount there"
kill $there
until_true 5 no_own_processes || die "left: $(own_processes)"
