// supervised_child: one process that the watchdog keeps alive: front end or core.
//
// Owned by the watchdog, loop thread only. It applies the table of child_state.h: this file turns
// pidfds and timers into events, and actions into system calls. How a process is started is the
// owner's (start_child); a process is started only after the one before it was reaped, or left
// behind where it can do no harm.
//
// Invariants:
//   1. At most one process is the child's; each that was left behind keeps its own pidfd, polled,
//      until it has ended.
//   2. Whatever was written to `record` about a process is true of the one with its pid.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "protocol/device.h"
#include "watchdog/child_state.h"
#include "watchdog/restart_policy.h"
#include "watchdog/spawn.h"

namespace tangelo {

struct child_end {
  pid_t pid = 0;
  int status = 0;  // as from waitpid(2), or unknown_status
  std::uint64_t life_ns = 0;
};
// Of a process that was somebody else's child.
inline constexpr int unknown_status = -1;

enum class child_verdict : std::uint8_t {
  worked,    // it did something; start another
  failed,    // start another, less eagerly each time
  finished,  // there is to be no other
};

class child_events {
 public:
  virtual ~child_events() = default;
  // Starts a process for `role`; an errno when that is not possible now.
  virtual result<child_process, int> start_child(process_role role) noexcept = 0;
  // Nothing of it can be written to memory any more.
  virtual child_verdict on_child_ended(process_role role, const child_end& end) noexcept = 0;
  // It has ended and there will be no other, unless the owner wants one.
  virtual void on_child_gone(process_role role, int status) noexcept = 0;
};

struct child_policy {
  std::uint64_t proven_after_ns = 0;  // 0: the owner says when, by proven()
  std::uint64_t grace_ns = ns_per_s;  // between SIGTERM and SIGKILL
};

class supervised_child {
 public:
  // `record` is this child's line in the arena; everything must outlive the child.
  supervised_child(process_role role, child_policy policy, loop& time, process_record& record,
                   child_events& owner, std::uint64_t seed) noexcept;

  void want() noexcept { apply(child_event::wanted); }
  // SIGTERM, and SIGKILL after the grace; no other is started.
  void unwant() noexcept { apply(child_event::unwanted); }
  // SIGKILL, now; no other is started.
  void dismiss() noexcept { apply(child_event::dismissed); }
  void proven() noexcept { apply(child_event::proven); }
  // Takes over a living process, while stopped.
  void adopt(child_process process) noexcept;
  // SIGKILL, now; it ends like any other end.
  void kill_now() noexcept;
  // As kill_now(), and counted as a hang.
  void kill_hung() noexcept;
  // It was killed and cannot come back to user mode: it has ended as far as we are concerned.
  void leave_behind() noexcept;

  process_role role() const noexcept { return role_; }
  child_state state() const noexcept { return state_; }
  bool exists() const noexcept { return process_ != nullptr; }
  pid_t pid() const noexcept { return process_ == nullptr ? 0 : process_->pid; }
  bool was_killed() const noexcept { return process_ != nullptr && process_->killed; }
  // Changes with every process.
  std::uint64_t start_count() const noexcept { return start_count_; }
  std::uint64_t life_ns() const noexcept;

 private:
  // One process until it was reaped.
  struct running_process final : completion {
    running_process(supervised_child& c, pid_t number, unique_fd fd) noexcept
        : child(c), pid(number), pidfd(std::move(fd)) {}
    void on_complete(int res, std::uint32_t flags) noexcept override;
    supervised_child& child;
    pid_t pid;
    unique_fd pidfd;  // empty: reaped
    bool killed = false;
  };

  void apply(child_event event) noexcept;
  void perform(child_action action) noexcept;
  void start() noexcept;
  void take(child_process process) noexcept;
  void watch(running_process& process) noexcept;
  void on_pidfd(running_process& process) noexcept;
  void ended(int status) noexcept;
  void retry_later() noexcept;
  void send_signal(int number) noexcept;
  void cancel_timers() noexcept;

  process_role role_;
  child_policy policy_;
  loop& time_;
  process_record& record_;
  child_events& owner_;
  restart_policy delays_;
  child_state state_ = child_state::stopped;
  std::unique_ptr<running_process> process_;
  std::vector<std::unique_ptr<running_process>> left_behind_;
  child_process to_adopt_;
  std::uint64_t start_count_ = 0;
  int last_status_ = 0;
  bool last_worked_ = false;
  std::uint64_t last_life_ns_ = 0;
  timer_id retry_timer_ = 0;
  timer_id proven_timer_ = 0;
  timer_id grace_timer_ = 0;
};

// "exit status 1", "signal 9 (Killed)": for a log line.
std::string describe_status(int status);

}  // namespace tangelo
