// ring: hints arrive in order, sleepers are woken, and a mad other side cannot do harm.
#include "protocol/ring.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace tangelo {
namespace {

struct ends {
  std::unique_ptr<ring_memory> memory = std::make_unique<ring_memory>();
  ring_producer in{*memory};
  ring_consumer out{*memory};
  ends() {
    in.reset();
    out.reset();
  }
  // As if the ring had been used for long: both positions at `at`.
  void start_at(std::uint32_t at) {
    memory->produced.store(at);
    memory->consumed.store(at);
    in.attach();
    out.attach();
  }
};

TEST(RingEntry, KeepsIndexAndSequenceApart) {
  for (const ring_entry e : {ring_entry{0, 0}, ring_entry{0xffff, 0}, ring_entry{0, 0xffffffff},
                             ring_entry{0x1234, 0x56789abc}}) {
    const ring_entry back = ring_entry::unpack(e.pack());
    EXPECT_EQ(back.index, e.index);
    EXPECT_EQ(back.sequence, e.sequence);
  }
}

TEST(Ring, GivesBackWhatWasPutInInOrderAlsoWhenPositionsWrapAround) {
  for (const std::uint32_t start : {0u, 1u, ring_entry_count - 1, 0xfffffff0u, 0xffffffffu}) {
    ends e;
    e.start_at(start);
    for (std::uint32_t i = 0; i < 3 * ring_entry_count; ++i) {
      ASSERT_TRUE(e.in.push({static_cast<std::uint16_t>(i), i}));
      ASSERT_TRUE(e.in.push({static_cast<std::uint16_t>(i + 1), i}));
      const auto a = e.out.pop();
      const auto b = e.out.pop();
      ASSERT_TRUE(a && b);
      EXPECT_EQ(a->sequence, i);
      EXPECT_EQ(b->index, static_cast<std::uint16_t>(i + 1));
    }
    EXPECT_FALSE(e.out.pop().has_value());
    EXPECT_FALSE(e.out.broken());
  }
}

TEST(Ring, TakesAsManyAsItHasEntriesAndNotOneMore) {
  ends e;
  e.start_at(0xfffffffe);
  for (std::uint32_t i = 0; i < ring_entry_count; ++i) ASSERT_TRUE(e.in.push({1, i}));
  EXPECT_FALSE(e.in.push({1, 0}));
  EXPECT_EQ(e.out.pop()->sequence, 0u);
  EXPECT_TRUE(e.in.push({1, 0}));
  EXPECT_FALSE(e.out.broken());
}

TEST(Ring, RefusesToPushWhileTheConsumersPositionIsSenseless) {
  ends e;
  e.start_at(100);
  for (const std::uint32_t bad : {101u, 100u + 0x80000000u, 100u - ring_entry_count}) {
    e.memory->consumed.store(bad);
    EXPECT_FALSE(e.in.push({1, 1})) << bad;
  }
  e.memory->consumed.store(100);
  EXPECT_TRUE(e.in.push({1, 1}));
}

TEST(Ring, IsBrokenOnceTheProducersPositionIsSenseless) {
  for (const std::uint32_t bad : {99u, 100u + ring_entry_count + 1, 0u, 0xffffffffu}) {
    ends e;
    e.start_at(100);
    e.memory->produced.store(bad);
    EXPECT_FALSE(e.out.pop().has_value()) << bad;
    EXPECT_TRUE(e.out.broken()) << bad;
  }
}

// The story: one mad core left the consumer broken for ever, so each core after it was dismissed.
TEST(Ring, IsWholeAgainForTheNextProducer) {
  ends e;
  e.memory->produced.store(0xffffffff);
  EXPECT_FALSE(e.out.pop().has_value());
  ASSERT_TRUE(e.out.broken());
  e.in.reset();
  e.out.reset();
  EXPECT_FALSE(e.out.broken());
  EXPECT_FALSE(e.out.pop().has_value());
  EXPECT_FALSE(e.out.broken());
}

// A producer that moves backwards and forwards can make us see old hints, never leave the ring.
TEST(Ring, AProducerThatSkipsAheadYieldsOnlyHintsFromTheRing) {
  ends e;
  e.memory->produced.store(ring_entry_count);
  std::size_t n = 0;
  while (e.out.pop()) ++n;
  EXPECT_EQ(n, ring_entry_count);
  EXPECT_FALSE(e.out.broken());
}

TEST(Ring, ASleeperIsWokenOnceForAnythingPushed) {
  ends e;
  e.out.awake();
  ASSERT_TRUE(e.in.push({1, 1}));
  EXPECT_FALSE(e.in.take_wake());  // it is awake: no system call
  EXPECT_FALSE(e.out.prepare_sleep());  // something came in between
  EXPECT_FALSE(e.in.take_wake());
  (void)e.out.pop();
  EXPECT_TRUE(e.out.prepare_sleep());
  EXPECT_FALSE(e.in.take_wake());  // nothing new for it
  ASSERT_TRUE(e.in.push({2, 2}));
  EXPECT_TRUE(e.in.take_wake());
  ASSERT_TRUE(e.in.push({3, 3}));
  EXPECT_FALSE(e.in.take_wake());  // it has been told
}

TEST(Ring, ResetWakesTheFirstConsumer) {
  ends e;
  ASSERT_TRUE(e.in.push({1, 1}));
  EXPECT_TRUE(e.in.take_wake());
}

// Two threads and the sleep/wake protocol: with a lost wake-up this hangs; with a lost, doubled or
// torn hint it fails. For ThreadSanitizer as much as for its result.
TEST(Ring, TwoThreadsLoseNoHintAndNoWakeUp) {
  constexpr std::uint32_t total = 200'000;
  ends e;
  std::mutex mutex;
  std::condition_variable rung;
  bool bell = false;
  std::thread producer([&] {
    for (std::uint32_t i = 0; i < total;) {
      if (e.in.push({static_cast<std::uint16_t>(i), i}))
        ++i;
      else
        std::this_thread::yield();
      if (e.in.take_wake()) {
        const std::lock_guard<std::mutex> guard(mutex);
        bell = true;
        rung.notify_one();
      }
    }
  });
  std::uint32_t next = 0;
  while (next < total) {
    e.out.awake();
    while (const auto hint = e.out.pop()) {
      ASSERT_EQ(hint->sequence, next);
      ASSERT_EQ(hint->index, static_cast<std::uint16_t>(next));
      ++next;
    }
    if (next == total || !e.out.prepare_sleep()) continue;
    std::unique_lock<std::mutex> lock(mutex);
    rung.wait(lock, [&] { return bell; });
    bell = false;
  }
  producer.join();
  EXPECT_FALSE(e.out.broken());
}

}  // namespace
}  // namespace tangelo
