#include "watchdog/upgrade.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "watchdog/child.h"

namespace tangelo {

namespace {

constexpr std::uint64_t test_wait_ns = 5 * ns_per_s;
constexpr std::uint64_t drain_wait_ns = 2 * ns_per_s;
constexpr std::uint64_t trial_wait_ns = 5 * ns_per_s;

}  // namespace

upgrade::upgrade(loop& time, upgrade_host& host) noexcept : time_(time), host_(host) {
  for (self_test& t : tests_) t.owner = this;
}

void upgrade::begin(control_ticket asker, outcome<upgrade_programs> next, unique_fd arena,
                    const run_as& core_user) noexcept {
  newcomer_ = asker;
  if (state_ == upgrade_state::idle) {
    asker_ = asker;
    next_ = std::move(next);
    arena_ = std::move(arena);
    core_user_ = core_user;
    why_.clear();
  }
  apply(upgrade_event::asked);
}

void upgrade::ended(process_role role, pid_t pid) noexcept {
  if (pid == replaced_.pid) return;
  const bool on_trial =
      (role == process_role::core && state_ == upgrade_state::core_starting) ||
      (role == process_role::front_end && state_ != upgrade_state::testing);
  if (!on_trial) return;
  if (why_.empty()) why_ = "it ended at once";
  apply(upgrade_event::failed);
}

void upgrade::apply(upgrade_event event) noexcept {
  const auto& row = upgrade_transitions.at(state_, event);
  if (row.to != state_) {
    log_notice("upgrade: {} --{}--> {}", name_of(state_), name_of(event), name_of(row.to));
    time_.cancel(deadline_);
    deadline_ = 0;
  }
  state_ = row.to;
  perform(row.act);
}

void upgrade::perform(upgrade_action action) noexcept {
  switch (action) {
    using enum upgrade_action;
    case none: return;
    case test: return this->test();
    case refuse:
      return host_.answer_upgrade(newcomer_, EALREADY, "an upgrade is under way already");
    case drain:
      set_deadline(drain_wait_ns);
      return host_.drain_front_end();
    case replace_core: return replace(process_role::core, next_->core);
    case replace_front_end: return replace(process_role::front_end, next_->front_end);
    case hand_over:
      why_ = host_.hand_over(std::move(next_->watchdog), asker_);
      return apply(upgrade_event::failed);
    case roll_back_core: return roll_back(process_role::core, "tangelo-core");
    case roll_back_front_end: return roll_back(process_role::front_end, "tangelo-fs");
    case give_up: return this->give_up();
  }
}

void upgrade::set_deadline(std::uint64_t delay_ns) noexcept {
  deadline_ = time_.call_after(delay_ns, [this] {
    deadline_ = 0;
    apply(upgrade_event::late);
  });
}

// ---- self-tests -------------------------------------------------------------------------------

void upgrade::test() noexcept {
  if (!next_) {
    why_ = next_.error().text;
    return apply(upgrade_event::failed);
  }
  if (tests_running_ != 0) {
    why_ = "a self-test of the last upgrade has not ended yet";
    return apply(upgrade_event::failed);
  }
  start(tests_[0], "tangelo-core", next_->core, core_user_);
  start(tests_[1], "tangelo-fs", next_->front_end, {});
  start(tests_[2], "tangelo-watchdog", next_->watchdog, {});
  if (tests_running_ == 0) return apply(upgrade_event::failed);
  deadline_ = time_.call_after(test_wait_ns, [this] {
    deadline_ = 0;
    for (self_test& t : tests_) {
      if (!t.process.pidfd) continue;
      if (why_.empty()) why_ = std::string(t.name) + ": its self-test took longer than 5 s";
      ::syscall(SYS_pidfd_send_signal, t.process.pidfd.get(), SIGKILL, nullptr, 0);
    }
    apply(upgrade_event::late);
  });
}

void upgrade::start(self_test& t, const char* name, const program& what,
                    const run_as& user) noexcept {
  t.name = name;
  result<child_process, int> child =
      spawn({what, {"--self-test", "--arena-fd", "3"}, {arena_.get()}, user});
  if (!child) {
    why_ = std::string(name) + ": " + std::strerror(child.error());
    return;
  }
  t.process = *std::move(child);
  open_gate(t.process);
  ++tests_running_;
  io_uring_sqe* sqe = time_.entry(&t);
  io_uring_prep_poll_add(sqe, t.process.pidfd.get(), POLLIN);
  io_uring_sqe_set_data(sqe, static_cast<completion*>(&t));
}

void upgrade::self_test::on_complete(int, std::uint32_t) noexcept { owner->on_tested(*this); }

void upgrade::on_tested(self_test& t) noexcept {
  int status = 0;
  const bool reaped = ::waitpid(t.process.pid, &status, 0) == t.process.pid;
  t.process = {};
  --tests_running_;
  if (why_.empty() && (!reaped || status != 0))
    why_ = std::string(t.name) + ": its self-test failed (" + describe_status(status) +
           "); the log says why";
  if (tests_running_ == 0 && state_ == upgrade_state::testing)
    apply(why_.empty() ? upgrade_event::passed : upgrade_event::failed);
}

// ---- steps ------------------------------------------------------------------------------------

void upgrade::replace(process_role role, program& next) noexcept {
  why_.clear();
  set_deadline(trial_wait_ns);
  replaced_ = host_.replace(role, std::move(next));
}

void upgrade::roll_back(process_role role, const char* name) noexcept {
  if (why_.empty()) why_ = "it did not serve within 5 s";
  why_ = std::string("the new ") + name + " is no good: " + why_ + "; the old one goes on";
  replaced_ = host_.replace(role, std::move(replaced_.before));
  give_up();
}

void upgrade::give_up() noexcept {
  log_warning("upgrade: {}", why_);
  host_.resume_front_end();
  host_.answer_upgrade(asker_, ECANCELED, why_);
}

}  // namespace tangelo
