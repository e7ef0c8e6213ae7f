// supervised_child: one process that the watchdog keeps alive: front end or core.
//
// Owned by the watchdog, loop thread only. It applies the table of child_state.h: this file turns
// pidfds and timers into events, and actions into system calls. How a process is started is the
// owner's (start_child); a process is started only after the one before it was reaped.
//
// Invariant: at most one pidfd is open, and at most one poll on it is pending.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/loop.h"
#include "protocol/device.h"
#include "watchdog/child_state.h"
#include "watchdog/restart_policy.h"
#include "watchdog/spawn.h"

namespace tangelo {

class child_events {
 public:
  virtual ~child_events() = default;
  // Starts a process for `role`; an errno when that is not possible now.
  virtual result<child_process, int> start_child(process_role role) noexcept = 0;
  // It was reaped; `status` as from waitpid(2). A successor may follow.
  virtual void on_child_ended(process_role role, pid_t pid, int status) noexcept = 0;
  // It has ended and there will be no other.
  virtual void on_child_gone(process_role role, int status) noexcept = 0;
};

struct child_policy {
  bool restarts = true;
  std::uint64_t proven_after_ns = 0;  // 0: the owner says when, by proven()
  std::uint64_t grace_ns = ns_per_s;  // between SIGTERM and SIGKILL
};

class supervised_child {
 public:
  // `record` is this child's line in the arena; everything must outlive the child.
  supervised_child(process_role role, child_policy policy, loop& time, process_record& record,
                   child_events& owner, std::uint64_t seed) noexcept;

  void want() noexcept { apply(child_event::wanted); }
  void unwant() noexcept { apply(child_event::unwanted); }
  void proven() noexcept { apply(child_event::proven); }
  // SIGKILL, now; it ends like any other end.
  void kill_now() noexcept;

  child_state state() const noexcept { return state_; }
  bool exists() const noexcept { return static_cast<bool>(pidfd_); }
  pid_t pid() const noexcept { return pid_; }

 private:
  void apply(child_event event) noexcept;
  void perform(child_action action) noexcept;
  void start() noexcept;
  void watch() noexcept;
  void on_pidfd(int res, std::uint32_t flags) noexcept;
  void reap() noexcept;
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
  pid_t pid_ = 0;
  unique_fd pidfd_;
  int last_status_ = 0;
  timer_id retry_timer_ = 0;
  timer_id proven_timer_ = 0;
  timer_id grace_timer_ = 0;
  member_completion<supervised_child, &supervised_child::on_pidfd> pidfd_completion_{*this};
};

// "exit status 1", "signal 9 (Killed)": for a log line.
std::string describe_status(int status);

}  // namespace tangelo
