// loop: timers, calls from other threads, completions. Real time, but nothing depends on how much.
#include "base/loop.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/poller.h"

namespace tangelo {
namespace {

std::unique_ptr<loop> make_loop() {
  outcome<std::unique_ptr<loop>> l = loop::make(64);
  return l ? *std::move(l) : nullptr;
}

TEST(Loop, RunsTimersInTheOrderOfTheirDeadlines) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  std::string order;
  const std::uint64_t now = l->now_ns();
  (void)l->call_at(now + 2'000'000, [&] {
    order += 'b';
    l->stop();
  });
  (void)l->call_at(now + 1'000'000, [&] { order += 'a'; });
  const timer_id gone = l->call_at(now + 1'500'000, [&] { order += 'x'; });
  l->cancel(gone);
  l->run();
  EXPECT_EQ(order, "ab");
  EXPECT_GE(l->now_ns(), now + 2'000'000);
}

TEST(Loop, PostedCallsRunOnALaterTurnAndThoseTheyPostOnTheOneAfter) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  int turns_seen = 0;
  int turn = 0;
  l->post([&] {
    turns_seen = turn;
    l->post([&] { turns_seen = turn; });
  });
  EXPECT_EQ(turns_seen, 0);
  turn = 1;
  l->run_once();
  EXPECT_EQ(turns_seen, 1);
  turn = 2;
  l->run_once();
  EXPECT_EQ(turns_seen, 2);
}

class counting_source final : public busy_source {
 public:
  bool look() noexcept override { return ++looks == event_at; }
  int looks = 0;
  int event_at = 0;
};

TEST(Loop, BusyPollingLooksAgainAfterAnEventAndSleepsLater) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  counting_source source;
  l->attach(source);
  l->set_busy_poll(3600 * ns_per_s);
  l->post_from_thread([] {});
  for (int i = 0; i < 1000; ++i) l->run_once();  // a turn that sleeps would not end
  EXPECT_EQ(source.looks, 1000);

  // What the source finds keeps the loop awake, too; afterwards a turn takes until the timer.
  l->set_busy_poll(1);
  l->run_once();
  source.event_at = source.looks + 1;
  l->run_once();
  bool fired = false;
  (void)l->call_after(50 * ns_per_ms, [&fired] { fired = true; });
  source.looks = 0;
  while (!fired) l->run_once();
  EXPECT_LE(source.looks, 10);
  l->detach(source);
}

TEST(Loop, WithoutBusyPollingNobodyLooks) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  counting_source source;
  l->attach(source);
  l->post_from_thread([] {});
  l->run_once();
  EXPECT_EQ(source.looks, 0);
  l->detach(source);
}

TEST(Loop, EveryCallPostedFromThreadsRunsOnceOnTheLoopThread) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  constexpr int per_thread = 1000;
  int ran = 0;
  const std::thread::id home = std::this_thread::get_id();
  bool elsewhere = false;
  const auto work = [&] {
    for (int i = 0; i < per_thread; ++i)
      l->post_from_thread([&] {
        ++ran;
        elsewhere |= std::this_thread::get_id() != home;
      });
  };
  std::thread a(work), b(work);
  while (ran < 2 * per_thread) l->run_once();
  a.join();
  b.join();
  EXPECT_EQ(ran, 2 * per_thread);
  EXPECT_FALSE(elsewhere);
}

struct reader final : completion {
  void on_complete(int res, std::uint32_t) noexcept override { result = res; }
  int result = -1;
};

TEST(Loop, DeliversACompletionToTheObjectNamedWithItsEntry) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  reader r;
  char byte = 0;
  io_uring_sqe* sqe = l->entry(&r);
  io_uring_prep_read(sqe, fds[0], &byte, 1, 0);
  io_uring_sqe_set_data(sqe, static_cast<completion*>(&r));
  ASSERT_EQ(::write(fds[1], "z", 1), 1);
  while (r.result < 0) l->run_once();
  EXPECT_EQ(r.result, 1);
  EXPECT_EQ(byte, 'z');
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(Loop, GivesMoreEntriesThanItsRingHas) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  reader answers[200];
  for (reader& r : answers) ASSERT_NE(l->entry(&r), nullptr);  // each a no-op until prepared
  const auto pending = [&answers] {
    for (const reader& r : answers)
      if (r.result == -1) return true;
    return false;
  };
  while (pending()) l->run_once();
}

// The kernel keeps a poll for which an event is on its way, and says EALREADY.
TEST(Poller, LetsGoAlsoWhileEventsCome) {
  const auto l = make_loop();
  if (l == nullptr) GTEST_SKIP() << "no io_uring here";
  const unique_fd bell(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  std::atomic<bool> ends = false;
  std::thread rings([&] {
    const std::uint64_t one = 1;
    while (!ends) {
      (void)!::write(bell.get(), &one, sizeof one);
      std::this_thread::yield();
    }
  });
  int kept = 0;
  for (int i = 0; i < 500 && kept == 0; ++i) {
    poller p(*l, bell.get(), [] {});
    l->post([] {});
    l->run_once();
    p.cancel();
    int turns = 0;
    for (; !p.is_idle() && turns < 1000; ++turns) {
      l->post([] {});
      l->run_once();
    }
    if (p.is_idle()) continue;
    ++kept;
    ends = true;  // and nothing is told about it any more
    rings.join();
    while (!p.is_idle()) {
      p.cancel();
      l->post([] {});
      l->run_once();
    }
  }
  ends = true;
  if (rings.joinable()) rings.join();
  EXPECT_EQ(kept, 0);
}

}  // namespace
}  // namespace tangelo
