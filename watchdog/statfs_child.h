// statfs_child: asks whether our mount answers, in a child: a call into it may wait for ever for
// the very processes that the watchdog supervises.
//
// Owned by the watchdog, loop thread only; nothing waits. The child is this program again, with
// --statfs; should nobody be left to end it, it ends by itself.
#pragma once

#include <optional>
#include <string>

#include "watchdog/spawn.h"

namespace tangelo {

class statfs_child {
 public:
  // Starts one, unless one runs.
  void ask(const std::string& path) noexcept;
  // Of the call that has ended: its errno, 0 when the mount answers. To be repeated while one runs.
  std::optional<int> poll() noexcept;
  bool runs() const noexcept { return process_.pid != 0; }
  // SIGKILL; poll() reaps it.
  void end() noexcept;

 private:
  child_process process_;
};

// What the child does: the exit code of the process.
int call_statfs(const char* path) noexcept;

}  // namespace tangelo
