#!/bin/busybox sh
# rdma_job.sh: the first process of the guest of rdma.sh. For each kind of RDMA device makes one of
# a network device, runs the conformance suite of the providers on it, mounts a volume over verbs
# and breaks everything under load; says in the last line how it went.
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
    tail -n 100 /run/tangelo/log/*.log
    tail -n 60 /tmp/server.log
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

# ---- devices ------------------------------------------------------------------------------------

make_device() {
  rdma link add ${kind}0 type $kind netdev d0 || die "no device of $kind"
  chmod 666 /dev/infiniband/*
}
gone() { ! kill -0 "$1" 2> /dev/null; }
remove_device() { # the kernel takes it away once nobody has it open any more
  local process
  rdma link delete ${kind}0 &
  within 30 gone $! && return
  for process in $(pidof tangelo-core tangelo-server); do
    say "$(cat /proc/$process/comm): $(ls -l /proc/$process/fd | grep -c infiniband) open," \
      "$(grep -c infiniband /proc/$process/maps) mapped"
  done
  die "the device is not taken away"
}

# ---- load ---------------------------------------------------------------------------------------

# Each of these does the same again and again, and counts, until somebody says stop.
for_ever() { # $1 once more; its count is in /tmp/$1
  local n=0
  while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    "$1" > /tmp/$1.out 2>&1 || { echo "$1 $n" > /tmp/failed; cat /tmp/$1.out; return; }
    echo "$n" > /tmp/$1.new && mv /tmp/$1.new /tmp/$1
  done
}
copy() { # and compare
  dd if=/tmp/pattern of=/mnt/copy bs=256k conv=fsync && echo 3 > /proc/sys/vm/drop_caches &&
    cmp /tmp/pattern /mnt/copy && rm /mnt/copy
}
verify() {
  fio --name=verify --directory=/mnt --size=2m --rw=randwrite --bs=16k --fsync=8 --ioengine=sync \
    --verify=crc32c --verify_fatal=1 --fallocate=none && rm /mnt/verify.0.0
}
commit() {
  rm -rf /mnt/git && git init -q /mnt/git && cp -r /settings /etc /mnt/git/ &&
    git -C /mnt/git add -A && git -C /mnt/git -c user.name=a -c user.email=a commit -qm c &&
    git -C /mnt/git fsck --strict && rm -rf /mnt/git
}
workers="copy verify commit"

witness_lives() { kill -0 "$witness" 2> /dev/null && [ ! -e /tmp/failed ]; }
mark() { # what has been done by now
  read -r data names held longest < /tmp/status
  copies=$(cat /tmp/copy)
}
went_on() { # each worker of the witness has finished three operations since `mark`, a copy too
  local d n h l
  read -r d n h l < /tmp/status
  longest=$l
  [ "$d" -ge $((data + 3)) ] && [ "$n" -ge $((names + 3)) ] && [ "$h" -ge $((held + 3)) ] &&
    [ "$(cat /tmp/copy)" -ge $((copies + 2)) ]
}
goes_on() { # after $1
  mark
  within 90 went_on || die "nothing goes on after: $1"
  witness_lives || die "$1: $(cat /tmp/failed)"
}
went_well() { # $1, and how long it took for those who waited
  goes_on "$1"
  say "$kind, $1: gone on, longest wait $((longest / 1000)) ms"
  kill -USR1 "$witness"
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

# ---- a mount over verbs, and everything that can happen to it -----------------------------------

begin() {
  tangelo-server init /srv/home --name home || die "no volume"
  serve
  within 30 grep -q 'ready: serving' /tmp/server.log || die "no server"
  within 5 grep -q 'listening on .* with tcp and verbs' /tmp/server.log ||
    die "the server has no verbs"
  timeout 60 tangelo mount -o fabric=verbs,secret_file=/tmp/secret $address:7471:/home /mnt ||
    die "no mount"
  within 20 grep -q 'verbs: up with' $logs || die "not over verbs"
  say "$kind, mounted: $(grep -h 'verbs: up with' $logs | tail -1)"
  for worker in $workers; do echo 0 > /tmp/$worker; done
  witness /mnt/w /tmp/status &
  witness=$!
  for worker in $workers; do for_ever $worker & done
  within 60 test -s /tmp/status || die "the witness does not start"
  went_well "start"
}

kill_each() {
  for program in tangelo-core tangelo-fs; do
    old=$(pidof $program)
    kill -9 "$old"
    within 60 is_another $program "$old" || die "no $program after its kill"
    went_well "kill -9 of $program"
  done
  kill -9 "$server"
  sleep 0.5
  serve
  went_well "kill -9 of the server"
}

lose_link() {
  ip link set d0 down
  sleep 3
  ip link set d0 up
  if [ $kind = rxe ]; then # that of 6.1 was seen to answer nothing after that
    remove_device
    make_device
  fi
  went_well "link down and up"
}

lose_device() {
  remove_device
  sleep 2
  make_device
  went_well "removal of the device"
}

reconnect() { # often; registrations are counted
  n=0
  before=$(ups)
  while [ $n -lt "$reconnects" ]; do
    n=$((n + 1))
    kill -9 "$server"
    serve
    goes_on "reconnect $n"
  done
  say "$kind, connected $(($(ups) - before)) times: $(grep -h 'verbs: up with' $logs | tail -1)"
}

end() {
  touch /tmp/stop
  kill -TERM "$witness"
  wait "$witness" || die "the witness saw something"
  wait_for_workers() { [ ! -e /mnt/copy ] && [ ! -e /mnt/git ] && [ ! -e /mnt/verify.0.0 ]; }
  within 90 wait_for_workers || die "the work does not end"
  [ ! -e /tmp/failed ] || die "$(cat /tmp/failed)"
  for worker in $workers; do say "$kind, $worker: $(cat /tmp/$worker) times"; done
  ! grep -q 'over tcp' $logs || die "it was over tcp"
  timeout 20 tangelo umount /mnt || die "no unmount"
  kill -TERM "$server"
  wait "$server" || die "the server does not stop"
  if grep -hE 'ERROR|broken invariant' $logs /tmp/server.log; then
    die "suspicious lines in a log"
  fi
  remove_device
  rm -rf /srv/home $logs /tmp/server.log /tmp/status /tmp/stop
}

say "kernel $(uname -r)"
for module in /modules/*.ko; do insmod "$module" || die "$module"; done
ip link set lo up
ip link add d0 type dummy || die "no dummy device"
ip addr add $address/24 dev d0
ip link set d0 up
ulimit -l unlimited
(umask 077 && head -c 24 /dev/urandom | base64 > /tmp/secret)
dd if=/dev/urandom of=/tmp/pattern bs=64k count=48 2> /dev/null
for kind in $kinds; do
  make_device
  TANGELO_VERBS_ADDRESS=$address timeout 200 provider_test --gtest_filter='*Verbs*' \
    > /tmp/out 2>&1 || { cat /tmp/out; die "the conformance suite"; }
  say "$kind, conformance suite: $(grep PASSED /tmp/out)"
  begin
  kill_each
  lose_link
  lose_device
  lose_device
  reconnect
  end
done
finish 0
