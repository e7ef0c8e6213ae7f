// The front end is killed before each single store that it makes into its arena, and so is its
// successor while it takes over.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

// One op of each class: opening, changing, reading, closing, and the front end's own behind them.
std::vector<app_script> short_workload() {
  using namespace ops;
  return {in_order({create("/", "f", "F"), write("F", 0, "some bytes"), unlink("/", "f"),
                    read("F", 0, 100), release("F"), lookup("/", "f")})};
}

struct counted_run {
  run_result result;
  std::uint64_t stores = 0;
};

// A run in which the front end dies at store `fatal` counted from step `from`.
counted_run run_to_store(world_options o, std::uint64_t from, std::uint64_t fatal,
                         bool kill_first) {
  counted_run c;
  c.result = run(o, short_workload(), [&](world& w, auto&, std::uint64_t step) {
    if (step == from) {
      if (kill_first) w.kill_front_end();
      w.die_at_store(fatal);
    }
    c.stores = w.store_count();
  });
  return c;
}

TEST(SimStore, EachOpIsAnsweredOnceAndRightWhicheverStoreIsItsLast) {
  if (!store_trap::is_possible()) GTEST_SKIP() << "needs x86-64";
  const run_result clean = run({}, short_workload(), nullptr);
  const std::uint64_t stores = run_to_store({}, 0, 0, false).stores;
  ASSERT_GT(stores, 300u);
  for (const bool resends : {true, false}) {
    for (std::uint64_t n = 1; n <= stores; ++n) {
      const counted_run c = run_to_store({.kernel_resends = resends}, 0, n, false);
      ASSERT_EQ(difference(clean, c.result), "")
          << "store " << n << (resends ? "" : ", old kernel");
      ASSERT_EQ(c.result.executed, clean.executed) << "store " << n;
    }
  }
}

// The front end dies at a store, and with it the server, of which nothing is kept that was not
// flushed: what the callers were told is in the arena.
TEST(SimStore, AlsoWhenTheServerLosesPowerThen) {
  if (!store_trap::is_possible()) GTEST_SKIP() << "needs x86-64";
  const run_result clean = run({}, short_workload(), nullptr);
  const std::uint64_t stores = run_to_store({}, 0, 0, false).stores;
  for (std::uint64_t n = 1; n <= stores; ++n) {
    bool dead = false;
    const run_result r = run({}, short_workload(), [&](world& w, auto&, std::uint64_t step) {
      if (step == 0) w.die_at_store(n);
      if (dead || w.has_front_end()) return;
      dead = true;
      w.power_cut(n % 2, n % 4 < 2);
    });
    ASSERT_EQ(difference(clean, r), "") << "store " << n;
    ASSERT_EQ(r.effects, clean.effects) << "store " << n;
  }
}

TEST(SimStore, AlsoWhileItTakesOverFromAnother) {
  if (!store_trap::is_possible()) GTEST_SKIP() << "needs x86-64";
  const run_result clean = run({}, short_workload(), nullptr);
  for (const bool resends : {true, false}) {
    for (std::uint64_t at = 2; at < clean.steps; at += stride(7)) {
      const world_options o{.kernel_resends = resends, .core_outlives_front_end = at % 2 == 0};
      for (std::uint64_t n = 1; n <= 40; ++n) {
        const counted_run c = run_to_store(o, at, n, true);
        ASSERT_EQ(difference(clean, c.result), "")
            << "killed at step " << at << ", its successor at store " << n
            << (resends ? "" : ", old kernel");
        ASSERT_EQ(c.result.executed, clean.executed) << "step " << at << ", store " << n;
      }
    }
  }
}

// Its caller is killed, and the front end dies while it gives up the op.
TEST(SimStore, AlsoWhileItLetsAKilledCallerGo) {
  if (!store_trap::is_possible()) GTEST_SKIP() << "needs x86-64";
  const run_result clean = run({}, short_workload(), nullptr);
  for (const bool resends : {true, false}) {
    for (std::uint64_t at = 30; at < clean.steps; at += stride(5)) {
      for (std::uint64_t n = 1; n <= 24; ++n) {
        const run_result r = run({.kernel_resends = resends}, short_workload(),
                                 [=](world& w, auto& apps, std::uint64_t step) {
                                   if (step != at) return;
                                   apps[0]->kill();
                                   w.die_at_store(n);
                                 });
        ASSERT_EQ(harm(r), "") << "caller killed at step " << at << ", front end at store " << n
                               << (resends ? "" : ", old kernel");
      }
    }
  }
}

}  // namespace
}  // namespace tangelo::sim
