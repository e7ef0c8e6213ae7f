#!/bin/bash
# rdma.sh: what verbs costs, over Soft-RoCE and Soft-iWARP in a guest (tests/system/guest_lib.sh):
# perftest, the transfers of `tangelo ping`, and reads and writes of a file on a mount, one after
# the other, in rounds of one run; then single operations: those of rping, and reads of 4 KiB on a
# mount, with and without busy polling. Prints each as a ratio to perftest's or rping's of the same
# kind and round, with the lowest and the highest, and the CPU time per MiB or operation likewise.
# The guest has no virtualisation support: the ratios mean something, the figures do not.
#
# TANGELO_BUILD is a release build; TANGELO_RDMA the kinds of devices ("rxe siw"), TANGELO_ROUNDS
# how often (3). Needs perftest and rdmacm-utils (packaging/packages.txt, [bench]).
source_of_tests=$(dirname "$(readlink -f "$0")")/../system
. "$source_of_tests/lib.sh"
go_inside "$@"
. "$source_of_tests/guest_lib.sh"
. "$source_of_tests/rdma_lib.sh"
peers=(ib_write_bw ib_read_bw rping)
need "${peers[@]}"

begin_rdma_guest "$source_dir/tests/bench/rdma_job.sh"
for program in "${peers[@]}"; do add_tools "$work/top" "$(command -v "$program")"; done
end_guest "$work/top" "kinds='${TANGELO_RDMA:-rxe siw}'" "rounds=${TANGELO_ROUNDS:-3}"
run_guest "$kernel"

# Lines "data: KIND ROUND ROW VALUE CPU" -> a table; the first row of each group is 1.
awk '$1 == "data:" {
    key = $2 " " $4
    split($4, name, "/")
    base = $2 " " name[1]
    if (!((base, $3) in value)) { value[base, $3] = $5; cpu[base, $3] = $6 }
    if (!(key in seen)) { order[++count] = key; seen[key] = base }
    r = $5 / value[base, $3]
    c = cpu[base, $3] ? $6 / cpu[base, $3] : 0
    sum[key] += r; csum[key] += c; n[key]++
    if (n[key] == 1 || r < low[key]) low[key] = r
    if (n[key] == 1 || r > high[key]) high[key] = r
  }
  END {
    print "| device, what | ratio | lowest | highest | CPU |"
    print "|---|--:|--:|--:|--:|"
    for (i = 1; i <= count; i++) {
      k = order[i]
      printf "| %s | %.2f | %.2f | %.2f | %s |\n", k, sum[k] / n[k], low[k], high[k],
        csum[k] ? sprintf("%.2f", csum[k] / n[k]) : "-"
    }
  }' "$work/log"
