#!/bin/bash
# rdma_two.sh: a server in one guest and a mount over verbs in another, while processes die and
# links and devices go away on both sides, at random: once over Soft-RoCE, once over Soft-iWARP.
# See lib.sh and guest_lib.sh for the environment. TANGELO_RDMA is the kinds of devices ("rxe
# siw"), TANGELO_SECONDS how long it goes on with each (180), TANGELO_SEED repeats the choice of
# faults.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
. "$(dirname "$0")/guest_lib.sh"
. "$(dirname "$0")/rdma_lib.sh"

seconds=${TANGELO_SECONDS:-180}
TANGELO_LIMIT=$((seconds + 1200))
secret=$(head -c 24 /dev/urandom | base64)
begin_rdma_guest "$source_dir/tests/system/rdma_two_job.sh"
for kind in ${TANGELO_RDMA:-rxe siw}; do
  end_guest "$work/top" "kind=$kind" "seconds=$seconds" "seed=${TANGELO_SEED:-$RANDOM}" \
    "secret=$secret"
  say "booting two guests: $kind"
  cable=$work/cable.$kind  # a socket: what one guest's network device sends the other's receives
  guests=()
  for role in server client; do
    [ $role = server ] && end="server=on" || end="server=off"
    (boot_guest "$kernel" "$work/$kind.$role" "role=$role" \
      -netdev "stream,id=cable,$end,addr.type=unix,addr.path=$cable" \
      -device "virtio-net-pci,netdev=cable,romfile=,mac=52:54:00:00:00:0$((${#guests[@]} + 1))") &
    guests+=($!)
    for ((i = 0; i < 200; ++i)); do [ -S "$cable" ] && break; sleep 0.05; done
  done
  follow "$work/$kind.server" "${guests[0]}" > >(sed -u 's/^/  server /') &
  follow "$work/$kind.client" "${guests[1]}"
  wait "${guests[1]}" || true
  must_have_passed "$work/$kind.client"
  wait "${guests[0]}" || true
  must_have_passed "$work/$kind.server"
done
say "passed"
