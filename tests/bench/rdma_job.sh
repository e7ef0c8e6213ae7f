#!/bin/busybox sh
# rdma_job.sh: the first process of the guest of rdma.sh: measures, and says each result in a line
# "data: KIND ROUND WHAT/HOW VALUE CPU": bytes per second, and ticks of the guest's processors for a
# MiB; of `op` it is operations per second, and ticks for a thousand of them.
. /guest_job_lib.sh
. /rdma_job_lib.sh
netdev=d0
size=64  # MiB moved by each measurement: as many as `tangelo ping` moves
ops=2000
thousands=2
busy_poll=50  # microseconds

busy() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
seconds() { cut -d' ' -f1 /proc/uptime; }
data() { # $1 what, $2 per second, $3 ticks before, $4 MiB, or thousands of operations
  echo "data: $kind $round $1 $2 $(awk "BEGIN { print ($(busy) - $3) / $4 }")"
}

# perftest: a server and a client; the server does not say when it is ready: the client is started
# until it finds it. Its rate is in MiB a second.
run_client() { # $@
  before=$(busy)
  got=$("$@" $address 2> /dev/null | awk '$1 == 1048576 { print $4 * 1048576 }')
  [ -n "$got" ]
}
perftest() { # $1 program, $2 what
  "$1" -R -F -s 1048576 -n $size > /tmp/serving 2>&1 &
  within 30 run_client "$1" -R -F -s 1048576 -n $size || die "$1: $(cat /tmp/serving)"
  data "$2/perftest" "$got" "$before" $size
  wait $!
}
# One after the other: a Send each way and the transfers of rping; 4 KiB of a file that the server
# has in memory.
run_rping() { # with a server that may not be ready
  before=$(busy)
  began=$(seconds)
  timeout 60 rping -c -a $address -C $ops -S 64 > /dev/null 2>&1
}
rping_ops() {
  rping -s -a $address -C $ops > /dev/null 2>&1 &
  within 30 run_rping || die "rping"
  data "op/rping" "$(awk "BEGIN { print $ops / ($(seconds) - $began) }")" "$before" \
    $thousands
  wait $!
}
file_ops() { # over the fabric $1, $2: microseconds of busy polling
  local before rate
  tangelo mount -o fabric=$1,busy_poll=$2,direct_io,secret_file=/tmp/secret \
    $address:7471:/home /mnt || die "no mount"
  dd if=/dev/zero of=/mnt/f bs=1M count=4 2> /dev/null
  before=$(busy)
  rate=$(fio --name=f --filename=/mnt/f --size=4m --bs=4k --rw=randread --ioengine=psync \
    --direct=1 --number_ios=$ops --loops=1000 --output-format=terse | awk -F';' '{ print $8 }')
  data "op/file-$1$([ $2 = 0 ] || echo -busy)" "$rate" "$before" $thousands
  rm -f /mnt/f
  timeout 20 tangelo umount /mnt || die "no unmount"
}
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
ping() { # over the fabric $1
  local before said
  before=$(busy)
  said=$(tangelo ping $address -c 1 --fabric $1 --size ${size}M --json) || die "ping: $said"
  # Both directions share what was used.
  data "read/ping-$1" "$(echo "$said" | number to_server_bytes_per_s)" "$before" $((2 * size))
  data "write/ping-$1" "$(echo "$said" | number from_server_bytes_per_s)" "$before" $((2 * size))
}
file() { # over the fabric $1; a write to a file is a read by the server
  local before rate what
  timeout 60 tangelo mount -o fabric=$1,direct_io,secret_file=/tmp/secret \
    $address:7471:/home /mnt || die "no mount"
  for what in write read; do
    before=$(busy)
    rate=$(fio --name=f --directory=/mnt --size=${size}m --bs=1m --rw=$what --ioengine=psync \
      --direct=1 --numjobs=2 --group_reporting --fallocate=none --output-format=terse |
      awk -F';' -v what=$what '{ print 1024 * (what == "read" ? $7 : $48) }')
    data "$([ $what = write ] && echo read || echo write)/file-$1" "$rate" "$before" $((2 * size))
  done
  rm -f /mnt/f.*
  timeout 20 tangelo umount /mnt || die "no unmount"
}

ip link add $netdev type dummy || die "no dummy device"
ip addr add $address/24 dev $netdev
ip link set $netdev up
(umask 077 && head -c 24 /dev/urandom | base64 > /tmp/secret)
for kind in $kinds; do
  make_device
  begin_server
  server_has_verbs
  round=0
  while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    perftest ib_read_bw read
    perftest ib_write_bw write
    for fabric in verbs tcp; do
      ping $fabric
      file $fabric
    done
    rping_ops
    for fabric in verbs tcp; do file_ops $fabric 0; done
  done
  end_server
  rm /tmp/server.log
  serve --busy-poll-us $busy_poll
  server_has_verbs
  round=0
  while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    for fabric in verbs tcp; do file_ops $fabric $busy_poll; done
  done
  end_server
  remove_device
  rm -rf /srv/home /tmp/server.log
done
finish 0
