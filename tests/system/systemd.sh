#!/bin/bash
# systemd.sh: a mount as a service of a real systemd, in a Debian 12 booted with systemd-nspawn.
#
# Here a root is built (once; build/system/), our programs are put over it, and it is booted with
# systemd_job.sh as its one job, which has the tests. See lib.sh for the environment, and
# docs/TESTING.md. TANGELO_KILLS is the number of kills (30), TANGELO_SEED their order.
. "$(dirname "$0")/lib.sh"

group=tangelo-test-${TANGELO_WORK:+${TANGELO_WORK##*.}}
left_outside() { # the control group of the machine; cgroup2 need not be mounted outside
  unshare --mount --propagation private bash -c 'mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cd "/sys/fs/cgroup/$0" 2> /dev/null || exit 0
    for ((i = 0; i < 250; ++i)); do # what was killed may take a moment
      grep -qx "populated 0" cgroup.events && break
      sleep 0.02
    done
    find "$PWD" -depth -type d -exec rmdir {} +' "tangelo-test-${directory##*.}"
}
go_inside "$@"
need meson mmdebstrap systemd-nspawn unshare ldd
[ -e /dev/fuse ] || die "needs /dev/fuse"

# ---- a root -------------------------------------------------------------------------------------

# Packages of the root: systemd, what the job uses, and whose libraries our programs need.
packages() {
  printf '%s\n' systemd systemd-sysv dbus procps jq util-linux
  libraries | while read -r path; do
    dpkg-query -S "$path" 2> /dev/null || dpkg-query -S "*/${path##*/}" 2> /dev/null || true
  done | sed 's/:.*//' | sort -u
}

build_root() { # prints its path; built anew when the list of packages changes
  local list sources=() root
  list=$(packages | sort -u | paste -sd,)
  root=$cache/root-$(md5sum <<< "$list" | cut -c1-8)
  if [ ! -e "$root/done" ]; then
    say "building a Debian 12 root" >&2
    rm -rf --one-file-system "$cache"/root-*
    [ -e /etc/apt/sources.list.d/debian.sources ] &&
      sources=(/etc/apt/sources.list.d/debian.sources)
    mmdebstrap --variant=minbase --include="$list" bookworm "$root" "${sources[@]}" \
      > "$cache/mmdebstrap.log" 2>&1 || { tail -5 "$cache/mmdebstrap.log" >&2; return 1; }
    configure_root "$root"
    touch "$root/done"
  fi
  echo "$root"
}

configure_root() {
  local root=$1 unit
  echo tangelo-test > "$root/etc/hostname"
  : > "$root/etc/fstab"
  for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty@tty1.service console-getty.service \
    getty-static.service systemd-firstboot.service systemd-networkd.service \
    systemd-timesyncd.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
}

# ---- a machine ----------------------------------------------------------------------------------

put_job() { # below $1: what this run adds to the root
  local top=$1 unit=$1/etc/systemd/system
  install_programs "$top"
  mkdir -p "$unit/multi-user.target.wants"
  cp "$source_dir/packaging/systemd/tangelo@.service" "$unit/"
  install -D -m 755 "$source_dir/tests/system/systemd_job.sh" "$top/root/job"
  cat > "$unit/job.service" << EOF
[Unit]
Description=the tests
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=exec
Environment=TANGELO_KILLS=${TANGELO_KILLS:-30} TANGELO_SEED=${TANGELO_SEED:-$RANDOM}
ExecStart=/root/job
StandardOutput=append:/t/log
StandardError=append:/t/log
EOF
  ln -s ../job.service "$unit/multi-user.target.wants/job.service"
}

boot() { # the root $1; ends when the job has ended
  mount -t tmpfs tmpfs /run
  umount -l /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mkdir -p "/sys/fs/cgroup/$group"
  echo $BASHPID > "/sys/fs/cgroup/$group/cgroup.procs"
  exec timeout -k 5 "${TANGELO_LIMIT:-900}" systemd-nspawn --quiet --boot --register=no \
    --keep-unit --private-network --capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE \
    --bind="$work/t:/t" --bind=/dev/fuse --machine="$group" -D "$1" > "$work/console" 2>&1
}

root=$(build_root) || die "the root cannot be built"
mkdir -p "$work"/{over,t}
mount -t tmpfs tmpfs "$work/over"
mkdir -p "$work"/over/{new,changes,scratch,root}
put_job "$work/over/new"
mount -t overlay overlay -o "lowerdir=$work/over/new:$root" \
  -o "upperdir=$work/over/changes,workdir=$work/over/scratch" "$work/over/root"
say "booting"
(boot "$work/over/root") &
machine=$!
follow "$work/t/log" "$machine"
wait "$machine" || true
if [ ! -e "$work/t/code" ]; then
  tail -20 "$work/console"
  die "the machine ended before its job"
fi
code=$(cat "$work/t/code")
[ "$code" = 0 ] || die "the job ended with $code"
say "passed"
