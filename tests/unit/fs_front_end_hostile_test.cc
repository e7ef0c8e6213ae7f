// front_end against a core that has gone mad: never a crash, the core is reported, nothing is lost.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/prng.h"
#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class MadCore : public testing::Test, protected front_end_world {
 protected:
  MadCore() {
    attach();
    kernel.submit(fuse_request::read(5, 2, 9, 0, 100));
    run();
    index_ = core->take_kernel_op().value();
    run();
  }
  // The op is still there for a sane core, and gets its answer from it.
  void heal() {
    EXPECT_FALSE(kernel.answer_to(2).has_value());
    lose();
    EXPECT_FALSE(fs->bad_core()) << "lose_core() forgets it";
    attach();
    run();
    std::optional<std::uint32_t> i;
    while ((i = core->take_kernel_op()) && core->op(*i).kernel_id != 2) {
    }
    ASSERT_TRUE(i.has_value());
    core->answer(*i, empty_answer{}, 50);
    run();
    ASSERT_TRUE(kernel.answer_to(2).has_value());
    EXPECT_EQ(kernel.answer_to(2)->body.size(), 50u);
    EXPECT_EQ(kernel.repeated(), 0u);
  }
  // Publishes a downcall with a valid CRC after `change`.
  void say(const std::function<void(downcall_cell&)>& change) {
    downcall_cell d = core->downcall(index_);
    change(d);
    core->write(index_, d);
    core->hint(index_, d.slot_seq);
    run();
  }
  std::uint32_t index_ = 0;
};

TEST_F(MadCore, ThatClaimsMoreBytesThanItHadRoomForIsBad) {
  say([](downcall_cell& d) { d.payload_size = 101; });
  EXPECT_TRUE(fs->bad_core());
  heal();
}

TEST_F(MadCore, ThatAnswersForAnotherGenerationIsNotHeard) {
  say([](downcall_cell& d) { d.generation += 1; });
  say([](downcall_cell& d) { d.generation -= 1; });
  say([](downcall_cell& d) { d.generation += 1u << 24; });  // the same low bits
  EXPECT_FALSE(fs->bad_core());
  EXPECT_EQ(counters().downcalls_dropped.load(), 3u);
  heal();
}

TEST_F(MadCore, ThatAnswersAnotherSequenceOrIndexIsNotHeard) {
  say([](downcall_cell& d) { d.slot_seq += 1; });
  say([](downcall_cell& d) { d.slot_seq -= 1; });
  say([](downcall_cell& d) { d.index += 1; });
  EXPECT_EQ(counters().downcalls_dropped.load(), 3u);
  heal();
}

TEST_F(MadCore, ThatDamagesItsRecordIsBadWhicheverBitItIs) {
  for (std::size_t bit = 0; bit < downcall_cell_fixed_size * 8; ++bit) {
    downcall_cell d = core->downcall(index_);
    core->write(index_, d);
    downcall_slot& slot = arenas.shared->downcalls[index_];
    writable_bytes(slot.cells[control_of(slot).cell])[bit / 8] ^=
        static_cast<std::byte>(1u << (bit % 8));
    core->hint(index_, d.slot_seq);
    run();
    ASSERT_TRUE(fs->bad_core()) << "bit " << bit;
    lose();
    attach();
    run();
    for (const std::uint32_t i : core->take_all())
      if (core->op(i).op == opcode::inode_range) core->grant_range(i);
    run();
  }
  heal();
}

TEST_F(MadCore, ThatHintsAtOpsThatDoNotExistIsBadOrNotHeard) {
  core->hint(op_slot_count);
  run();
  EXPECT_TRUE(fs->bad_core());
  heal();
}

TEST_F(MadCore, ThatHintsAtARecordNeverWrittenIsBad) {
  core->hint(777);
  run();
  EXPECT_TRUE(fs->bad_core());
  heal();
}

TEST_F(MadCore, ThatBreaksEitherRingPositionIsBad) {
  for (const std::uint32_t bad : {0xf0000000u, 5000u, 0x80000000u}) {
    arenas.shared->down.produced.store(bad);
    run();
    EXPECT_TRUE(fs->bad_core()) << bad;
    lose();
    attach();
    run();
    (void)core->take_all();
    arenas.shared->up.consumed.store(bad);
    kernel.submit(fuse_request::getattr(5, 1000 + bad % 1000 * 2));
    run();
    EXPECT_TRUE(fs->bad_core()) << bad;
    lose();
    attach();
    run();
  }
  heal();
}

TEST_F(MadCore, ThatAnswersTwiceIsHeardOnce) {
  downcall_cell d = core->downcall(index_);
  d.payload_size = 50;
  core->write(index_, d);
  for (int n = 0; n < 5; ++n) core->hint(index_, d.slot_seq);
  run();
  EXPECT_EQ(kernel.answer_count(), 1u);
  EXPECT_EQ(kernel.repeated(), 0u);
  EXPECT_EQ(counters().downcalls_dropped.load(), 4u);
}

TEST_F(MadCore, ThatAnswersAnOpThatWasNeverOfferedIsNotHeard) {
  lose();
  kernel.submit(fuse_request::getattr(6, 4));
  run();
  attach();  // not run: still waiting
  const std::uint32_t waiting = slot_of(4).value();
  ASSERT_EQ(state(waiting), op_state::waiting);
  core->answer(waiting, attr_of(6));
  run();
  EXPECT_FALSE(kernel.answer_to(4).has_value());
}

TEST_F(MadCore, WhoseAnswerDoesNotDecodeGivesEioToItsCaller) {
  kernel.submit(fuse_request::getattr(6, 4));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  core->answer(i, size_answer{0x11223344});
  run();
  EXPECT_EQ(kernel.answer_to(4)->error, EIO);
}

TEST_F(MadCore, ThatScribblesAllOverTheSharedArenaHarmsNobody) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    prng random(seed);
    for (int n = 0; n < 50; ++n) {
      shared_arena& a = *arenas.shared;
      const std::uint64_t word = random.next();
      switch (random.below(6)) {
        case 0: a.down.produced.store(static_cast<std::uint32_t>(word % 8192)); break;
        case 1: a.up.consumed.store(static_cast<std::uint32_t>(word % 8192)); break;
        case 2:
          a.down.entries[word % ring_entry_count].store(random.next());
          break;
        case 3: a.downcalls[random.below(4)].control.store(random.next()); break;
        case 4: {
          auto bytes = writable_bytes(a.downcalls[random.below(4)].cells[word & 1]);
          bytes[random.below(bytes.size())] = static_cast<std::byte>(word >> 8);
          break;
        }
        default: a.down.consumer_sleeps.store(static_cast<std::uint32_t>(word)); break;
      }
      for (int turns = 0; turns < 10 && fs->turn(); ++turns) {
      }
    }
    lose();
    attach();
    run();
    for (const std::uint32_t i : core->take_all())
      if (core->op(i).op == opcode::inode_range) core->grant_range(i);
    run();
  }
  heal();
}

}  // namespace
}  // namespace tangelo
