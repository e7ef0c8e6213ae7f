// An application is killed at every step of its work: it gets one answer, what it held is given
// back, and its neighbour notices nothing.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/sim/stage.h"

namespace tangelo::sim {
namespace {

std::vector<app_script> both() {
  return {in_order(every_opcode("a", false)), in_order(every_opcode("b", false))};
}

// What must hold of a run in which the second application was killed: of what it made some may be
// there, but nothing that it had unlinked.
std::string difference_beside_killed(run_result clean, run_result r) {
  r.notes[1] = clean.notes[1];
  for (run_result* const one : {&clean, &r})
    std::erase_if(one->store, [](const std::string& line) {
      return line.starts_with("/b") || line.starts_with("/ ");  // the root has links to them
    });
  return difference(clean, r);
}

TEST(SimSignal, AKilledApplicationLeavesNothingBehindAndDisturbsNobody) {
  const run_result clean = run({}, both(), nullptr);
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(2)) {
    const run_result r = run({}, both(), [at](world&, auto& apps, std::uint64_t step) {
      if (step == at) apps[1]->kill();
    });
    ASSERT_EQ(difference_beside_killed(clean, r), "") << "killed at step " << at;
  }
}

TEST(SimSignal, AlsoWhenTheCoreIsKilledBeforeOrAfter) {
  const run_result clean = run({}, both(), nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(11)) {
    const std::uint64_t core_at = at + at % 23;
    const run_result r = run({}, both(), [=](world& w, auto& apps, std::uint64_t step) {
      if (step == at && at % 2 == 0) apps[1]->kill();
      if (step == core_at) w.kill_core();
      if (step == core_at + 2 && at % 2 == 1) apps[1]->kill();
    });
    ASSERT_EQ(difference_beside_killed(clean, r), "") << at << ", core at " << core_at;
  }
}

TEST(SimSignal, AlsoWhenTheFrontEndIsKilledBeforeOrAfter) {
  const run_result clean = run({}, both(), nullptr);
  for (const bool resends : {true, false}) {
    for (std::uint64_t at = 0; at < clean.steps; at += stride(3)) {
      const std::uint64_t front_end_at = at + at % 23;
      const world_options o{.kernel_resends = resends, .core_outlives_front_end = at % 4 == 0};
      const run_result r = run(o, both(), [=](world& w, auto& apps, std::uint64_t step) {
        if (step == at && at % 2 == 0) apps[1]->kill();
        if (step == front_end_at) w.kill_front_end();
        if (step == front_end_at + 2 && at % 2 == 1) apps[1]->kill();
      });
      ASSERT_EQ(difference_beside_killed(clean, r), "")
          << at << ", front end at " << front_end_at << (resends ? "" : ", old kernel");
    }
  }
}

// It is given up in the arena, and the front end dies before it tells the kernel.
TEST(SimSignal, AlsoWhenTheFrontEndDiesWhileItLetsTheCallerGo) {
  const run_result clean = run({}, both(), nullptr);
  for (const bool resends : {true, false}) {
    for (std::uint64_t at = 0; at < clean.steps; at += stride(2)) {
      for (std::uint64_t n = 2; n <= 3; ++n) {
        const run_result r = run({.kernel_resends = resends}, both(),
                                 [=](world& w, auto& apps, std::uint64_t step) {
                                   if (step != at) return;
                                   apps[1]->kill();
                                   w.die_at_call(n, fake_kernel::moment::before);
                                 });
        ASSERT_EQ(difference_beside_killed(clean, r), "")
            << at << ", call " << n << (resends ? "" : ", old kernel");
      }
    }
  }
}

// A signal that does not kill: the answer is the truth. What changes the volume is waited for, and
// what is said to be not done can be done again.
void interrupt_everywhere(const std::function<void(world&)>& before,
                          const std::function<void(world&)>& after, world_options o = {}) {
  const run_result clean = run({}, {in_order(every_opcode("d"))}, nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(3)) {
    const run_result r =
        run(o, {in_order(every_opcode("d"))}, [&](world& w, auto& apps, std::uint64_t step) {
          if (step == 0) apps[0]->retry_on(EINTR);
          if (step != at) return;
          if (before) before(w);
          apps[0]->interrupt();
          if (after) after(w);
        });
    ASSERT_EQ(difference(clean, r), "") << "interrupted at step " << at;
    ASSERT_EQ(r.executed, clean.executed) << "interrupted at step " << at;
  }
}

TEST(SimSignal, AnInterruptedApplicationIsToldTheTruth) { interrupt_everywhere({}, {}); }

TEST(SimSignal, AlsoWhileThereIsNoCore) {
  interrupt_everywhere([](world& w) { w.kill_core(); }, {});
}

TEST(SimSignal, WhoReadsIsLetGoWhileItWaitsForACore) {
  for (std::uint64_t steps = 1; steps < 12; ++steps) {
    stage s;
    app& a = s.add(0, {ops::mkdir("/", "d")});
    ASSERT_TRUE(s.finish_all());
    ASSERT_TRUE(s.settle());
    s.w.kill_core();
    a.go_on(in_order({ops::getattr("d")}));
    for (std::uint64_t n = 0; n < steps; ++n) {
      a.pump();
      s.w.step();
    }
    a.kill();
    ASSERT_TRUE(s.finish_all());
    ASSERT_EQ(harm(s.end()), "") << "killed after " << steps << " steps";
  }
}

TEST(SimSignal, AlsoWhileThereIsNoFrontEnd) {
  const auto kill = [](world& w) { w.kill_front_end(); };
  for (const bool resends : {true, false}) {
    interrupt_everywhere(kill, {}, {.kernel_resends = resends});
    interrupt_everywhere({}, kill, {.kernel_resends = resends});
  }
}

// The front end dies, its successor dies right after RESEND, and the caller is killed before a
// third one reads its request again: it takes the request back, and nobody hears of it.
TEST(SimSignal, ACallerMayTakeItsRequestBackBetweenTwoFrontEnds) {
  const run_result clean = run({}, both(), nullptr);
  std::size_t taken_back = 0;
  for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
    const world_options o{.seed = at, .core_outlives_front_end = at % 4 == 0};
    const run_result r = run(o, both(), [&](world& w, auto& apps, std::uint64_t step) {
      if (step == at && at % 3 == 0) w.power_cut(0, true);
      if (step == at + at % 9) w.kill_front_end();
      if (step == at + at % 9) w.die_at_call(1, fake_kernel::moment::after);
      if (w.front_end_count() == 2 && !w.has_front_end()) apps[1]->kill();
      if (step >= at) taken_back += w.kernel.taken_back();
    });
    ASSERT_EQ(difference_beside_killed(clean, r), "") << "killed at step " << at;
  }
  EXPECT_GT(taken_back, 0u) << "it never came to that";
}

// `tangelo abort` at every step: everybody is answered, nothing is left behind or done twice.
TEST(SimSignal, AnAbortAnswersEverybodyOnceAndLeavesNothingBehind) {
  const run_result clean = run({}, both(), nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
    const run_result r = run({}, both(), [at](world& w, auto&, std::uint64_t step) {
      if (step == at && at % 3 == 1) w.kill_core();
      if (step == at && at % 3 == 2) w.power_cut(0, true);
      const std::uint64_t abort_at = at + at % 7;
      if (step == abort_at || step == abort_at + 3) w.abort_callers();
      if (step == abort_at && at % 2 == 1) w.kill_front_end();
    });
    ASSERT_EQ(harm(r), "") << "aborted at step " << at;
  }
}

}  // namespace
}  // namespace tangelo::sim
