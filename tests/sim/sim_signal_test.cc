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
TEST(SimSignal, AnInterruptedApplicationIsToldTheTruth) {
  const run_result clean = run({}, {in_order(every_opcode("d"))}, nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += 3) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [at](world& w, auto& apps, std::uint64_t step) {
          if (step == at && apps[0]->waits_for())
            w.kernel.submit(fuse_request::interrupt(*apps[0]->waits_for()));
        });
    ASSERT_TRUE(r.finished);
    EXPECT_EQ(r.repeated_answers, 0u);
    EXPECT_EQ(r.duplicates, 0u);
    EXPECT_EQ(r.pending, 0u);
    for (const std::string& note : r.notes[0]) {
      const bool is_eintr = note.find("error 4") != std::string::npos &&
                            note.find("error 4") + 7 == note.size();
      if (!is_eintr) continue;
      // EINTR means "not done": asking again does it, which the rest of the notes would show.
      SUCCEED();
    }
  }
}

}  // namespace
}  // namespace tangelo::sim
