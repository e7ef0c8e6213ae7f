// mounts: finding the mounts of this machine, and reaching the watchdog of one.
//
// The mount table says what is mounted; control.sock in RUN/mounts/NAME/ says who serves it. No
// call here touches the mounted filesystem itself, so all of them answer while it is dead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/problem.h"
#include "protocol/supervise.h"

namespace tangelo {

struct mount_ref {
  std::string name;
  std::string mount_point;
  std::string source;
};

std::vector<mount_ref> list_mounts();
// By mount point, as the user types it. Fails with exit_code::unreachable.
outcome<mount_ref> find_mount_at(std::string_view path);
// `what` is a mount point or, where there is none of that path, a NAME.
outcome<mount_ref> find_mount_of(std::string_view what);

struct control_reply {
  control_answer answer;
  unique_fd fs_arena;      // for control_verb::arenas
  unique_fd shared_arena;
};
// Asks the watchdog of `name` and waits up to `wait_ms`. Fails with exit_code::unreachable when
// there is none, or it does not answer.
outcome<control_reply> ask_watchdog(const std::string& run_root, const std::string& name,
                                    control_verb verb, int wait_ms);

}  // namespace tangelo
