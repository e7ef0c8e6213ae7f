#!/bin/bash
# systemd.sh: a mount as a service of a real systemd, in a Debian 12 booted with systemd-nspawn.
#
# Here a root is built (once; build/system/) and our Debian packages (with the objects of ./check);
# it is booted three times: with systemd_job.sh, which installs the packages and has the tests of a
# mount as a service, and twice with systemd_boot.sh: what is mounted at boot, and the purge.
# See lib.sh for the environment, and docs/TESTING.md. TANGELO_KILLS is the number of kills (30),
# TANGELO_SEED their order, TANGELO_DEBS a directory with packages that are built already.
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
need meson mmdebstrap systemd-nspawn unshare ldd dpkg-buildpackage dh
[ -e /dev/fuse ] && [ -e /dev/autofs ] || die "needs /dev/fuse and /dev/autofs"

# ---- a root -------------------------------------------------------------------------------------

# Packages of the root: systemd, what the job uses, and whose libraries our programs need.
packages() {
  printf '%s\n' systemd systemd-sysv dbus procps jq util-linux mount passwd
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

build_packages() { # into $1: one/ and two/, the same with a higher version
  local from=${TANGELO_DEBS:-} package part
  if [ -z "$from" ]; then
    say "building the packages"
    from=$work/built
    "$source_dir/packaging/build-deb" "$from" --quick > "$work/packages.log" 2>&1 ||
      { grep -vE '^(dh|dpkg)' "$work/packages.log" | tail -40; die "packaging/build-deb"; }
  fi
  mkdir -p "$1/one" "$1/two"
  cp "$from"/tangelo-{common,client,server}_*.deb "$1/one/"
  for package in "$1"/one/*.deb; do
    part=$work/part
    rm -rf "$part"
    dpkg-deb -R "$package" "$part"
    sed -i -E 's/^(Version: .*)$/\1+two/; s/(tangelo-common \(= [^)]*)\)/\1+two)/' \
      "$part/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$part" "$1/two/" > /dev/null
  done
}

put_job() { # below $1: what this run adds to the root
  local top=$1 unit=$1/etc/systemd/system script
  mkdir -p "$unit/multi-user.target.wants" "$top/usr/bin"
  build_packages "$top/root/packages"
  install "$build/tests/system/witness" "$top/usr/bin/witness"
  for script in systemd_job systemd_boot job_lib; do
    install -m 755 "$source_dir/tests/system/$script.sh" "$top/root/$script.sh"
  done
  # Not before what is mounted at boot; and the machine ends as machines do.
  cat > "$unit/job.service" << EOF
[Unit]
Description=the tests
After=remote-fs.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=exec
Environment=TANGELO_KILLS=${TANGELO_KILLS:-30} TANGELO_SEED=${TANGELO_SEED:-$RANDOM}
EnvironmentFile=/t/environment
ExecStart=/bin/bash /root/\${JOB}
StandardOutput=append:/t/log
StandardError=append:/t/log
EOF
  ln -s ../job.service "$unit/multi-user.target.wants/job.service"
}

prepare_boot() {
  mount -t tmpfs tmpfs /run
  umount -l /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mkdir -p "/sys/fs/cgroup/$group"
}
boot() { # the root $1; ends when the job has ended
  echo $BASHPID > "/sys/fs/cgroup/$group/cgroup.procs"
  exec timeout -k 5 "${TANGELO_LIMIT:-900}" systemd-nspawn --quiet --boot --register=no \
    --keep-unit --private-network --capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE \
    --bind="$work/t:/t" --bind=/dev/fuse --bind=/dev/autofs --machine="$group" \
    -D "$1" > "$work/console" 2>&1
}

root=$(build_root) || die "the root cannot be built"
mkdir -p "$work"/{over,t}
mount -t tmpfs tmpfs "$work/over"
mkdir -p "$work"/over/{new,changes,scratch,root}
put_job "$work/over/new"
mount -t overlay overlay -o "lowerdir=$work/over/new:$root" \
  -o "upperdir=$work/over/changes,workdir=$work/over/scratch" "$work/over/root"
prepare_boot

# run_job JOB PHASE SECONDS: boots, and lets the machine take so long to end after its job.
run_job() {
  local machine code done_s limit=$3
  printf 'JOB=%s\nPHASE=%s\n' "$1" "$2" > "$work/t/environment"
  rm -f "$work/t/code"
  : > "$work/t/log"
  say "booting: $1 $2"
  (boot "$work/over/root") &
  machine=$!
  follow "$work/t/log" "$machine"
  wait "$machine" || true
  if [ ! -e "$work/t/code" ]; then
    tail -20 "$work/console"
    die "the machine ended before its job"
  fi
  code=$(cat "$work/t/code")
  done_s=$(($(date +%s) - $(stat -c %Y "$work/t/code")))
  [ "$code" = 0 ] || die "the job ended with $code"
  say "the machine ended $done_s s after its job"
  [ "$done_s" -le "$limit" ] || die "which is more than $limit s"
}

run_job systemd_job.sh all 20
run_job systemd_boot.sh boot 20
run_job systemd_boot.sh purge 20
say "passed"
