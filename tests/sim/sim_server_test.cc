// The server's machine loses power at every few steps and comes back: what was answered is there,
// what was not is done once.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

run_result run_with_power_cut(world_options o, std::uint64_t at, std::size_t extra, bool keep) {
  return run(o, {in_order(every_opcode("d"))}, [=](world& w, auto&, std::uint64_t step) {
    if (step == at) w.power_cut(extra, keep);
  });
}

TEST(SimServer, EachOpIsAnsweredOnceAndRightWhereverTheServerLosesPower) {
  const run_result clean = clean_run();
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
    // Some of what was not flushed may have survived.
    const std::size_t extra = at % 3;
    const bool keep = at % 2 == 0;
    const run_result r = run_with_power_cut({}, at, extra, keep);
    ASSERT_EQ(difference(clean, r), "")
        << "power cut at step " << at << ", " << extra << " batches survive, "
        << (keep ? "objects kept" : "objects lost");
    ASSERT_EQ(r.effects, clean.effects) << "power cut at step " << at;
  }
}

TEST(SimServer, EachOpIsAnsweredOnceAndRightWhereverTheServerIsKilled) {
  const run_result clean = clean_run();
  for (std::uint64_t at = 0; at < clean.steps; at += stride()) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [=](world& w, auto&, std::uint64_t step) {
          if (step == at) w.crash_server();
        });
    ASSERT_EQ(difference(clean, r), "") << "killed at step " << at;
    ASSERT_EQ(r.effects, clean.effects) << "killed at step " << at;
  }
}

// Not a step, but every event of the server: each write, flush, message, change of an object.
TEST(SimServer, AlsoAtEachEventWithinItsSteps) {
  const run_result clean = clean_run();
  std::uint64_t events = 0;
  (void)run({}, {in_order(every_opcode("d"))}, [&events](world& w, auto&, std::uint64_t step) {
    if (step == 0)
      w.server().set_judge([&events](const event&) {
        ++events;
        return fate::go_on;
      });
  });
  ASSERT_GT(events, 300u);
  for (std::uint64_t n = 1; n <= events; n += stride()) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [n](world& w, auto&, std::uint64_t step) {
          if (step != 0) return;
          w.server().set_extra_at_tap(n % 3);
          w.server().set_judge(at_nth(n, fate::die, [](const event&) { return true; }));
        });
    ASSERT_EQ(difference(clean, r), "") << "dies at event " << n;
    ASSERT_EQ(r.effects, clean.effects) << "dies at event " << n;
  }
}

// Three deaths in a row, each in the recovery from the one before.
TEST(SimServer, TripleFailuresOnlyCostTime) {
  const run_result clean = clean_run();
  for (const victim third : {victim::server, victim::power, victim::core, victim::front_end,
                             victim::connection}) {
    for (std::uint64_t n = 0; n < 150; n += stride()) {
      const run_result r =
          run({}, {in_order(every_opcode("d"))}, [=](world& w, auto&, std::uint64_t step) {
            if (step == 300) w.power_cut(0, n % 2 == 0);
            if (step == 320 + n / 2) w.kill(n % 3 == 0 ? victim::power : victim::server);
            if (step == 340 + n) w.kill(third);
          });
      ASSERT_EQ(difference(clean, r), "") << name_of(third) << " " << n;
    }
  }
}

TEST(SimServer, ServerAndCoreMayDieTogether) {
  const run_result clean = clean_run();
  for (std::uint64_t at = 1; at < clean.steps; at += stride(7)) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [at](world& w, auto&, std::uint64_t step) {
          if (step == at) w.power_cut(at % 2, false);
          if (step == at + at % 30) w.kill_core();
        });
    ASSERT_EQ(difference(clean, r), "") << "server at step " << at << ", core " << at % 30
                                        << " later";
  }
}

TEST(SimServer, ServersThatDieOneAfterTheOtherOnlyCostTime) {
  const run_result clean = clean_run();
  for (std::uint64_t every = 150; every < 800; every += 37) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [every](world& w, auto&, std::uint64_t step) {
          if (step % every == every - 1 && w.has_server()) w.power_cut(0, true);
        });
    ASSERT_EQ(difference(clean, r), "") << "every " << every;
  }
}

TEST(SimServer, ASecondFailureWhileItRecoversOnlyCostsTime) {
  const run_result clean = clean_run();
  for (std::uint64_t after = 0; after < 160; ++after) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [after](world& w, auto&, std::uint64_t step) {
          if (step == 300) w.power_cut(0, true);  // with a file open
          if (step == 300 + after && after % 2 == 0) w.network().cut_all();
          if (step == 300 + after && after % 2 == 1 && w.has_server()) w.power_cut(1, false);
        });
    ASSERT_EQ(difference(clean, r), "") << after << " steps after the first";
  }
}

// The story: REPLAY_DONE was lost in silence, and the client waited for its answer, connected and
// answering, until the server evicted it.
TEST(SimServer, AnyFrameLostInSilenceWhileItRecoversOnlyCostsTime) {
  const run_result clean = clean_run();
  for (std::uint64_t nth = 1; nth <= 30; ++nth) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [nth](world& w, auto&, std::uint64_t step) {
          if (step != 300) return;
          w.power_cut(0, true);
          w.network().swallow_at(w.network().delivered() + nth);
        });
    ASSERT_EQ(difference(clean, r), "") << "frame " << nth << " after the power cut";
  }
}

// Negative control: without the server's reply records these tests must fail.
TEST(SimServer, WithoutReplyRecordsARepeatedOpIsSeen) {
  const run_result clean = clean_run();
  std::size_t seen = 0;
  for (std::uint64_t at = 0; at < clean.steps && seen == 0; at += 3)
    if (!difference(clean, run_with_power_cut({.keep_reply_records = false}, at, 1, true)).empty())
      ++seen;
  EXPECT_GT(seen, 0u) << "the test is blind";
}

}  // namespace
}  // namespace tangelo::sim
