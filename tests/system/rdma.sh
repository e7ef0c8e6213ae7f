#!/bin/bash
# rdma.sh: the verbs provider over Soft-RoCE and Soft-iWARP, in a guest: the conformance suite of
# the providers, and a mount to which everything happens. See lib.sh and guest_lib.sh for the
# environment. TANGELO_RDMA is the kinds of devices ("rxe siw"); TANGELO_RECONNECTS is how often
# the server is killed so that the mount connects again (10), when registrations are counted.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
. "$(dirname "$0")/guest_lib.sh"
. "$(dirname "$0")/rdma_lib.sh"

begin_rdma_guest "$source_dir/tests/system/rdma_job.sh"
add_tools "$work/top" "$build/tests/unit/rdma_provider_test"
mv "$work/top/usr/bin/rdma_provider_test" "$work/top/usr/bin/provider_test"
end_guest "$work/top" "reconnects=${TANGELO_RECONNECTS:-10}" "kinds='${TANGELO_RDMA:-rxe siw}'"
run_guest "$kernel"
say "passed"
