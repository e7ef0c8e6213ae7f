// What the watchdog sees of its children in /proc, and what it makes of it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "watchdog/hang_detector.h"
#include "watchdog/proc_view.h"

namespace tangelo {
namespace {

constexpr unsigned patient = hang_detector::patient_looks_max;

// A detector that has seen one beat.
hang_detector beating() {
  hang_detector d(7);
  EXPECT_EQ(d.look({8, 'S', 5, false}), pulse_verdict::beating);
  return d;
}

TEST(HangDetector, FindsAStoppedOneAtTheFourthLook) {
  hang_detector d = beating();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(d.look({8, 'T', 5, false}), pulse_verdict::quiet) << i;
  EXPECT_EQ(d.look({8, 'T', 5, false}), pulse_verdict::hung);
}

TEST(HangDetector, FindsASpinningAndASleepingOneAsWell) {
  hang_detector spinning = beating();
  for (std::uint64_t i = 1; i < 4; ++i)
    EXPECT_EQ(spinning.look({8, 'R', 5 + 20 * i, false}), pulse_verdict::quiet);
  EXPECT_EQ(spinning.look({8, 'R', 85, false}), pulse_verdict::hung);
  hang_detector waiting = beating();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(waiting.look({8, 'D', 5, false}), pulse_verdict::quiet);
  EXPECT_EQ(waiting.look({8, 'S', 5, false}), pulse_verdict::hung);
}

TEST(HangDetector, NeverTakesAStarvedOneForAHungOne) {
  hang_detector d = beating();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(d.look({8, 'R', 5, false}), pulse_verdict::starved);
  EXPECT_EQ(d.look({9, 'R', 6, false}), pulse_verdict::beating);
}

TEST(HangDetector, BeginsAnewWithEveryBeat) {
  hang_detector d = beating();
  for (std::uint64_t beats = 9; beats < 200; ++beats) {
    for (int i = 0; i < 3; ++i) ASSERT_EQ(d.look({beats - 1, 'S', 5, false}), pulse_verdict::quiet);
    ASSERT_EQ(d.look({beats, 'S', 5, false}), pulse_verdict::beating);
  }
}

TEST(HangDetector, HasPatienceWithOneThatHasNotBeatenYetUnlessItWasStopped) {
  hang_detector slow(7);
  for (unsigned i = 1; i < patient; ++i)
    ASSERT_EQ(slow.look({7, 'S', 5, false}), pulse_verdict::quiet);
  EXPECT_EQ(slow.look({7, 'S', 5, false}), pulse_verdict::hung);
  hang_detector stopped(7);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(stopped.look({7, 'T', 5, false}), pulse_verdict::quiet);
  EXPECT_EQ(stopped.look({7, 'T', 5, false}), pulse_verdict::hung);
}

TEST(HangDetector, LeavesADebuggedOneAloneAndADumpingOneForTenSeconds) {
  hang_detector traced = beating();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(traced.look({8, 't', 5, false}), pulse_verdict::traced);
  hang_detector dumping = beating();
  for (unsigned i = 0; i < patient; ++i)
    ASSERT_EQ(dumping.look({8, 'D', 5, true}), pulse_verdict::dumping);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(dumping.look({8, 'D', 5, true}), pulse_verdict::quiet);
  EXPECT_EQ(dumping.look({8, 'D', 5, true}), pulse_verdict::hung);
}

// ---- /proc --------------------------------------------------------------------------------------

TEST(ProcView, ReadsTheLineOfAProcessWhateverItIsCalled) {
  const auto seen = parse_process_stat(
      "42 (a) R 1 (x) S 1 42 42 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 1 0 777 1000 100 0 0\n");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->state, 'S');
  EXPECT_EQ(seen->cpu_ticks, 42u);
  EXPECT_EQ(seen->start_ticks, 777u);
  for (const char* line : {"", "42 (a", "42 (a)", "42 (a) ", "42 (a) S 1 2",
                           "42 (a) S 1 42 42 0 -1 4194304 100 0 0 0 x 12 0 0 20 0 1 0 777 1000"})
    EXPECT_FALSE(parse_process_stat(line)) << line;
}

TEST(ProcView, KnowsItselfAndNotWhatIsNotThere) {
  const auto self = look_at_process(::getpid());
  ASSERT_TRUE(self);
  EXPECT_GT(self->start_ticks, 0u);
  EXPECT_FALSE(is_dumping_core(::getpid()));
  EXPECT_FALSE(is_out_of_user_mode(::getpid()));
  EXPECT_FALSE(look_at_process(0x7ffffff0));
}

TEST(ProcView, SeesThatAZombieDoesNotComeBack) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(is_out_of_user_mode(child));
  EXPECT_EQ(look_at_process(child)->state, 'Z');
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace tangelo
