#!/bin/busybox sh
# rdma_job.sh: the first process of the guest of rdma.sh. Makes RDMA devices of network devices,
# runs the conformance suite of the providers on one, then mounts a volume over verbs, breaks
# everything under load, and says in the last line how it went.
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
rm -f /bin/ip
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
    tail -n 60 /run/tangelo/log/*.log
    tail -n 30 /tmp/server.log
    timeout 20 tangelo status
    timeout 20 tangelo ops | head -30
    dmesg | grep -v audit | tail -15
  fi
  echo "result: $1"
  sync
  echo o > /proc/sysrq-trigger
  sleep 60
}
die() { say "FAILED: $*"; finish 1; }
within() { # $1 seconds for the command $2... to succeed; looks every 50 ms
  local end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt $end ] || return 1
    sleep 0.05
  done
}
logs=/run/tangelo/log/mnt.log
address=10.9.0.1

# ---- devices, and the conformance suite ---------------------------------------------------------

say "kernel $(uname -r)"
for module in /modules/*.ko; do insmod "$module" || die "$module"; done
ip link set lo up
ip link add d0 type dummy || die "no dummy device"
ip addr add $address/24 dev d0
ip link set d0 up
rdma link add rxe0 type rxe netdev d0 || die "no rxe"
chmod 666 /dev/infiniband/*
ulimit -l unlimited
TANGELO_VERBS_ADDRESS=$address timeout 200 provider_test --gtest_filter='*Verbs*' > /tmp/out 2>&1 ||
  { cat /tmp/out; die "the conformance suite"; }
say "conformance suite over rxe: $(grep PASSED /tmp/out)"

# ---- load ---------------------------------------------------------------------------------------

copy_for_ever() { # and compare
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    dd if=/tmp/pattern of=/mnt/copy bs=256k conv=fsync 2> /dev/null &&
      echo 3 > /proc/sys/vm/drop_caches &&
      cmp /tmp/pattern /mnt/copy && rm /mnt/copy || { echo "copy $n" > /tmp/failed; return; }
    echo "$n" > /tmp/copies
  done
}
witness_lives() { kill -0 "$witness" 2> /dev/null && [ ! -e /tmp/failed ]; }
mark() { # what has been done by now
  read -r data names held longest < /tmp/status
  copies=$(cat /tmp/copies)
}
went_on() { # each worker of the witness has finished three operations since `mark`, a copy too
  local d n h l
  read -r d n h l < /tmp/status
  longest=$l
  [ "$d" -ge $((data + 3)) ] && [ "$n" -ge $((names + 3)) ] && [ "$h" -ge $((held + 3)) ] &&
    [ "$(cat /tmp/copies)" -ge $((copies + 2)) ]
}
goes_on() { # after $1
  mark
  within 90 went_on || die "nothing goes on after: $1"
  witness_lives || die "$1: $(cat /tmp/failed)"
  say "$1: gone on, longest wait $((longest / 1000)) ms"
}
is_another() { # a process $1 runs, and it is not $2
  local pid
  pid=$(pidof "$1")
  [ -n "$pid" ] && [ "$pid" != "$2" ]
}
serve() {
  tangelo-server run --volume home=/srv/home --listen $address:7471 --secret-file /tmp/secret \
    >> /tmp/server.log 2>&1 &
  server=$!
}
ups() { grep -c 'verbs: up with' $logs; }

# ---- a mount over verbs -------------------------------------------------------------------------

(umask 077 && head -c 24 /dev/urandom | base64 > /tmp/secret)
tangelo-server init /srv/home --name home || die "no volume"
serve
within 30 grep -q 'ready: serving' /tmp/server.log || die "no server"
grep -q 'listening on .* with tcp and verbs' /tmp/server.log || die "the server has no verbs"
timeout 60 tangelo mount -o fabric=verbs,secret_file=/tmp/secret $address:7471:/home /mnt ||
  die "no mount"
within 20 grep -q 'verbs: up with' $logs || die "not over verbs"
say "mounted: $(grep -h 'verbs: up with' $logs | tail -1)"

dd if=/dev/urandom of=/tmp/pattern bs=64k count=48 2> /dev/null
echo 0 > /tmp/copies
witness /mnt/w /tmp/status &
witness=$!
copy_for_ever &
within 60 test -s /tmp/status || die "the witness does not start"
goes_on "start"

for program in tangelo-core tangelo-fs; do
  old=$(pidof $program)
  [ $program = tangelo-core ] || kill -USR1 "$witness"
  kill -9 "$old"
  within 60 is_another $program "$old" || die "no $program after its kill"
  goes_on "kill -9 of $program"
done
kill -9 "$server"
sleep 0.5
serve
goes_on "kill -9 of the server"

make_device() {
  rdma link add rxe0 type rxe netdev d0 || die "no device again"
  chmod 666 /dev/infiniband/*
}
ip link set d0 down
sleep 3
ip link set d0 up
# rdma_rxe of 6.1 was seen to answer nothing after that: the device is made anew.
rdma link delete rxe0 || die "no removal of the device"
make_device
goes_on "link down and up"

rdma link delete rxe0 || die "no removal of the device"
sleep 2
make_device
goes_on "removal of the device"

n=0
before=$(ups)
while [ $n -lt "$reconnects" ]; do
  n=$((n + 1))
  kill -9 "$server"
  serve
  goes_on "reconnect $n" > /dev/null
done
say "reconnected $(($(ups) - before)) times: $(grep -h 'verbs: up with' $logs | tail -1)"

touch /tmp/stop
kill -TERM "$witness"
wait "$witness" || die "the witness saw something"
within 60 test ! -e /mnt/copy || die "the copying does not end"
[ ! -e /tmp/failed ] || die "$(cat /tmp/failed)"
say "copied and compared $(cat /tmp/copies) times 3 MiB"
! grep -q 'over tcp' $logs || die "it was over tcp"
timeout 20 tangelo umount /mnt || die "no unmount"
if grep -hE 'ERROR|broken invariant' $logs /tmp/server.log; then
  die "suspicious lines in a log"
fi
finish 0
