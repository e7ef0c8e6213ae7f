#!/bin/bash
# systemd_boot.sh: the second and the third job of the machine that systemd.sh boots: what
# /etc/fstab mounts at boot, with its server up, down, and coming later; an end with the servers
# dead; purge.
#
# Environment: PHASE, boot or purge.
. /root/job_lib.sh

mounted() { findmnt -nro FSTYPE "$1" | grep -qx fuse.tangelo; }

test_boot() {
  local took
  systemctl is-active -q remote-fs.target || die "remote-fs.target was not reached"
  mounted $mnt || die "$mnt is not mounted at boot"
  [ "$(timeout 5 cat $mnt/kept)" = tangelo ] || die "what was written before the boot is not there"
  [ "$(systemctl show -P ActiveState mnt-home.mount)" = active ] || die "mnt-home.mount"
  say "fstab, server up: mounted at boot"
  ! mounted /mnt/auto || die "an automount is there before it is used"
  took=$(now_ms)
  [ "$(timeout 20 cat /mnt/auto/kept)" = tangelo ] || die "the automount: $(ls -l /mnt/auto)"
  say "fstab, automount: there $(($(now_ms) - took)) ms after its first use"
  mounted /mnt/late || die "without a server nothing is mounted at boot"
  tangelo status /mnt/late | grep -q WAITING || die "$(tangelo status /mnt/late)"
  timeout 60 mkdir /mnt/late/came &
  took=$(now_ms)
  tangelo-server init /var/lib/tangelo/volumes/late > /dev/null || die "no volume"
  systemctl start tangelo-server@late || die "the late server does not start"
  wait $! || die "who waited for the late server got an error"
  say "fstab, server down at boot: mounted, and works $(($(now_ms) - took)) ms after it came"
  # The machine is about to end: with dead servers, and callers that wait. The automount's client
  # will not come again, and the others have to wait for it: not for long.
  sed -i '1i lease_seconds = 3' /etc/tangelo/servers/default.toml
  kill_server
  systemctl kill -s KILL tangelo-server@late
  systemctl stop tangelo-server@late
  for dir in $mnt /mnt/auto /mnt/late; do
    systemd-run --quiet --collect sh -c "cd $dir && mkdir parked" 2> /dev/null
    systemd-run --quiet --collect sh -c "exec mkdir $dir/parked" 2> /dev/null
  done
  sleep 0.5
}

left() { # of us, but for volumes
  find / -xdev \( -path /proc -o -path /root -o -path /sys -o -path /var/lib/tangelo/volumes \
    -o -path /var/log -o -path /tmp -o -path /t \) -prune -o -name '*tangelo*' -print
  find /run -name '*tangelo*'
  find /etc/systemd -name '*tangelo*' | sort -u
  pgrep -l tangelo
  grep fuse.tangelo /proc/self/mountinfo
}
test_purge() {
  [ "$(timeout 30 cat $mnt/kept)" = tangelo ] || die "not mounted at the third boot"
  : > /etc/fstab
  systemctl daemon-reload
  dpkg -P tangelo-client tangelo-server tangelo-common > /run/dpkg 2>&1 ||
    { cat /run/dpkg; die "purge"; }
  grep -q "volumes is kept" /run/dpkg || die "the purge does not say what it keeps"
  left | grep -vE '^/run/(systemd|credentials)/|/var/lib/(dpkg|systemd)|^/var/lib/tangelo$' \
    > /run/left
  [ ! -s /run/left ] || die "left after the purge: $(cat /run/left)"
  [ -e /var/lib/tangelo/volumes/home/superblock ] || die "the volume is gone"
  say "purged: nothing left but the volumes"
}

if [ "$PHASE" = boot ]; then test_boot; else test_purge; fi
