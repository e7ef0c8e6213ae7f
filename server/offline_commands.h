// offline_commands: the subcommands of tangelo-server for volumes that it does not serve itself.
// They block, say what they do on standard output and error, and return the exit code.
#pragma once

#include "server/command_line.h"

namespace tangelo {

int run_takeover(const server_command& c);
int run_check(const server_command& c);
int run_scrub(const server_command& c);

}  // namespace tangelo
