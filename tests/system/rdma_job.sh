#!/bin/busybox sh
# rdma_job.sh: the first process of the guest of rdma.sh. For each kind of RDMA device makes one of
# a network device, runs the conformance suite of the providers on it, mounts a volume over verbs
# and breaks everything under load; says in the last line how it went.
. /guest_job_lib.sh
. /rdma_job_lib.sh
netdev=d0

kill_each() {
  for program in tangelo-core tangelo-fs; do
    kill_program $program
    went_well "kill -9 of $program"
  done
  kill -9 "$server"
  sleep 0.5
  serve
  went_well "kill -9 of the server"
}
# Of a line `verbs: up with`: open registrations without all regions that were ever registered.
besides_regions() {
  echo "$1" | sed 's/.*registered \([0-9]*\) regions.* open \([0-9]*\).*/\2 \1/' |
    awk '{ print $1 - $2 }'
}
is_up_again() { [ "$(ups)" -gt "$1" ]; }
reconnect() { # often; registrations are counted, and the work goes on every now and then
  n=0
  first=$(grep -h 'verbs: up with' $logs | tail -1)
  while [ $n -lt "$reconnects" ]; do
    n=$((n + 1))
    before=$(ups)
    kill -9 "$server"
    serve
    within 60 is_up_again "$before" || die "reconnect $n: no connection"
    [ $((n % 20)) != 0 ] || goes_on "reconnect $n"
  done
  goes_on "the last reconnect"
  last=$(grep -h 'verbs: up with' $logs | tail -1)
  say "$kind, $n reconnects of $(ups) connections: $last"
  # Regions stay; besides them there are those of this connection, and maybe of the one before.
  left=$(($(besides_regions "$last") - $(besides_regions "$first")))
  [ "$left" -le 2 ] || die "$left registrations are left"
}

say "kernel $(uname -r)"
ip link add $netdev type dummy || die "no dummy device"
ip addr add $address/24 dev $netdev
ip link set $netdev up
(umask 077 && head -c 24 /dev/urandom | base64 > /tmp/secret)
for kind in $kinds; do
  rmmod rdma_ucm  # the server is there first, then RDMA, then a device
  begin_server
  grep -q 'tcp alone, until that can be' /tmp/server.log || die "there is RDMA before its module"
  insmod /modules/*-rdma_ucm.ko
  make_device
  server_has_verbs
  TANGELO_VERBS_ADDRESS=$address timeout 600 provider_test --gtest_filter='*Verbs*' \
    > /tmp/out 2>&1 || { cat /tmp/out; die "the conformance suite"; }
  say "$kind, conformance suite: $(grep PASSED /tmp/out)"
  begin_mount
  kill_each
  lose_link 3
  went_well "link down and up"
  for _ in 1 2; do
    lose_device 2
    went_well "removal of the device"
  done
  reconnect
  end_mount
  end_server
  remove_device
  rm -rf /srv/home $logs /tmp/server.log /tmp/status /tmp/stop
done
finish 0
