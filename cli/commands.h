// commands: what each subcommand of `tangelo` does, after its arguments were parsed.
//
// They print to standard output and return, or return a problem for main() to print. None of them
// waits for a mount without bound.
#pragma once

#include <string>

#include "base/problem.h"
#include "cli/arguments.h"

namespace tangelo {

outcome<void> run_mount(const mount_arguments& words);
outcome<void> run_umount(const umount_arguments& words);
outcome<void> run_look(const look_arguments& words);
outcome<void> run_set(const set_arguments& words);
outcome<void> run_abort(const abort_arguments& words);
outcome<void> run_upgrade(const upgrade_arguments& words);
outcome<void> run_adopt(const adopt_arguments& words);
outcome<void> run_server(const server_arguments& words);
outcome<void> run_quota(const quota_arguments& words);
outcome<void> run_metrics(const metrics_arguments& words);
outcome<void> run_ping(const ping_arguments& words);
outcome<void> run_top(const top_arguments& words);
outcome<void> run_fabric(const fabric_arguments& words);
outcome<void> run_trace(const trace_arguments& words);

}  // namespace tangelo
