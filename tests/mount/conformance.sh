#!/bin/bash
# conformance: every system call on files, as root and as several users, answers as it does on a
# local filesystem (tests/conformance), also while the core is killed all the time.
# TANGELO_CASES is a pattern of the cases to run; docs/CONFORMANCE.md says what may differ. Below
# full scale the cores are killed under a third of the cases, which TANGELO_SEED chooses.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/core_killer.sh"
need jq
seed=${TANGELO_SEED:-$$}
RANDOM=$seed

suite=$build/tests/conformance/conformance
cases=${TANGELO_CASES:-*}
mkdir "$work/local"
chmod 711 "$work"
start_server
mount_volume -o suid,dev

step "the mount against $(stat -f -c %T "$work/local")"
"$suite" --case "$cases" "$mnt" "$work/local" || die "it differs"

step "the same while the core is killed (seed $seed)"
chosen=("$cases")
if [ "$cases" = '*' ] && [ "$scale" -lt 100 ]; then
  mapfile -t chosen < <("$suite" --list | awk -v seed="$seed" 'NR % 3 == seed % 3 { print $1 }')
fi
arguments=()
for name in "${chosen[@]}"; do arguments+=(--case "$name"); done
start_killing
"$suite" "${arguments[@]}" --rounds "$(scaled 3)" "$mnt" "$work/local" ||
  die "it differs when the core is killed"
stop_killing
losses=$(counter core_losses)
say "$losses cores were lost"
[ "$losses" -ge 3 ] || [ "$cases" != '*' ] || die "the kills met nothing"

step "the suite sees a difference"
mkdir "$work/other"
mount -t ramfs -o mode=755 none "$work/other"
"$suite" --case xattr_values "$work/other" "$work/local" > "$work/said" &&
  die "ramfs is like the local filesystem"
umount "$work/other"
grep -q '^DIFFERENT' "$work/said" || die "no difference was named"

unmount_volume
