// spawn: starting a child process, and holding on to it by pidfd.
//
// The only place of this folder where fork(2) stands. Between fork and exec the child makes system
// calls only. It gets exactly the descriptors named, at 3, 4, 5, ... in that order, nothing on
// standard input, our standard error, and no signal blocked. Never PR_SET_PDEATHSIG: children
// outlive a watchdog that dies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/problem.h"
#include "base/result.h"

namespace tangelo {

// Whom a child runs as; an unset user keeps ours.
struct run_as {
  bool set = false;
  uid_t uid = 0;
  gid_t gid = 0;
};

// A program that is started again and again: the file that `file` holds, also when another one has
// taken its path meanwhile. Only an upgrade opens the path anew.
struct program {
  std::string path;
  unique_fd file;  // O_PATH
};
outcome<program> open_program(std::string path);
// The file that a process runs, also when it was deleted meanwhile.
outcome<program> open_program_of(pid_t pid);

struct program_call {
  const program& what;
  std::vector<std::string> arguments;  // without the program's own name
  std::vector<int> fds;                // ours; the child sees them from 3 on
  run_as user;
  int oom_score = 0;                   // oom_score_adj, where we are allowed to set it
};
inline constexpr int first_child_fd = 3;

// A child waits before it becomes its program until something is written to `gate`, so that its
// number can be put down first; it ends when the gate is closed instead.
struct child_process {
  pid_t pid = 0;
  unique_fd pidfd;
  unique_fd gate;  // empty: it runs
};

// The error is an errno. A program that cannot be executed ends with status 127.
result<child_process, int> spawn(const program_call& call);
// Lets it run.
void open_gate(child_process& child) noexcept;

// Replaces this process by `what`; descriptors without close-on-exec go along. Comes back, with an
// errno, only when that is impossible.
int become_program(const program& what, const std::vector<std::string>& arguments);
// Whether a descriptor goes along; false: there is none.
bool set_inheritable(int fd, bool inheritable) noexcept;

// The living process that has this number and began at these ticks (proc_view.h), whosever child it
// is; ESRCH when there is none any more.
result<child_process, int> find_process(pid_t pid, std::uint64_t start_ticks);

// The user a core runs as: "tangelo", else "nobody"; unset when we are not root ourselves.
run_as unprivileged_user();

// Of the three processes of a mount the system kills the core first, if it must kill one.
inline constexpr int oom_score_watchdog = -999;
inline constexpr int oom_score_front_end = -900;
inline constexpr int oom_score_core = -500;

// As many open files as we may have, for ourselves and all children; a failure when those are too
// few for a mount.
outcome<void> need_open_files();
// What we ask of the system for ourselves and all children, best effort; refusals are logged once.
void raise_limits() noexcept;
// Keeps our memory where it is once touched: a page that had to be read back through our own mount
// would never come. Best effort; to be called when everything is mapped.
void lock_memory() noexcept;

}  // namespace tangelo
