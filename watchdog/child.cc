#include "watchdog/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace tangelo {

namespace {

// As waitpid(2) would have said it.
int status_of(const siginfo_t& info) noexcept {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace

std::string describe_status(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  const char* name = strsignal(WTERMSIG(status));
  return "signal " + std::to_string(WTERMSIG(status)) + " (" + (name == nullptr ? "?" : name) + ")";
}

supervised_child::supervised_child(process_role role, child_policy policy, loop& time,
                                   process_record& record, child_events& owner,
                                   std::uint64_t seed) noexcept
    : role_(role), policy_(policy), time_(time), record_(record), owner_(owner), delays_(seed) {}

void supervised_child::apply(child_event event) noexcept {
  const auto& row = child_transitions.at(state_, event);
  if (row.to != state_)
    log_debug("{}: {} --{}--> {}", name_of(role_), name_of(state_), name_of(event),
              name_of(row.to));
  state_ = row.to;
  perform(row.act);
}

void supervised_child::perform(child_action action) noexcept {
  switch (action) {
    using enum child_action;
    case none: return;
    case start: return this->start();
    case reset_delay: return delays_.proven();
    case retry_later: return this->retry_later();
    case stop_retry:
      cancel_timers();
      record_.next_start_ns.store(0, std::memory_order_relaxed);
      return owner_.on_child_gone(role_, last_status_);
    case terminate:
      send_signal(SIGTERM);
      grace_timer_ = time_.call_after(policy_.grace_ns, [this] { apply(child_event::grace_over); });
      return;
    case kill: return send_signal(SIGKILL);
    case gone: return owner_.on_child_gone(role_, last_status_);
    case never: CHECK(action != never);
  }
}

void supervised_child::start() noexcept {
  result<child_process, int> child = owner_.start_child(role_);
  if (!child) {
    log_error("{} cannot be started: {}", name_of(role_), std::strerror(child.error()));
    return apply(child_event::start_failed);
  }
  pid_ = child->pid;
  pidfd_ = std::move(child->pidfd);
  const std::uint64_t starts = record_.generation.fetch_add(1, std::memory_order_relaxed) + 1;
  record_.restarts.store(static_cast<std::uint32_t>(starts - 1), std::memory_order_relaxed);
  record_.started_ns.store(time_.now_ns(), std::memory_order_relaxed);
  record_.next_start_ns.store(0, std::memory_order_relaxed);
  record_.pid.store(static_cast<std::uint32_t>(pid_), std::memory_order_release);
  log_notice("{} started, pid {}, start {}", name_of(role_), pid_, starts);
  watch();
  if (policy_.proven_after_ns != 0)
    proven_timer_ =
        time_.call_after(policy_.proven_after_ns, [this] { apply(child_event::proven); });
}

void supervised_child::watch() noexcept {
  io_uring_sqe* sqe = time_.entry(&pidfd_completion_);
  io_uring_prep_poll_add(sqe, pidfd_.get(), POLLIN);
  io_uring_sqe_set_data(sqe, &pidfd_completion_);
}

void supervised_child::on_pidfd(int res, std::uint32_t) noexcept {
  if (res < 0) return watch();
  reap();
}

void supervised_child::reap() noexcept {
  siginfo_t info{};
  const int rc = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info,
                          WEXITED | WNOHANG);
  if (rc != 0 || info.si_pid == 0) {
    if (rc != 0 && errno == ECHILD) info.si_code = CLD_EXITED;  // somebody else reaped it
    if (rc == 0) return watch();
  }
  last_status_ = status_of(info);
  pidfd_.reset();
  cancel_timers();
  record_.last_status.store(static_cast<std::uint32_t>(last_status_), std::memory_order_relaxed);
  record_.pid.store(0, std::memory_order_release);
  log_notice("{} ended, pid {}: {}", name_of(role_), pid_, describe_status(last_status_));
  const pid_t pid = std::exchange(pid_, 0);
  owner_.on_child_ended(role_, pid, last_status_);
  apply(policy_.restarts ? child_event::ended : child_event::ended_for_good);
}

void supervised_child::retry_later() noexcept {
  const std::uint64_t delay = delays_.next_delay_ns();
  record_.next_start_ns.store(time_.now_ns() + delay, std::memory_order_relaxed);
  if (delay != 0)
    log_notice("{} is started again in {} ms", name_of(role_), delay / ns_per_ms);
  retry_timer_ = time_.call_after(delay, [this] { apply(child_event::retry_due); });
}

void supervised_child::kill_now() noexcept { send_signal(SIGKILL); }

void supervised_child::send_signal(int number) noexcept {
  if (pidfd_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0);
}

void supervised_child::cancel_timers() noexcept {
  for (timer_id* id : {&retry_timer_, &proven_timer_, &grace_timer_}) {
    time_.cancel(*id);
    *id = 0;
  }
}

}  // namespace tangelo
