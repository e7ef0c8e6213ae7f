// The server is away for longer than the mount's policy lets callers wait: they are told EIO, and
// what they are told is true; when it is back everything goes on. Others die meanwhile.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

world_options away_for_long(std::uint32_t fast_io_fail_s, std::uint32_t dev_loss_s) {
  world_options o;
  o.server_down_ns = 10 * ns_per_s;
  o.policy.fast_io_fail_tmo = fast_io_fail_s;
  o.policy.dev_loss_tmo = dev_loss_s;
  return o;
}

std::vector<app_script> both() {
  return {in_order(every_opcode("a", false)), in_order(every_opcode("b", false))};
}

void kill_somebody(world& w, std::uint64_t which) {
  if (which % 4 == 1) w.kill_core();
  if (which % 4 == 2) w.kill_front_end();
  if (which % 4 == 3) w.kill_watchdog();
}

// With fast_io_fail_tmo alone EIO means "not done": done again it comes out right.
TEST(SimPolicy, WhatFailsFastWasNotDone) {
  const run_result clean = run({}, both(), nullptr);
  for (std::uint64_t at = 60; at < clean.steps * 9 / 10; at += stride(2)) {
    bool failed_fast = false;
    const run_result r = run(away_for_long(2, policy_off), both(),
                             [&](world& w, auto& apps, std::uint64_t step) {
                               if (step == 0)
                                 for (const auto& a : apps) a->retry_on(EIO);
                               if (step == at) w.power_cut(0, true);
                               if (w.path() != path_state::fail_fast || failed_fast) return;
                               failed_fast = true;
                               kill_somebody(w, at / 2);
                             });
    EXPECT_TRUE(failed_fast) << "at step " << at;
    ASSERT_EQ(difference(clean, r), "") << "server lost at step " << at;
  }
}

// With dev_loss_tmo nobody waits longer than it says, whatever became of his op; nothing is left
// behind or done twice.
TEST(SimPolicy, NobodyWaitsLongerThanForALostDevice) {
  const run_result clean = run({}, both(), nullptr);
  for (std::uint64_t at = 60; at < clean.steps * 9 / 10; at += stride(2)) {
    std::uint64_t lost_at_ns = 0, away_at_ns = 0;
    const world_options o = away_for_long(at % 4 == 0 ? 1 : policy_off, 3);
    const run_result r = run(o, both(), [&](world& w, auto&, std::uint64_t step) {
      if (step == at) {
        w.power_cut(0, true);
        away_at_ns = w.time().now_ns();
      }
      if (w.path() != path_state::lost || lost_at_ns != 0) return;
      lost_at_ns = w.time().now_ns();
      EXPECT_EQ(w.kernel.waiting_count(), 0u) << "somebody waits";
      kill_somebody(w, at / 2);
    });
    ASSERT_EQ(harm(r), "") << "server lost at step " << at;
    // The core first notices that the server is silent.
    EXPECT_GE(lost_at_ns, away_at_ns + 3 * ns_per_s) << "at step " << at;
    EXPECT_LE(lost_at_ns, away_at_ns + 6 * ns_per_s) << "at step " << at;
  }
}

}  // namespace
}  // namespace tangelo::sim
