// An application is killed at every step of its work: it gets one answer, what it held is given
// back, and its neighbour notices nothing.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

std::vector<app_script> both() {
  return {in_order(every_opcode("a", false)), in_order(every_opcode("b", false))};
}

// What must hold of a run in which the second application was killed.
std::string difference_beside_killed(const run_result& clean, run_result r) {
  r.notes[1] = clean.notes[1];
  return difference(clean, r);
}

TEST(SimSignal, AKilledApplicationLeavesNothingBehindAndDisturbsNobody) {
  const run_result clean = run({}, both(), nullptr);
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += 2) {
    const run_result r = run({}, both(), [at](world&, auto& apps, std::uint64_t step) {
      if (step == at) apps[1]->kill();
    });
    ASSERT_EQ(difference_beside_killed(clean, r), "") << "killed at step " << at;
  }
}

TEST(SimSignal, AlsoWhenTheCoreIsKilledBeforeOrAfter) {
  const run_result clean = run({}, both(), nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += 11) {
    const std::uint64_t core_at = at + at % 23;
    const run_result r = run({}, both(), [=](world& w, auto& apps, std::uint64_t step) {
      if (step == at && at % 2 == 0) apps[1]->kill();
      if (step == core_at) w.kill_core();
      if (step == core_at + 2 && at % 2 == 1) apps[1]->kill();
    });
    ASSERT_EQ(difference_beside_killed(clean, r), "") << at << ", core at " << core_at;
  }
}

// A signal that does not kill: the answer is the truth. What changes the volume is waited for.
void interrupt_everywhere(bool without_core) {
  const run_result clean = run({}, {in_order(every_opcode("d"))}, nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += 3) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [=](world& w, auto& apps, std::uint64_t step) {
          if (step != at) return;
          if (without_core) w.kill_core();
          apps[0]->interrupt();
        });
    ASSERT_TRUE(r.finished);
    EXPECT_EQ(r.repeated_answers, 0u);
    EXPECT_EQ(r.duplicates, 0u);
    EXPECT_EQ(r.pending, 0u);
    EXPECT_EQ(r.open_handles, 0u);
    // What was not interrupted is as ever, up to the first EINTR; that one is "not done".
    for (std::size_t i = 0; i < clean.notes[0].size(); ++i) {
      if (r.notes[0][i] == clean.notes[0][i]) continue;
      const std::string what = clean.notes[0][i].substr(0, clean.notes[0][i].find(':'));
      ASSERT_EQ(r.notes[0][i], what + ": error 4") << "interrupted at step " << at;
      break;
    }
  }
}

TEST(SimSignal, AnInterruptedApplicationIsToldTheTruth) { interrupt_everywhere(false); }

TEST(SimSignal, AlsoWhileThereIsNoCore) { interrupt_everywhere(true); }

}  // namespace
}  // namespace tangelo::sim
