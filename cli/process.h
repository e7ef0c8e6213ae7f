// process: the child processes that the command line needs: the watchdog as a daemon, systemctl,
// and a probe that may get stuck in a dead mount and be killed instead of us.
//
// The only place of this folder where fork(2) stands.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

struct daemon_start {
  pid_t pid = 0;
  unique_fd ready;  // reads what the daemon writes to its --ready-fd
};
inline constexpr int daemon_ready_fd = 3;

// Starts `path` in a session of its own, with standard output and error appended to `log_path`,
// and the write end of a pipe at daemon_ready_fd.
outcome<daemon_start> start_daemon(const std::string& path, std::vector<std::string> arguments,
                                   const std::string& log_path);
// Its exit status once it has ended, waiting up to `wait_ms`; nothing if it still runs.
std::optional<int> exit_status_of(pid_t pid, int wait_ms);

// A program looked for in PATH, with what it wrote to standard output and error. Killed, and a
// failure, when it has not ended in `wait_ms`.
struct program_end {
  int status = 0;  // exit code, or 128 + signal
  std::string output;
};
outcome<program_end> run_program(std::vector<std::string> words, int wait_ms);

// Calls statfs(2) in a child. Ended by its destructor, however stuck it is.
class statfs_probe {
 public:
  explicit statfs_probe(const std::string& path);
  ~statfs_probe();
  statfs_probe(const statfs_probe&) = delete;
  statfs_probe& operator=(const statfs_probe&) = delete;
  // The errno of the call (0: it answers); nothing while it waits.
  std::optional<int> poll();

 private:
  pid_t pid_ = -1;
};

}  // namespace tangelo
