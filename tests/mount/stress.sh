#!/bin/bash
# stress: random operations against a model (tests/conformance/torture.cc), stress-ng's filesystem
# class, dbench and fio, while the core is killed all the time: no difference, no failure.
# TANGELO_SEED repeats the operations, TANGELO_SCALE is the size in per cent (10: 20,000
# operations and 5 s for each stressor; 100: a million and 10 s).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/core_killer.sh"
need jq stress-ng dbench fio

seed=${TANGELO_SEED:-$$}
RANDOM=$seed
seconds=$(scaled 10 5)
operations=$((scale < 100 ? 2000 * scale : 10000 * scale))
say "seed $seed, scale $scale %"
mkdir "$work/local"
start_server
mount_volume
start_killing

step "$operations random operations against a model"
"$build/tests/conformance/torture" --operations "$operations" --seed "$seed" --workers 4 \
  "$mnt" "$work/local" || die "seed $seed: the mount and the model differ"

# Left out of stress-ng's class: what needs a filesystem on a block device of its own or kernel
# parts that are not about files on a mount (bind-mount binderfs eventfd ioprio procfs verity
# fanotify dnotify), flags and leases that FUSE does not have (chattr file-ioctl inode-flags lease).
stressors=(access chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl fiemap
  filename flock fpunch fsize fstat getdent handle hdd inotify io iomix link locka lockf lockofd
  mknod open rename symlink sync-file touch utime xattr)
[ "$scale" -ge 100 ] ||
  stressors=(access chmod dir fallocate fcntl flock fstat io mknod rename utime xattr)
mkdir "$mnt/stress"
for ((i = 0; i < ${#stressors[@]}; i += 4)); do
  group=("${stressors[@]:i:4}")
  step "stress-ng: ${group[*]}"
  arguments=()
  for name in "${group[@]}"; do arguments+=("--$name" 1); done
  stress-ng --temp-path "$mnt/stress" --timeout "$seconds" --verify --no-rand-seed --quiet \
    --hdd-bytes 64m --iomix-bytes 64m --fallocate-bytes 64m --copy-file-bytes 128m \
    --sync-file-bytes 64m "${arguments[@]}" > "$work/said" 2>&1 ||
    { cat "$work/said"; die "stress-ng: ${group[*]}"; }
done
rm -rf "$mnt/stress"

step "dbench"
mkdir "$mnt/dbench"
dbench -t "$seconds" -D "$mnt/dbench" -c /usr/share/dbench/client.txt 2 > "$work/said" 2>&1 ||
  { tail -20 "$work/said"; die "dbench"; }
grep -q '^Throughput' "$work/said" || { tail -20 "$work/said"; die "dbench did not get through"; }

step "fio"
fio --name=verify --directory="$mnt" --size="$(scaled 64 8)m" --numjobs=2 --rw=randrw \
  --bsrange=512-256k --ioengine=psync --verify=crc32c --verify_fatal=1 --fsync=64 \
  --aux-path="$work" --verify_state_save=0 --group_reporting > "$work/said" 2>&1 ||
  { tail -20 "$work/said"; die "fio"; }

stop_killing
losses=$(counter core_losses)
say "$losses cores were lost"
[ "$losses" -ge 10 ] || die "the kills met nothing"
unmount_volume
