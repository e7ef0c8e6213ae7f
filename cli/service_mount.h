// service_mount: a mount made by systemd for us, as tangelo@NAME.service.
//
// Where systemd is PID 1 and knows that unit, `tangelo mount` and mount(8) describe the mount in
// RUN/asked/NAME.toml, which the unit prefers to /etc/tangelo/mounts/NAME.toml, and start it. The
// watchdog takes the file away when the mount ends.
#pragma once

#include <string>
#include <vector>

#include "base/problem.h"
#include "cli/mounts.h"

namespace tangelo {

// Not a user's, nor when TANGELO_RUN_DIR moves us elsewhere: the unit knows nothing of either.
bool mounts_are_services();
// Returns when the service serves the mount, or has said why it does not. `through`: see
// watchdog/settings.h; may be empty.
outcome<void> start_service(const mount_ref& mount, const std::string& run_root,
                            const std::vector<std::string>& options, const std::string& through);

// The text of that file.
std::string asked_text(const mount_ref& mount, const std::vector<std::string>& options,
                       const std::string& through);

}  // namespace tangelo
