// fence_command: runs what an administrator gave to make sure that a holder does nothing any more.
// Blocks until it ends. For `tangelo-server takeover` only.
#pragma once

#include <string>

#include "base/problem.h"
#include "server/volume_hold.h"

namespace tangelo {

// By sh -c, with TANGELO_HOLDER_PID, TANGELO_HOLDER_HOST and TANGELO_VOLUME_DIR in its environment.
// Its exit code; 128 + N when signal N ended it.
outcome<int> run_fence_command(const std::string& command, const std::string& directory,
                               const volume_holder& holder);

}  // namespace tangelo
