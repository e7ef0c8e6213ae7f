#!/bin/bash
# oldkernel.sh: front ends that die on a kernel without FUSE_NOTIFY_RESEND (before 6.9): Debian
# 12's own, in a guest. See lib.sh and guest_lib.sh for the environment. TANGELO_KILLS is the
# number of kills (20), TANGELO_SEED their phases.
. "$(dirname "$0")/lib.sh"
go_inside "$@"
. "$(dirname "$0")/guest_lib.sh"

modules=(fs/fuse/fuse)
kernel=$(get_kernel "${modules[@]}") || die "no kernel"
begin_guest "$work/top" "$source_dir/tests/system/oldkernel_job.sh" "$kernel" "${modules[@]}"
end_guest "$work/top" "kills=${TANGELO_KILLS:-20}" "seed=${TANGELO_SEED:-$RANDOM}"
run_guest "$kernel"
say "passed"
