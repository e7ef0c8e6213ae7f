// The core is killed at every step of a workload that covers every opcode: each request is
// answered once and right, each effect happens once.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

TEST(Sim, TheWorkloadRunsWithoutFaultsAndIsTheSameEveryTime) {
  const run_result a = clean_run();
  ASSERT_TRUE(a.finished);
  EXPECT_EQ(a.pending, 0u);
  EXPECT_EQ(a.duplicates, 0u);
  EXPECT_GT(a.executed, 20u);
  const run_result b = clean_run();
  EXPECT_EQ(a.notes, b.notes);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.frames, b.frames);
  for (const std::string& note : a.notes[0]) RecordProperty("note", note);
  if (std::getenv("TANGELO_SIM_SHOW") != nullptr)
    for (const std::string& note : a.notes[0]) std::printf("%s\n", note.c_str());
}

TEST(Sim, EachOpIsAnsweredOnceAndRightWhereverTheCoreIsKilled) {
  const run_result clean = clean_run();
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [at](world& w, auto&, std::uint64_t step) {
          if (step == at) w.kill_core();
        });
    ASSERT_EQ(difference(clean, r), "") << "core killed at step " << at;
    ASSERT_EQ(r.executed, clean.executed) << "core killed at step " << at;
  }
}

TEST(Sim, CoresThatDieOneAfterTheOtherOnlyCostTime) {
  const run_result clean = clean_run();
  // A core needs about 40 steps to connect; one that gets fewer cannot do anything.
  for (std::uint64_t every = 100; every < 400; every += 13) {
    const run_result r =
        run({.seed = every}, {in_order(every_opcode("d"))},
            [every](world& w, auto&, std::uint64_t step) {
              if (step % every == every - 1) w.kill_core();
            });
    ASSERT_EQ(difference(clean, r), "") << "a core killed every " << every << " steps";
  }
}

TEST(Sim, TwoApplicationsGoOnWhereverTheCoreIsKilled) {
  const std::vector<app_script> both{in_order(every_opcode("a", false)),
                                     in_order(every_opcode("b", false))};
  const run_result clean = run({}, both, nullptr);
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(5)) {
    const run_result r = run({}, both, [at](world& w, auto&, std::uint64_t step) {
      if (step == at) w.kill_core();
    });
    ASSERT_EQ(difference(clean, r), "") << "core killed at step " << at;
  }
}

}  // namespace
}  // namespace tangelo::sim
