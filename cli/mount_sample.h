// mount_sample: one look at a mount, with its metrics, for `tangelo metrics` and `tangelo top`.
#pragma once

#include "cli/figures.h"
#include "cli/snapshot.h"

namespace tangelo {

struct mount_sample {
  mount_view view;  // when it is not `known`, the rest is empty
  op_figures figures;
  core_figures core;
  op_summary now;
  std::uint64_t taken_ns = 0;
};
// Waits for watchdog and front end `wait_ms` at most, together.
mount_sample sample_of(const mount_ref& mount, int wait_ms);

}  // namespace tangelo
