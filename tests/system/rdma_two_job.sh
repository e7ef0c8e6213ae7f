#!/bin/busybox sh
# rdma_two_job.sh: the first process of both guests of rdma_two.sh; $role says which one this is.
# The server's loses its server, link and device at random, the client's core, front end, link and
# device, until the client has had enough: it tells the other by a connection to port 99.
. /guest_job_lib.sh
. /rdma_job_lib.sh
netdev=eth0
patience=240  # while the other side breaks things, too
RANDOM=$((seed + ${#role}))

one_fault() {
  case $role$(between 1 4) in
    *1) fault="link away"; lose_link "$(between 1 4)" ;;
    *2) fault="device away"; lose_device "$(between 1 3)" ;;
    client3) fault="kill -9 of the front end"; kill_program tangelo-fs ;;
    client4) fault="kill -9 of the core"; kill_program tangelo-core ;;
    server*) fault="kill -9 of the server"; kill -9 "$server"; serve ;;
  esac
}

be_server() {
  begin_server
  server_has_verbs
  nc -l -p 99 > /tmp/end &
  while [ ! -s /tmp/end ]; do
    sleep "$(between 15 40)"
    one_fault
    say "$kind, server: $fault"
  done
  # One that has just been started ends by a signal, not as it should.
  within 60 tangelo ping $address -c 1 --fabric tcp > /dev/null || die "the server does not answer"
  end_server
}
be_client() {
  begin_mount
  until [ "$(date +%s)" -ge "$until" ]; do
    one_fault
    went_well "$fault"
    sleep "$(between 0 3)"
  done
  end_mount
  say "$kind, connected $(ups) times: $(grep -h 'verbs: up with' $logs | tail -1)"
}

ip addr add "10.9.0.$([ "$role" = server ] && echo 1 || echo 2)/24" dev $netdev
ip link set $netdev up
echo "$secret" > /tmp/secret
chmod 600 /tmp/secret
make_device
until=$(($(date +%s) + seconds))
say "$role, kernel $(uname -r), $kind, seed $seed, $seconds s"
if [ "$role" = server ]; then
  be_server
else
  be_client
  tell() { echo end | timeout 5 nc $address 99; }
  within 60 tell || die "the server's guest does not hear"
fi
finish 0
