// mount_metrics: what Prometheus is told of the mounts of this machine. Pure.
//
// The names are an interface: docs/OPERATIONS.md lists all of them (a test compares), they are
// added, never renamed.
#pragma once

#include <string>
#include <vector>

#include "cli/mount_sample.h"

namespace tangelo {

std::string metrics_of_mounts(const std::vector<mount_sample>& samples);

}  // namespace tangelo
