// slot_pool, handle_table, inode_numbers, cache_hints, op_table: what the front end keeps.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fs/cache_hints.h"
#include "fs/handle_table.h"
#include "fs/inode_numbers.h"
#include "fs/op_table.h"
#include "fs/slot_pool.h"
#include "tests/unit/arena_fixture.h"

namespace tangelo {
namespace {

TEST(SlotPool, GivesOutEachSlotOfEachClassOnce) {
  slot_pool pool;
  for (std::size_t k = 1; k < slot_class_count; ++k) {
    const auto kind = static_cast<slot_class>(k);
    std::set<std::uint16_t> seen;
    while (const auto slot = pool.take(kind, 1)) {
      EXPECT_TRUE(is_valid(*slot));
      EXPECT_EQ(slot->kind, kind);
      EXPECT_TRUE(seen.insert(slot->index).second);
    }
    EXPECT_EQ(seen.size(), slot_shapes[k].count);
    EXPECT_EQ(pool.free_count(kind), 0u);
  }
}

TEST(SlotPool, ReusesTheSlotGivenBackLast) {
  slot_pool pool;
  const auto a = pool.take(slot_class::directory, 10);
  const auto b = pool.take(slot_class::directory, 10);
  pool.give_back(*a);
  EXPECT_EQ(pool.take(slot_class::directory, 10)->index, a->index);
  pool.give_back(*b);
  pool.give_back(slot_ref{});  // no slot at all
  EXPECT_EQ(pool.free_count(slot_class::directory), 15u);
}

TEST(SlotPool, ReservesOnlyWhatIsFreeAndExists) {
  slot_pool pool;
  const slot_ref seven{slot_class::read_small, 0, 7, 100};
  EXPECT_TRUE(pool.reserve(seven));
  EXPECT_FALSE(pool.reserve(seven));
  EXPECT_FALSE(pool.reserve({slot_class::read_small, 0, 512, 1}));
  EXPECT_FALSE(pool.reserve({static_cast<slot_class>(9), 0, 0, 1}));
  while (const auto slot = pool.take(slot_class::read_small, 1)) EXPECT_NE(slot->index, 7);
  pool.give_back(seven);
  EXPECT_EQ(pool.free_count(slot_class::read_small), 1u);
}

TEST(HandleTable, NumbersAreNeverUsedTwiceAndStaleOnesNameNothing) {
  auto arenas = mapped_arenas::make();
  handle_table table(*arenas.fs);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto h = table.open(5, 2);
    ASSERT_TRUE(h.has_value());
    EXPECT_TRUE(seen.insert(*h).second);
    EXPECT_EQ(table.find(*h)->inode, 5u);
    EXPECT_TRUE(table.close(*h));
    EXPECT_EQ(table.find(*h), nullptr);
    EXPECT_FALSE(table.close(*h));
  }
  EXPECT_FALSE(seen.contains(0));
  EXPECT_EQ(table.find(0), nullptr);
  EXPECT_FALSE(table.close(UINT64_MAX));
}

TEST(HandleTable, SaysNoWhenAllAreOpenAndGoesOnAfterAClose) {
  auto arenas = mapped_arenas::make();
  handle_table table(*arenas.fs);
  std::uint64_t last = 0;
  for (std::uint32_t i = 0; i < handle_count; ++i) last = *table.open(1, 0);
  EXPECT_FALSE(table.open(1, 0).has_value());
  EXPECT_EQ(table.open_count(), handle_count);
  EXPECT_TRUE(table.close(last));
  EXPECT_TRUE(table.open(1, 0).has_value());
}

TEST(HandleTable, RecordsSayWhatACoreNeedsToReclaimThem) {
  auto arenas = mapped_arenas::make();
  handle_table table(*arenas.fs);
  const std::uint64_t h = *table.open(0, 0102);
  table.set_inode(h, 99);
  control_word w;
  handle_cell cell;
  ASSERT_TRUE(copy_record(arenas.fs->handles[h & 0xffff], w, cell));
  EXPECT_EQ(cell.handle, h);
  EXPECT_EQ(cell.inode, 99u);
  EXPECT_EQ(cell.open_flags, 0102u);
  EXPECT_EQ(w.state, static_cast<std::uint8_t>(handle_state::opening));
  table.confirm(h);
  EXPECT_EQ(control_of(arenas.fs->handles[h & 0xffff]).state,
            static_cast<std::uint8_t>(handle_state::open));
}

TEST(HandleTable, OfAnArenaGoesOnWithNumbersThatWereNeverUsed) {
  auto arenas = mapped_arenas::make();
  std::vector<std::uint64_t> kept, closed;
  {
    handle_table table(*arenas.fs);
    for (int n = 0; n < 10; ++n) (n % 2 == 0 ? kept : closed).push_back(*table.open(7, 0));
    for (const std::uint64_t h : closed) EXPECT_TRUE(table.close(h));
    table.confirm(kept[0]);
  }
  handle_table table(*arenas.fs);
  EXPECT_EQ(table.open_count(), kept.size());
  std::vector<std::uint64_t> opening;
  table.for_each_opening([&opening](std::uint64_t h) { opening.push_back(h); });
  EXPECT_EQ(opening, std::vector<std::uint64_t>(kept.begin() + 1, kept.end()));
  table.close_unconfirmed(kept[0]);
  EXPECT_NE(table.find(kept[0]), nullptr) << "it was confirmed";
  table.close_unconfirmed(kept[1]);
  EXPECT_EQ(table.find(kept[1]), nullptr);
  for (int n = 0; n < 20; ++n) {
    const std::uint64_t h = *table.open(8, 0);
    EXPECT_EQ(std::count(kept.begin(), kept.end(), h), 0);
    EXPECT_EQ(std::count(closed.begin(), closed.end(), h), 0);
  }
}

TEST(InodeNumbers, AreUsedOnceAndRunFromOneRangeIntoTheNext) {
  auto arenas = mapped_arenas::make();
  inode_numbers numbers(*arenas.fs);
  EXPECT_FALSE(numbers.take().has_value());
  EXPECT_TRUE(numbers.wants_range());
  numbers.add_range(100, 3);
  EXPECT_TRUE(numbers.wants_range());  // one ahead
  numbers.add_range(500, 2);
  EXPECT_FALSE(numbers.wants_range());
  numbers.add_range(900, 2);  // no room: dropped, never mixed in
  std::vector<std::uint64_t> got;
  while (const auto n = numbers.take()) got.push_back(*n);
  EXPECT_EQ(got, (std::vector<std::uint64_t>{100, 101, 102, 500, 501}));
}

TEST(InodeNumbers, AreForgottenWithTheServersMemoryOfUs) {
  auto arenas = mapped_arenas::make();
  inode_numbers numbers(*arenas.fs);
  numbers.add_range(10, 5);
  numbers.add_range(20, 5);
  numbers.forget();
  EXPECT_FALSE(numbers.take().has_value());
  EXPECT_TRUE(numbers.wants_range());
  numbers.add_range(30, 5);
  EXPECT_EQ(numbers.take(), 30u);
}

TEST(InodeNumbers, OfAnArenaGoOnWhereTheFrontEndBeforeStopped) {
  auto arenas = mapped_arenas::make();
  inode_numbers(*arenas.fs).add_range(10, 5);
  EXPECT_EQ(inode_numbers(*arenas.fs).take(), 10u);
  EXPECT_EQ(inode_numbers(*arenas.fs).take(), 11u);
}

TEST(CacheHints, LetPagesBeKeptOnlyIfEveryChangeSinceWasOurs) {
  auto hints = std::make_unique<cache_hints>();
  EXPECT_FALSE(hints->opened(7, 3));
  EXPECT_TRUE(hints->opened(7, 3));
  hints->written(7, 3, 4);
  EXPECT_TRUE(hints->opened(7, 4));
  hints->written(7, 5, 6);  // somebody else made it 5
  EXPECT_FALSE(hints->opened(7, 6));
  EXPECT_FALSE(hints->opened(7 + 8192, 6));  // the same place in the table
  EXPECT_FALSE(hints->opened(7, 6));
}

TEST(OpTable, ATagNamesOneOpForEverAndZeroIsNoSequence) {
  auto arenas = mapped_arenas::make();
  op_table ops(*arenas.fs);
  const std::uint32_t i = *ops.take();
  arenas.fs->ops[i].control.store(control_word{0, 0, 0, 0xffffffff}.pack());
  op_cell cell;
  cell.kernel_id = 2;
  ops.begin(i, cell, cell.kernel_id);
  EXPECT_EQ(ops.sequence(i), 1u);
  EXPECT_EQ(cell.xid, 1u);
  EXPECT_EQ(ops.find(2), i);
  EXPECT_EQ(ops.apply(i, op_event::caller_killed, 1), op_action::reply_eintr);
  EXPECT_EQ(ops.apply(i, op_event::ended, 1), op_action::free_slot);
  EXPECT_FALSE(ops.find(2).has_value());
  EXPECT_EQ(ops.live_count(), 0u);
  const std::uint32_t again = *ops.take();
  op_cell next;
  next.kernel_id = 4;
  ops.begin(again, next, next.kernel_id);
  EXPECT_EQ(again, i);
  EXPECT_EQ(ops.sequence(again), 2u);
  EXPECT_EQ(next.xid, 2u);
}

TEST(OpTable, FindsOpsWhoseKernelIdsShareABucket) {
  auto arenas = mapped_arenas::make();
  op_table ops(*arenas.fs);
  std::vector<std::uint32_t> at;
  for (std::uint64_t n = 0; n < 5; ++n) {
    at.push_back(*ops.take());
    op_cell cell;
    cell.kernel_id = 2 + n * 2 * 16384;
    ops.begin(at.back(), cell, cell.kernel_id);
  }
  EXPECT_EQ(ops.apply(at[2], op_event::caller_killed, 1), op_action::reply_eintr);
  EXPECT_EQ(ops.apply(at[2], op_event::ended, 1), op_action::free_slot);
  for (std::uint64_t n = 0; n < 5; ++n) {
    const auto found = ops.find(2 + n * 2 * 16384);
    EXPECT_EQ(found, n == 2 ? std::nullopt : std::optional(at[n]));
  }
}

}  // namespace
}  // namespace tangelo
