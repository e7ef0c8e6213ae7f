// mount_metrics: what Prometheus is told of the mounts of this machine. Pure.
//
// The names are an interface: docs/OPERATIONS.md lists all of them (a test compares), they are
// added, never renamed.
#pragma once

#include <string>
#include <vector>

#include "cli/figures.h"
#include "cli/snapshot.h"

namespace tangelo {

struct mount_sample {
  mount_view view;  // when it is not `known`, the rest is empty
  op_figures figures;
  op_summary now;
};
std::string metrics_of_mounts(const std::vector<mount_sample>& mounts);

// Looks at every mount, or at `what`. What does not answer is `view.why_not`.
outcome<std::vector<mount_ref>> chosen_mounts(const std::string& what);
mount_sample sample_of(const mount_ref& mount, int wait_ms);

}  // namespace tangelo
