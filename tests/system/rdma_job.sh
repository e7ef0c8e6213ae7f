#!/bin/busybox sh
# rdma_job.sh: the first process of the guest of rdma.sh. Makes an RDMA device of a dummy network
# device, runs the conformance suite of the providers on it, and says in the last line how it went.
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
address=10.9.0.1

say() { echo "      $(cut -d. -f1 /proc/uptime) s in the guest  $*"; }
finish() { # 0: it holds
  echo "result: $1"
  sync
  echo o > /proc/sysrq-trigger
  sleep 60
}
die() { say "FAILED: $*"; finish 1; }

for module in /modules/*.ko; do insmod "$module" || die "$module"; done
ip link set lo up
ip link add d0 type dummy || die "no dummy device"
ip addr add $address/24 dev d0
ip link set d0 up
rdma link add rxe0 type rxe netdev d0 || die "no rxe"
rdma link show
ls /dev/infiniband
ulimit -l unlimited
export TANGELO_VERBS_ADDRESS=$address
timeout 400 provider_test --gtest_filter='*Verbs*:Frame*' --gtest_brief=0 > /tmp/out 2>&1
code=$?
grep -v '^\[ *RUN' /tmp/out | tail -150
[ $code = 0 ] || { dmesg | tail -20; die "the conformance suite: $code"; }
finish 0
