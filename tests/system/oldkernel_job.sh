#!/bin/busybox sh
# oldkernel_job.sh: the first process of the guest of oldkernel.sh. Mounts a volume, kills its
# front end again and again under load, and says in the last line how it went.
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
exec > /dev/ttyS1 2>&1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /srv
stty -onlcr < /dev/ttyS1
. /settings

say() { echo "      $(cut -d. -f1 /proc/uptime) s in the guest  $*"; }
finish() { # 0: it holds
  if [ "$1" != 0 ]; then
    tail -n 40 /run/tangelo/log/*.log /tmp/server.log
    timeout 20 tangelo status
    timeout 20 tangelo ops | head -30
  fi
  echo "result: $1"
  sync
  echo o > /proc/sysrq-trigger
  sleep 60
}
die() { say "FAILED: $*"; finish 1; }
within() { # $1 seconds for the command $2... to succeed; looks every 20 ms
  local end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt $end ] || return 1
    sleep 0.02
  done
}

# ---- load ---------------------------------------------------------------------------------------

copy_for_ever() { # and compare
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    dd if=/tmp/pattern of=/mnt/copy bs=64k conv=fsync 2> /dev/null && cmp /tmp/pattern /mnt/copy &&
      rm /mnt/copy || { echo "copy $n" > /tmp/failed; return; }
    echo "$n" > /tmp/copies
  done
}
name_for_ever() {
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    mkdir "/mnt/d$n" && [ -d "/mnt/d$n" ] && rmdir "/mnt/d$n" && [ ! -e "/mnt/d$n" ] ||
      { echo "directory $n" > /tmp/failed; return; }
  done
}
witness_lives() { kill -0 "$witness" 2> /dev/null && [ ! -e /tmp/failed ]; }

# Each worker of the witness has finished three operations since `mark`.
mark() { read -r data names held longest < /tmp/status; }
went_on() {
  local d n h l
  read -r d n h l < /tmp/status
  longest=$l
  [ "$d" -ge $((data + 3)) ] && [ "$n" -ge $((names + 3)) ] && [ "$h" -ge $((held + 3)) ]
}
is_another() { # a front end runs, and it is not $1
  local pid
  pid=$(pidof tangelo-fs)
  [ -n "$pid" ] && [ "$pid" != "$1" ]
}

# ---- all of it ----------------------------------------------------------------------------------

say "kernel $(uname -r), $kills kills, seed $seed"
insmod /fuse.ko || die "fuse.ko"
ifconfig lo 127.0.0.1 up
tangelo-server init /srv/home --name home || die "no volume"
tangelo-server run --volume home=/srv/home > /tmp/server.log 2>&1 &
within 30 grep -q 'ready: serving' /tmp/server.log || die "no server"
timeout 60 tangelo mount 127.0.0.1:7471:/home /mnt || die "no mount"
say "mounted: $(grep -h -o 'FUSE .* resend .*' /run/tangelo/log/mnt.log)"
grep -q 'resend not offered' /run/tangelo/log/mnt.log || die "this kernel can send requests again"

dd if=/dev/urandom of=/tmp/pattern bs=64k count=16 2> /dev/null
witness /mnt/w /tmp/status &
witness=$!
copy_for_ever &
name_for_ever &
within 60 test -s /tmp/status || die "the witness does not start"
sleep 1

n=0
while [ $n -lt "$kills" ]; do
  n=$((n + 1))
  sleep "0.$(awk "BEGIN { srand($seed + $n); print int(100 + rand() * 800) }")"
  old=$(pidof tangelo-fs)
  kill -USR1 "$witness"
  kill -9 "$old"
  mark
  within 60 is_another "$old" || die "no front end after kill $n"
  within 60 went_on || die "the witness does not go on after kill $n"
  witness_lives || die "kill $n: $(cat /tmp/failed)"
  say "kill $n: gone on, longest wait $((longest / 1000)) ms"
done

touch /tmp/stop
kill -TERM "$witness"
wait "$witness" || die "the witness saw something"
within 60 test ! -e /mnt/copy || die "the copying does not end"
[ ! -e /tmp/failed ] || die "$(cat /tmp/failed)"
say "copied and compared $(cat /tmp/copies) times 1 MiB"
[ "$(ls -A /mnt)" = "" ] || die "left on the volume: $(ls -A /mnt)"
timeout 20 tangelo status --json > /tmp/json
say "$(grep -E -o '"(restarts|core_losses)": *[0-9]+' /tmp/json | tr '\n' ' ')"
timeout 10 tangelo umount /mnt || die "no unmount"
if grep -hE 'ERROR|broken invariant' /run/tangelo/log/mnt.log /tmp/server.log; then
  die "suspicious lines in a log"
fi
finish 0
