// The network fails at every frame: the connection is cut there, or the frame is lost in silence.
#include <gtest/gtest.h>

#include "tests/sim/run.h"

namespace tangelo::sim {
namespace {

template <class F>
void at_every_frame(const char* what, F fail) {
  const run_result clean = clean_run();
  ASSERT_TRUE(clean.finished);
  for (std::uint64_t n = 1; n <= clean.frames; n += stride()) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [n, fail](world& w, auto&, std::uint64_t step) {
          if (step == 0) fail(w.network(), n);
        });
    ASSERT_EQ(difference(clean, r), "") << what << " at frame " << n;
    ASSERT_EQ(r.effects, clean.effects) << what << " at frame " << n;
  }
}

TEST(SimNetwork, ACutInsteadOfAnyRequestOrReplyIsNotSeenByTheApplication) {
  at_every_frame("cut", [](loop_network& net, std::uint64_t n) { net.cut_at(n); });
}

TEST(SimNetwork, AnyRequestOrReplyLostInSilenceIsNotSeenByTheApplication) {
  at_every_frame("lost", [](loop_network& net, std::uint64_t n) { net.swallow_at(n); });
}

TEST(SimNetwork, CutsThatFollowEachOtherOnlyCostTime) {
  const run_result clean = clean_run();
  for (std::uint64_t every = 5; every < 60; every += 6) {
    const run_result r =
        run({}, {in_order(every_opcode("d"))}, [every](world& w, auto&, std::uint64_t step) {
          if (step == 0)
            for (std::uint64_t n = every * 3; n < 2000; n += every * 3) w.network().cut_at(n);
        });
    ASSERT_EQ(difference(clean, r), "") << "cut every " << every * 3;
  }
}

}  // namespace
}  // namespace tangelo::sim
