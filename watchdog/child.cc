#include "watchdog/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "watchdog/proc_view.h"

namespace tangelo {

namespace {

// As waitpid(2) would have said it.
int status_of(const siginfo_t& info) noexcept {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace

std::string describe_status(int status) {
  if (status == unknown_status) return "status unknown";
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
    case adopt: return take(std::exchange(to_adopt_, {}));
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
    case kill: return kill_now();
    case gone: return owner_.on_child_gone(role_, last_status_);
    case never: CHECK(action != never);
  }
}

void supervised_child::start() noexcept {
  last_worked_ = false;
  last_life_ns_ = 0;
  result<child_process, int> child = owner_.start_child(role_);
  if (!child) {
    log_error("{} cannot be started: {}", name_of(role_), std::strerror(child.error()));
    return apply(child_event::start_failed);
  }
  const std::uint64_t starts = record_.generation.fetch_add(1, std::memory_order_relaxed) + 1;
  record_.restarts.store(static_cast<std::uint32_t>(starts - 1), std::memory_order_relaxed);
  record_.started_ns.store(time_.now_ns(), std::memory_order_relaxed);
  take(*std::move(child));
  log_notice("{} started, pid {}, start {}", name_of(role_), pid(), starts);
}

void supervised_child::adopt(child_process process) noexcept {
  to_adopt_ = std::move(process);
  apply(child_event::adopted);
}

void supervised_child::take(child_process process) noexcept {
  std::erase_if(left_behind_, [](const auto& p) { return !p->pidfd; });
  process_ = std::make_unique<running_process>(*this, process.pid, std::move(process.pidfd));
  ++start_count_;
  record_.next_start_ns.store(0, std::memory_order_relaxed);
  const std::optional<process_sight> seen = look_at_process(pid());
  record_.start_ticks.store(seen ? seen->start_ticks : 0, std::memory_order_relaxed);
  record_.pid.store(static_cast<std::uint32_t>(pid()), std::memory_order_release);
  open_gate(process);
  watch(*process_);
  if (policy_.proven_after_ns != 0)
    proven_timer_ =
        time_.call_after(policy_.proven_after_ns, [this] { apply(child_event::proven); });
}

std::uint64_t supervised_child::life_ns() const noexcept {
  return time_.now_ns() - record_.started_ns.load(std::memory_order_relaxed);
}

void supervised_child::watch(running_process& process) noexcept {
  io_uring_sqe* sqe = time_.entry(&process);
  io_uring_prep_poll_add(sqe, process.pidfd.get(), POLLIN);
  io_uring_sqe_set_data(sqe, static_cast<completion*>(&process));
}

void supervised_child::running_process::on_complete(int res, std::uint32_t) noexcept {
  if (res < 0) return child.watch(*this);
  child.on_pidfd(*this);
}

void supervised_child::on_pidfd(running_process& process) noexcept {
  siginfo_t info{};
  const int rc = ::waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info,
                          WEXITED | WNOHANG);
  if (rc == 0 && info.si_pid == 0) return watch(process);
  process.pidfd.reset();
  const int status = rc == 0 ? status_of(info) : unknown_status;
  if (&process == process_.get()) return ended(status);
  log_notice("{} {}, which was left behind, ended: {}", name_of(role_), process.pid,
             describe_status(status));
}

void supervised_child::leave_behind() noexcept {
  if (!was_killed()) return;
  log_warning("{} {} was killed and does not end; it is left behind, where it can do nothing",
              name_of(role_), pid());
  ended(SIGKILL);
}

void supervised_child::ended(int status) noexcept {
  const child_end end{pid(), status, life_ns()};
  // Kept until the next start: its completion may be what we are called from, or still to come.
  left_behind_.push_back(std::move(process_));
  last_status_ = status;
  cancel_timers();
  record_.last_status.store(static_cast<std::uint32_t>(status), std::memory_order_relaxed);
  record_.pid.store(0, std::memory_order_release);
  log_notice("{} ended, pid {}: {}", name_of(role_), end.pid, describe_status(status));
  const child_verdict verdict = owner_.on_child_ended(role_, end);
  last_worked_ = verdict == child_verdict::worked;
  last_life_ns_ = end.life_ns;
  apply(verdict == child_verdict::finished ? child_event::ended_for_good : child_event::ended);
}

void supervised_child::retry_later() noexcept {
  const std::uint64_t delay = delays_.next_delay_ns(last_worked_, last_life_ns_);
  record_.next_start_ns.store(time_.now_ns() + delay, std::memory_order_relaxed);
  if (delay != 0)
    log_notice("{} is started again in {} ms", name_of(role_), delay / ns_per_ms);
  retry_timer_ = time_.call_after(delay, [this] { apply(child_event::retry_due); });
}

void supervised_child::kill_now() noexcept {
  if (!exists()) return;
  process_->killed = true;
  send_signal(SIGKILL);
}

void supervised_child::kill_hung() noexcept {
  if (!exists()) return;
  record_.hangs.fetch_add(1, std::memory_order_relaxed);
  kill_now();
}

void supervised_child::send_signal(int number) noexcept {
  if (exists()) ::syscall(SYS_pidfd_send_signal, process_->pidfd.get(), number, nullptr, 0);
}

void supervised_child::cancel_timers() noexcept {
  for (timer_id* id : {&retry_timer_, &proven_timer_, &grace_timer_}) {
    time_.cancel(*id);
    *id = 0;
  }
}

}  // namespace tangelo
