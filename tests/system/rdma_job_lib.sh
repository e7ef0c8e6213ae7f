# rdma_job_lib.sh: sourced by the jobs with RDMA devices, after guest_job_lib.sh: a device of the
# kind $kind on the network device $netdev, work that goes on for ever on a mount over verbs, and
# what can be done to both.
# shellcheck shell=dash disable=SC2154
logs=/run/tangelo/log/mnt.log
address=10.9.0.1  # of the server

# ---- devices ------------------------------------------------------------------------------------

make_device() {
  rdma link add ${kind}0 type $kind netdev $netdev || die "no device of $kind"
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

# Three operations of each worker of the witness, and two copies.
mark_all() {
  mark
  copies=$(cat /tmp/copy)
}
all_went_on() { went_on && [ "$(cat /tmp/copy)" -ge $((copies + 2)) ]; }
goes_on() { # after $1
  mark_all
  within "${patience:-90}" all_went_on || die "nothing goes on after: $1"
  witness_lives || die "$1: $(cat /tmp/failed)"
}
went_well() { # $1, and how long it took for those who waited
  goes_on "$1"
  say "$kind, $1: gone on, longest wait $((longest / 1000)) ms"
  kill -USR1 "$witness"
}

# ---- a server and a mount -----------------------------------------------------------------------

serve() { # with options $@
  tangelo-server run --volume home=/srv/home --listen $address:7471 --secret-file /tmp/secret \
    "$@" >> /tmp/server.log 2>&1 &
  server=$!
}
begin_server() {
  tangelo-server init /srv/home --name home || die "no volume"
  serve
  within 30 grep -q 'ready: serving' /tmp/server.log || die "no server"
}
server_has_verbs() {
  within 10 grep -q 'listening on .* with tcp and verbs' /tmp/server.log ||
    die "the server has no verbs"
}
end_server() {
  kill -TERM "$server"
  wait "$server" || die "the server does not stop"
  no_suspicious_lines /tmp/server.log
}
ups() { grep -c 'verbs: up with' $logs; }
begin_mount() { # and its load
  timeout 60 tangelo mount -o fabric=verbs,secret_file=/tmp/secret $address:7471:/home /mnt ||
    die "no mount"
  within 20 grep -q 'verbs: up with' $logs || die "not over verbs"
  say "$kind, mounted: $(grep -h 'verbs: up with' $logs | tail -1)"
  for worker in $workers; do echo 0 > /tmp/$worker; done
  start_witness
  for worker in $workers; do for_ever $worker & done
  went_well "start"
}
end_mount() {
  touch /tmp/stop
  end_witness
  wait_for_workers() { [ ! -e /mnt/copy ] && [ ! -e /mnt/git ] && [ ! -e /mnt/verify.0.0 ]; }
  within "${patience:-90}" wait_for_workers || die "the work does not end"
  [ ! -e /tmp/failed ] || die "$(cat /tmp/failed)"
  for worker in $workers; do say "$kind, $worker: $(cat /tmp/$worker) times"; done
  ! grep -q 'over tcp' $logs || die "it was over tcp"
  timeout 20 tangelo umount /mnt || die "no unmount"
  no_suspicious_lines $logs
}

# ---- what happens to them -----------------------------------------------------------------------

kill_program() {
  old=$(pidof $1)
  kill -9 "$old"
  within 60 is_another $1 "$old" || die "no $1 after its kill"
}
lose_link() { # for $1 seconds
  ip link set $netdev down
  sleep "$1"
  ip link set $netdev up
  if [ $kind = rxe ]; then # that of 6.1 was seen to answer nothing after that
    remove_device
    make_device
  fi
}
lose_device() { # for $1 seconds
  remove_device
  sleep "$1"
  make_device
}
dd if=/dev/urandom of=/tmp/pattern bs=64k count=48 2> /dev/null
