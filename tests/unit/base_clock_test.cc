// The virtual scheduler: time moves only when told, timers run in the order of their deadlines.
#include "base/clock.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tangelo {
namespace {

TEST(VirtualScheduler, TimeStandsStillUntilItIsMoved) {
  virtual_scheduler time;
  const std::uint64_t before = time.now_ns();
  EXPECT_EQ(time.now_ns(), before);
  time.advance(5);
  EXPECT_EQ(time.now_ns(), before + 5);
  EXPECT_EQ(time.wall_ns() - time.now_ns(), 1'700'000'000 * ns_per_s);
}

TEST(VirtualScheduler, RunsTimersByDeadlineAndEqualOnesByAge) {
  virtual_scheduler time;
  std::string order;
  (void)time.call_after(20, [&] { order += 'c'; });
  (void)time.call_after(10, [&] { order += 'a'; });
  (void)time.call_after(10, [&] { order += 'b'; });
  time.advance(9);
  EXPECT_EQ(order, "");
  time.advance(1);
  EXPECT_EQ(order, "ab");
  time.advance(10);
  EXPECT_EQ(order, "abc");
}

TEST(VirtualScheduler, SeesItsOwnDeadlineAsNow) {
  virtual_scheduler time;
  std::uint64_t seen = 0;
  const std::uint64_t due = time.now_ns() + 7;
  (void)time.call_at(due, [&] { seen = time.now_ns(); });
  time.advance(100);
  EXPECT_EQ(seen, due);
}

TEST(VirtualScheduler, NeverRunsACallFromInsideCallAtOrPost) {
  virtual_scheduler time;
  int depth = 0;
  bool nested = false;
  time.post([&] {
    ++depth;
    time.post([&] { nested |= depth != 0; });
    (void)time.call_at(0, [&] { nested |= depth != 0; });
    --depth;
  });
  while (time.run_one()) {
  }
  EXPECT_FALSE(nested);
}

TEST(VirtualScheduler, ACancelledTimerNeverRunsAndCancellingTwiceIsHarmless) {
  virtual_scheduler time;
  int ran = 0;
  const timer_id id = time.call_after(1, [&] { ++ran; });
  EXPECT_NE(id, 0u);
  time.cancel(id);
  time.cancel(id);
  time.cancel(0);
  time.advance(10);
  EXPECT_EQ(ran, 0);
}

TEST(VirtualScheduler, ATimerMayCancelAnotherThatIsDueAtOnce) {
  virtual_scheduler time;
  int ran = 0;
  timer_id second = 0;
  (void)time.call_after(1, [&] { time.cancel(second); });
  second = time.call_after(1, [&] { ++ran; });
  time.advance(10);
  EXPECT_EQ(ran, 0);
}

TEST(VirtualScheduler, ADeadlineInThePastMeansNowAndTimeNeverGoesBack) {
  virtual_scheduler time;
  time.advance(1000);
  const std::uint64_t now = time.now_ns();
  (void)time.call_at(5, [&] { EXPECT_EQ(time.now_ns(), now); });
  EXPECT_TRUE(time.run_one());
  EXPECT_FALSE(time.run_one());
  EXPECT_EQ(time.now_ns(), now);
}

TEST(TimerQueue, LeavesTimersMadeAfterTheTurnBeganForTheNextOne) {
  timer_queue queue;
  int runs = 0;
  (void)queue.add(0, [&] {
    ++runs;
    (void)queue.add(0, [&] { ++runs; });
  });
  const timer_id newest = queue.last_id();
  while (queue.run_one(100, newest)) {
  }
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(queue.run_one(100));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(queue.next_deadline_ns(), UINT64_MAX);
}

}  // namespace
}  // namespace tangelo
