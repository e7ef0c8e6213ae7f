// proc_view: what /proc says about one process, as far as the watchdog decides by it.
//
// Loop thread; plain reads of files that the kernel makes up without waiting for the process. A
// number in /proc may belong to another process by now: start_ticks tells.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tangelo {

struct process_sight {
  char state = '?';  // R running, S sleeping, D not to be disturbed, T stopped, t traced, Z zombie
  std::uint64_t cpu_ticks = 0;    // of all threads, in user mode and in the kernel
  std::uint64_t start_ticks = 0;  // with the pid it names one process
};

// One line of /proc/PID/stat; nothing when it is none.
std::optional<process_sight> parse_process_stat(std::string_view line) noexcept;

// Nothing when there is no such process.
std::optional<process_sight> look_at_process(pid_t pid) noexcept;
bool is_dumping_core(pid_t pid) noexcept;
// True when every thread is a zombie or in uninterruptible sleep. After SIGKILL such a process
// does not come back to user mode.
bool is_out_of_user_mode(pid_t pid) noexcept;
// Where in the kernel it waits; empty when that cannot be seen.
std::string wait_channel_of(pid_t pid);

}  // namespace tangelo
