// watchdog_daemon: starting tangelo-watchdog without systemd, and waiting until it serves.
//
// Command line only. The daemon runs in a session of its own and logs to RUN/log/NAME.log. Bounded:
// a watchdog that does not report within 30 s is left to go on, and that is said.
#pragma once

#include <string>
#include <vector>

#include "base/problem.h"
#include "cli/mounts.h"

namespace tangelo {

// `call`: its arguments, without --run-dir and --ready-fd, which are added. What it reports as its
// problem is the failure.
outcome<void> start_watchdog(const mount_ref& mount, const std::string& run_root,
                             std::vector<std::string> call);
// Starts a watchdog for a mount that has none.
outcome<void> adopt_mount(const mount_ref& mount, const std::string& run_root);

}  // namespace tangelo
