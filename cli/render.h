// render: snapshots as text for a person and as JSON for a program.
//
// Pure. The JSON's member names are an interface (docs/OPERATIONS.md): members are added, never
// renamed.
#pragma once

#include <string>
#include <vector>

#include "cli/snapshot.h"

namespace tangelo {

std::string status_text(const std::vector<mount_view>& mounts);
std::string status_json(const std::vector<mount_view>& mounts);

struct mount_ops {
  mount_ref mount;
  std::vector<op_view> ops;
};
std::string path_text(const op_view& op);
std::string ops_text(const std::vector<mount_ops>& mounts);
std::string ops_json(const std::vector<mount_ops>& mounts);

// What was done to a mount; `done` is the sentence that a person reads.
std::string done_json(const mount_ref& mount, std::string_view done);
std::string policy_json(const mount_ref& mount, const mount_policy& policy);
// "fast_io_fail_tmo 15, dev_loss_tmo 60", or that all are off.
std::string policy_line(const mount_policy& policy);

// "SERVING", "WAITING" (mounted and supervised, operations wait), "FAILING" (its policy has them
// fail) or "UNSUPERVISED".
std::string_view state_of(const mount_view& mount);
// The server answers, or the connection was given up because there was nothing to say.
bool is_reachable(const core_view& core);
// "850ms", "12.3s", "4m10s", "3h12m", "2d4h".
std::string duration_text(std::uint64_t ns);

}  // namespace tangelo
