// How a mount ends: the core takes leave in whatever state its import is; and how it goes on after
// the server has forgotten it.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

void leave_at(std::uint64_t at, std::uint64_t power_cut_at, std::uint64_t core_killed_at) {
  SCOPED_TRACE("leave at step " + std::to_string(at));
  world w;
  app a(w, 100, in_order(every_opcode("d")));
  for (std::uint64_t n = 0; n < at; ++n) {
    a.pump();
    if (n == power_cut_at) w.power_cut(0, true);
    if (n == core_killed_at) w.kill_core();
    w.step();
  }
  const std::uint64_t before = w.time().now_ns();
  w.leave();
  w.leave();  // idempotent
  for (int n = 0; n < 3000 && !w.left() && w.has_core(); ++n) w.step();
  if (!w.has_core()) return;
  EXPECT_TRUE(w.left());
  EXPECT_LE(w.time().now_ns() - before, 1100 * ns_per_ms);
  for (int n = 0; n < 60; ++n) w.step();
}

TEST(SimEnd, TheCoreTakesLeaveWithinASecondAtAnyMoment) {
  constexpr std::uint64_t never = UINT64_MAX;
  for (std::uint64_t at = 1; at < 120; ++at) leave_at(at, never, never);
  for (std::uint64_t at = 300; at < 700; at += 2) leave_at(at, 300, never);
  for (std::uint64_t at = 300; at < 500; at += 3) leave_at(at, 300, 310);
}

// A mount that the server has forgotten while it was away, `idle` or with an op on its way.
std::vector<std::string> after_eviction(bool idle) {
  world_options o;
  o.core_down_ns = 600 * ns_per_s;  // longer than the recovery window
  world w(o);
  const auto finish = [&w](app& a) {
    for (std::uint64_t n = 0; n < 60'000 && !a.done(); ++n) {
      a.pump();
      w.step();
    }
    EXPECT_TRUE(a.done()) << "EIO is an answer, waiting for ever is not";
  };
  app first(w, 100, in_order(every_opcode("a", false)));
  if (idle) finish(first);
  for (std::uint64_t n = 0; n < 400; ++n) {
    first.pump();
    w.step();
  }
  w.power_cut(0, true);
  w.kill_core();
  finish(first);
  while (!w.has_core()) w.step();
  app second(w, 101, in_order(every_opcode("b", false)));
  finish(second);
  return second.notes();
}

// The story: the inode numbers of the mount were forgotten with everything else, so every creation
// was EINVAL until the mount was made anew.
TEST(SimEnd, AMountThatWasForgottenGoesOnWithNewFiles) {
  const run_result clean = run({}, {in_order(every_opcode("b", false))}, nullptr);
  EXPECT_EQ(after_eviction(false), clean.notes[0]);
  // Nothing was lost, so nobody is told anything.
  EXPECT_EQ(after_eviction(true), clean.notes[0]);
}

}  // namespace
}  // namespace tangelo::sim
