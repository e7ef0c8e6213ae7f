// The server's machine loses power at every few steps and comes back: what was answered is there,
// what was not is done once.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

constexpr std::uint64_t stride = 3;

run_result run_with_power_cut(world_options o, std::uint64_t at, std::size_t extra, bool keep) {
  return run(o, {in_order(every_opcode("d"))}, [=](world& w, auto&, std::uint64_t step) {
    if (step == at) w.power_cut(extra, keep);
  });
}

TEST(SimServer, EachOpIsAnsweredOnceAndRightWhereverTheServerLosesPower) {
  const run_result clean = clean_run();
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t at = 0; at < clean.steps; at += stride) {
    // Some of what was not flushed may have survived.
    const std::size_t extra = at / stride % 3;
    const bool keep = at / stride % 2 == 0;
    ASSERT_EQ(difference(clean, run_with_power_cut({}, at, extra, keep)), "")
        << "power cut at step " << at << ", " << extra << " batches survive, "
        << (keep ? "objects kept" : "objects lost");
  }
}

TEST(SimServer, ServerAndCoreMayDieTogether) {
  const run_result clean = clean_run();
  for (std::uint64_t at = 1; at < clean.steps; at += 7) {
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
  for (std::uint64_t at = 0; at < clean.steps; at += stride)
    if (!difference(clean, run_with_power_cut({.keep_reply_records = false}, at, 1, true)).empty())
      ++seen;
  EXPECT_GT(seen, 0u) << "the test is blind";
}

}  // namespace
}  // namespace tangelo::sim
