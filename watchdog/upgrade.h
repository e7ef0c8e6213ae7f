// upgrade: replaces core, front end and watchdog by the programs now installed, one at a time.
//
// Owned by the watchdog, loop thread only; applies the table of upgrade_state.h. It runs the
// self-tests itself; everything else it asks its host to do, and is told what happened.
//
// Invariant: while a core or front end is on trial, the program before it is kept here.
#pragma once

#include <array>
#include <string>

#include "base/loop.h"
#include "protocol/control_server.h"
#include "protocol/device.h"
#include "watchdog/spawn.h"
#include "watchdog/upgrade_state.h"

namespace tangelo {

struct upgrade_programs {
  program front_end;
  program core;
  program watchdog;
};

// What ran before a replacement.
struct replaced_process {
  program before;
  pid_t pid = 0;  // it ends soon, which is no failure
};

class upgrade_host {
 public:
  virtual ~upgrade_host() = default;
  virtual void drain_front_end() noexcept = 0;
  virtual void resume_front_end() noexcept = 0;
  // Ends the process and starts one of `next`, now and whenever one is started again.
  virtual replaced_process replace(process_role role, program next) noexcept = 0;
  // Becomes `next`. Comes back only when that is impossible, and says why.
  virtual std::string hand_over(program next, control_ticket asker) noexcept = 0;
  virtual void answer_upgrade(control_ticket asker, int error, std::string_view text) noexcept = 0;
};

class upgrade {
 public:
  upgrade(loop& time, upgrade_host& host) noexcept;

  // `arena` is a read-only descriptor for the self-tests.
  void begin(control_ticket asker, outcome<upgrade_programs> next, unique_fd arena,
             const run_as& core_user) noexcept;
  void drained() noexcept { apply(upgrade_event::drained); }
  // Front end and core both do their work; told again and again.
  void serving() noexcept { apply(upgrade_event::serving); }
  void ended(process_role role, pid_t pid) noexcept;
  upgrade_state state() const noexcept { return state_; }

 private:
  // The self-test of one program, while it runs.
  struct self_test final : completion {
    void on_complete(int res, std::uint32_t flags) noexcept override;
    upgrade* owner = nullptr;
    const char* name = "";
    child_process process;  // without pidfd: it has ended
  };

  void apply(upgrade_event event) noexcept;
  void perform(upgrade_action action) noexcept;
  void set_deadline(std::uint64_t delay_ns) noexcept;
  void test() noexcept;
  void start(self_test& t, const char* name, const program& what, const run_as& user) noexcept;
  void on_tested(self_test& t) noexcept;
  void replace(process_role role, program& next) noexcept;
  void roll_back(process_role role, const char* name) noexcept;
  void give_up() noexcept;

  loop& time_;
  upgrade_host& host_;
  upgrade_state state_ = upgrade_state::idle;
  control_ticket asker_;      // waits for an answer unless idle
  control_ticket newcomer_;   // who asked last
  outcome<upgrade_programs> next_{failure{problem{}}};
  replaced_process replaced_;
  unique_fd arena_;
  run_as core_user_;
  std::array<self_test, 3> tests_;
  unsigned tests_running_ = 0;
  std::string why_;  // the first thing that went wrong
  timer_id deadline_ = 0;
};

}  // namespace tangelo
