// The front end is killed: at every step, inside every call to the kernel, inside its successor's
// sweep. Each request is answered once and right, each effect happens once.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

using moment = fake_kernel::moment;

// Which kernel, and when the core of a dead front end dies.
struct setting {
  const char* name;
  world_options options;
};
const setting settings[] = {
    {"resend", {}},
    {"resend, the core dies later", {.core_outlives_front_end = true}},
    {"old kernel", {.kernel_resends = false}},
    {"old kernel, the core dies later",
     {.kernel_resends = false, .core_outlives_front_end = true}},
};

std::vector<app_script> alone() { return {in_order(every_opcode("d"))}; }
std::vector<app_script> both() {
  return {in_order(every_opcode("a", false)), in_order(every_opcode("b", false))};
}

TEST(SimFrontEnd, EachOpIsAnsweredOnceAndRightWhereverTheFrontEndIsKilled) {
  const run_result clean = clean_run();
  for (const setting& s : settings) {
    for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
      const run_result r = run(s.options, alone(), [at](world& w, auto&, std::uint64_t step) {
        if (step == at) w.kill_front_end();
      });
      ASSERT_EQ(difference(clean, r), "") << s.name << ", killed at step " << at;
      ASSERT_EQ(r.executed, clean.executed) << s.name << ", killed at step " << at;
    }
  }
}

TEST(SimFrontEnd, AlsoInsideEachOfItsCallsToTheKernel) {
  const run_result clean = clean_run();
  for (const setting& s : settings) {
    for (const moment when : {moment::before, moment::after}) {
      for (std::uint64_t n = 1; n <= clean.kernel_calls; n += stride()) {
        const run_result r = run(s.options, alone(), [=](world& w, auto&, std::uint64_t step) {
          if (step == 0) w.die_at_call(n, when);
        });
        ASSERT_EQ(difference(clean, r), "")
            << s.name << (when == moment::before ? ", before" : ", after") << " call " << n;
        ASSERT_EQ(r.executed, clean.executed) << s.name << ", call " << n;
      }
    }
  }
}

// The first dies at a step, the second in the nth call of its sweep, the third serves.
TEST(SimFrontEnd, AlsoItsSuccessorInsideEachCallOfItsSweep) {
  const run_result clean = run({}, both(), nullptr);
  for (const setting& s : settings) {
    for (std::uint64_t at = 0; at < clean.steps; at += stride(11)) {
      for (std::uint64_t n = 1; n <= 6; ++n) {
        const moment when = (at + n) % 2 == 0 ? moment::before : moment::after;
        const run_result r = run(s.options, both(), [=](world& w, auto&, std::uint64_t step) {
          if (step != at) return;
          w.kill_front_end();
          w.die_at_call(n, when);
        });
        ASSERT_EQ(difference(clean, r), "")
            << s.name << ", killed at step " << at << ", its successor in call " << n;
        ASSERT_EQ(r.executed, clean.executed) << s.name << ", step " << at << ", call " << n;
      }
    }
  }
}

TEST(SimFrontEnd, FrontEndsThatDieOneAfterTheOtherOnlyCostTime) {
  const run_result clean = clean_run();
  for (const setting& s : settings) {
    for (std::uint64_t every = 100; every < 400; every += 29) {
      const run_result r =
          run(s.options, alone(), [every](world& w, auto&, std::uint64_t step) {
            if (step % every == every - 1) w.kill_front_end();
          });
      ASSERT_EQ(difference(clean, r), "") << s.name << ", killed every " << every << " steps";
    }
  }
}

// Requests that arrive while nobody reads, and files that are open and unlinked meanwhile, are in
// the workload; here what the kernel holds back for long comes all at once.
TEST(SimFrontEnd, ALongTimeWithoutOneOnlyCostsTime) {
  std::vector<app_script> many;
  for (const char* name : {"a", "b", "c", "d", "e"})
    many.push_back(in_order(every_opcode(name, false)));
  const run_result clean = run({}, many, nullptr);
  for (std::uint64_t at = 0; at < clean.steps; at += stride(37)) {
    const world_options o{
        .seed = at, .front_end_down_ns = 3 * ns_per_s, .kernel_resends = at % 2 == 0};
    const run_result r = run(o, many, [at](world& w, auto&, std::uint64_t step) {
      if (step == at) w.kill_front_end();
    });
    ASSERT_EQ(difference(clean, r), "") << "killed at step " << at;
  }
}

// Negative controls: a successor that learns nothing from its sweep, and one to which repeated
// requests look like new ones, are both seen.
std::size_t runs_that_fail(fake_kernel::flaw flaw) {
  const run_result clean = clean_run();
  std::size_t count = 0;
  for (std::uint64_t at = 0; at < clean.steps; at += stride(5)) {
    const run_result r =
        run({}, alone(),
            [at, flaw](world& w, auto&, std::uint64_t step) {
              if (step != at) return;
              w.kernel.set_flaw(flaw);
              w.kill_front_end();
            },
            3000);
    if (!difference(clean, r).empty()) ++count;
  }
  return count;
}

TEST(SimFrontEnd, WithoutTheSweepCallersAreSeenToWaitForEver) {
  EXPECT_GT(runs_that_fail(fake_kernel::flaw::repeats_nothing), 0u) << "the test is blind";
}

TEST(SimFrontEnd, RepeatedRequestsThatAreTakenForNewOnesAreSeen) {
  EXPECT_GT(runs_that_fail(fake_kernel::flaw::hides_repeats), 0u) << "the test is blind";
}

}  // namespace
}  // namespace tangelo::sim
