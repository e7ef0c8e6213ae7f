// front_end: the life of an op between a kernel and a core played by the test.
#include "fs/front_end.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class FrontEnd : public testing::Test, protected front_end_world {
 protected:
  ~FrontEnd() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  // An op offered to the core: a getattr of `node`.
  std::uint32_t offered_getattr(std::uint64_t node, std::uint64_t unique) {
    kernel.submit(fuse_request::getattr(node, unique));
    run();
    return core->take_kernel_op().value();
  }
  int error_of(std::uint64_t unique) const {
    const auto a = kernel.answer_to(unique);
    return a ? a->error : -1;
  }
};

TEST_F(FrontEnd, KeepsRequestsUntilACoreIsThereThenOffersThemInOrder) {
  for (std::uint64_t n = 0; n < 10; ++n) kernel.submit(fuse_request::getattr(50 + n, 2 * n + 2));
  run();
  EXPECT_EQ(kernel.answer_count(), 0u);
  EXPECT_EQ(fs->pending_count(), 10u);
  attach();
  run();
  for (std::uint64_t n = 0; n < 10; ++n) {
    const auto i = core->take_kernel_op();
    ASSERT_TRUE(i.has_value());
    EXPECT_EQ(core->op(*i).inode, 50 + n);
    EXPECT_EQ(core->attempts(*i), 1u);
    EXPECT_EQ(state(*i), op_state::in_progress);
    core->answer(*i, attr_of(50 + n));
  }
  run();
  for (std::uint64_t n = 0; n < 10; ++n) EXPECT_EQ(error_of(2 * n + 2), 0);
}

TEST_F(FrontEnd, SaysInTheRecordThatAnOpIsOfferedBeforeTheHintIsOnTheRing) {
  attach();
  const std::uint32_t i = offered_getattr(5, 2);
  const control_word w = control_of(arenas.fs->ops[i]);
  EXPECT_EQ(w.state, static_cast<std::uint8_t>(op_state::in_progress));
  EXPECT_EQ(w.generation, core->generation());
  control_word copy;
  op_cell cell;
  EXPECT_TRUE(copy_record(arenas.fs->ops[i], copy, cell));
}

TEST_F(FrontEnd, RingsACoreThatSleepsAndNoOther) {
  attach();
  run();
  const int before = core_bell.rung;
  EXPECT_GE(before, 1);
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  EXPECT_EQ(core_bell.rung, before);  // it has not gone to sleep again
}

TEST_F(FrontEnd, FreesSlotAndTagWithTheAnswerAndUsesTheNextSequence) {
  attach_settled();
  const std::uint32_t i = offered_getattr(5, 2);
  const std::uint32_t sequence = control_of(arenas.fs->ops[i]).sequence;
  core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(state(i), op_state::unknown);
  const std::uint32_t j = offered_getattr(6, 4);
  EXPECT_EQ(j, i);
  EXPECT_EQ(control_of(arenas.fs->ops[j]).sequence, sequence + 1);
}

TEST_F(FrontEnd, OffersALostCoresOpsToTheNextWithTheSameTagInArrivalOrder) {
  attach_settled();
  std::vector<std::uint32_t> slots;
  for (std::uint64_t n = 0; n < 5; ++n) slots.push_back(offered_getattr(50 + n, 2 * n + 2));
  core->answer(slots[3], attr_of(53));
  run();
  lose();
  // A new op in the slot that came free arrives last, although its index is lower.
  kernel.submit(fuse_request::getattr(60, 100));
  run();
  for (const std::size_t n : {0u, 1u, 2u, 4u}) EXPECT_EQ(state(slots[n]), op_state::purged);
  attach();
  run();
  std::vector<std::uint64_t> inodes;
  while (const auto i = core->take_kernel_op()) {
    inodes.push_back(core->op(*i).inode);
    EXPECT_EQ(core->attempts(*i), core->op(*i).inode == 60 ? 1u : 2u);
    core->answer(*i, attr_of(inodes.back()));
  }
  EXPECT_EQ(inodes, (std::vector<std::uint64_t>{50, 51, 52, 54, 60}));
  run();
  EXPECT_EQ(kernel.answer_count(), 6u);
  EXPECT_EQ(counters().purged.load(), 4u);
}

TEST_F(FrontEnd, TakesWhatADeadCoreHadFinishedBeforeItPurgesTheRest) {
  attach();
  const std::uint32_t a = offered_getattr(5, 2);
  const std::uint32_t b = offered_getattr(6, 4);
  core->answer(a, attr_of(5));
  lose();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(error_of(4), -1);
  EXPECT_EQ(state(b), op_state::purged);
  EXPECT_EQ(counters().core_losses_serviced.load(), 1u);
}

TEST_F(FrontEnd, ADowncallWhoseHintWasLostWithItsCoreIsAskedForAgain) {
  attach();
  const std::uint32_t i = offered_getattr(5, 2);
  downcall_cell d = core->downcall(i);
  d.body_size = static_cast<std::uint16_t>(encode(attr_of(5), d.body).value());
  core->write(i, d);  // killed before the hint
  lose();
  EXPECT_EQ(error_of(2), -1);
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(core->attempts(i), 2u);
  // The old generation's record must not be taken for an answer.
  core->hint(i, d.slot_seq);
  run();
  EXPECT_EQ(error_of(2), -1);
  core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(error_of(2), 0);
}

TEST_F(FrontEnd, SurvivesManyCoresInARowWithoutLosingOrRepeatingAnything) {
  kernel.submit(fuse_request::getattr(5, 2));
  for (std::uint32_t n = 1; n <= 20; ++n) {
    attach();
    run();
    const auto i = core->take_kernel_op();
    ASSERT_TRUE(i.has_value());
    EXPECT_EQ(core->attempts(*i), n);
    lose();
  }
  attach();
  run();
  core->answer(*core->take_kernel_op(), attr_of(5));
  run();
  EXPECT_EQ(error_of(2), 0);
}

// ---- interrupts ------------------------------------------------------------------------------

TEST_F(FrontEnd, ASignalThatItsCallerSurvivesIsNoReasonToAnswerAnyOp) {
  kernel.submit(fuse_request::getattr(5, 2));
  kernel.submit(fuse_request::mkdir(1, 4, "d"));
  kernel.submit(fuse_request::interrupt(2));
  kernel.submit(fuse_request::interrupt(4));
  run();
  EXPECT_EQ(kernel.answer_count(), 0u);
  EXPECT_TRUE(fs->wants_caller_checks());
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(error_of(4), EINTR);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(FrontEnd, AReadWhoseCallerIsKilledKeepsItsSlotUntilItsFateIsKnown) {
  attach();
  kernel.submit(fuse_request::read(5, 2, 0, 0, 4096));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(state(i), op_state::given_up);
  core->answer(i, empty_answer{}, 4096);
  run();
  EXPECT_EQ(state(i), op_state::unknown);
}

TEST_F(FrontEnd, AnInterruptedMutationIsWaitedForAlsoAfterItsCoreIsLost) {
  attach();
  run();
  while (core->take_kernel_op()) {
  }
  run();
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), -1);
  EXPECT_TRUE(fs->wants_caller_checks());
  lose();
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), -1);
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  core->answer(i, entry_of(1000));
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_FALSE(fs->wants_caller_checks());
}

TEST_F(FrontEnd, AKilledCallerIsAnsweredAtOnceAndItsOpStaysABarrier) {
  attach();
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 2, "f"));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(state(i), op_state::given_up);
  callers.killed.clear();
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 4, "f"));
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 6, "other"));
  run();
  const std::uint32_t other = core->take_kernel_op().value();
  EXPECT_EQ(core->op(other).kernel_id, 6u);
  EXPECT_FALSE(core->take_kernel_op().has_value());
  core->answer(i, empty_answer{});
  run();
  const std::uint32_t behind = core->take_kernel_op().value();
  EXPECT_EQ(core->op(behind).kernel_id, 4u);
  core->fail(behind, error_code::no_entry);
  core->answer(other, empty_answer{});
  run();
  EXPECT_EQ(error_of(4), ENOENT);
  EXPECT_EQ(error_of(6), 0);
  EXPECT_EQ(error_of(2), EINTR);
}

TEST_F(FrontEnd, AGivenUpOpGoesToTheNextCoreToo) {
  attach();
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 2, "f"));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  run();
  lose();
  EXPECT_EQ(state(i), op_state::given_up);
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(core->attempts(i), 2u);
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(state(i), op_state::unknown);
}

TEST_F(FrontEnd, ACallerKilledWhileItsOpIsPurgedIsAnswered) {
  attach();
  const std::uint32_t i = offered_getattr(5, 2);
  lose();
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(state(i), op_state::given_up);
}

TEST_F(FrontEnd, AnInterruptForAnAnsweredRequestChangesNothing) {
  attach();
  core->answer(offered_getattr(5, 2), attr_of(5));
  run();
  kernel.submit(fuse_request::interrupt(2));
  kernel.submit(fuse_request::interrupt(777));
  run();
  EXPECT_EQ(kernel.answer_count(), 1u);
}

TEST_F(FrontEnd, AKillAfterASignalIsFoundByLookingAfterTheCallers) {
  attach();
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 2, "f"));
  run();
  (void)core->take_kernel_op();
  kernel.submit(fuse_request::interrupt(2));
  run();
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), -1);
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_FALSE(fs->wants_caller_checks());
}

// The kernel waits for direct I/O in a way that no signal ends, and says nothing of signals.
TEST_F(FrontEnd, AKilledCallerOfDirectIoIsFoundByLookingAfterTheCallers) {
  attach();
  const std::vector<std::byte> data(4096, std::byte{1});
  kernel.submit(fuse_request::write(5, 2, 9, 0, data));
  run();
  EXPECT_FALSE(fs->wants_caller_checks());
  kernel.submit(fuse_request::write(5, 4, 9, 4096, data, O_DIRECT));
  run();
  EXPECT_TRUE(fs->wants_caller_checks());
  callers.killed.insert(4321);
  time.advance(50 * ns_per_ms);
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), -1);
  EXPECT_EQ(error_of(4), EINTR);
  EXPECT_FALSE(fs->wants_caller_checks());
}

TEST_F(FrontEnd, AnOpenWhoseCallerHasGoneIsClosedByAnOpOfOurOwn) {
  attach();
  kernel.submit(fuse_request::open(5, 2, 0));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  const std::uint64_t handle = core->body<open_call>(i).handle;
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  run();
  EXPECT_EQ(error_of(2), EINTR);
  core->answer(i, attr_of(5));
  run();
  const std::uint32_t r = core->take_kernel_op().value();
  EXPECT_EQ(core->op(r).op, opcode::release);
  EXPECT_EQ(core->body<open_call>(r).handle, handle);
  EXPECT_EQ(core->body<open_call>(r).inode, 5u);
  core->answer(r, empty_answer{});
  run();
  EXPECT_EQ(arenas.fs->handles[handle & 0xffff].control.load() >> 56 & 0x7f, 0u);
  EXPECT_EQ(kernel.answer_count(), 1u);
}

TEST_F(FrontEnd, AFailedOpenOrCreateKeepsNoHandle) {
  attach();
  kernel.submit(fuse_request::open(5, 2, 0));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  const std::uint64_t handle = core->op(i).handle;
  core->fail(i, error_code::access_denied);
  run();
  EXPECT_EQ(error_of(2), EACCES);
  EXPECT_EQ(arenas.fs->handles[handle & 0xffff].control.load() >> 56 & 0x7f, 0u);
}

// ---- barriers --------------------------------------------------------------------------------

TEST_F(FrontEnd, OverlappingWritesGoOneAfterTheOtherAndOthersTogether) {
  attach();
  const std::vector<std::byte> page(4096, std::byte{1});
  kernel.submit(fuse_request::write(5, 2, 9, 0, page));
  kernel.submit(fuse_request::write(5, 4, 9, 100, page));
  kernel.submit(fuse_request::write(5, 6, 9, 8192, page));
  run();
  std::vector<std::uint64_t> offered;
  std::vector<std::uint32_t> slots;
  while (const auto i = core->take_kernel_op()) {
    offered.push_back(core->op(*i).kernel_id);
    slots.push_back(*i);
  }
  EXPECT_EQ(offered, (std::vector<std::uint64_t>{2, 6}));
  write_answer w;
  w.written = 4096;
  core->answer(slots[0], w);
  run();
  EXPECT_EQ(core->op(core->take_kernel_op().value()).kernel_id, 4u);
}

TEST_F(FrontEnd, ARemovalOfADirectoryWaitsForEveryChangeWhoseCallerHasGone) {
  attach();
  kernel.submit(fuse_request::named(FUSE_UNLINK, 7, 2, "f"));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  callers.killed.insert(4321);
  kernel.submit(fuse_request::interrupt(2));
  kernel.submit(fuse_request::named(FUSE_RMDIR, 1, 4, "dir"));
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value());
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(core->op(core->take_kernel_op().value()).op, opcode::rmdir);
}

// ---- data slots ------------------------------------------------------------------------------

TEST_F(FrontEnd, ALargeWriteIsSentFromWhereTheKernelPutIt) {
  attach();
  std::vector<std::byte> data(1 << 20);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  kernel.submit(fuse_request::write(5, 2, 9, 0, data));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  const slot_ref ref = core->op(i).payload_in;
  EXPECT_EQ(ref.kind, slot_class::write_large);
  ASSERT_EQ(ref.size, data.size());
  const mutable_byte_span slot = slot_bytes(*arenas.shared, ref);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), slot.begin()));
}

TEST_F(FrontEnd, WritesUpTo64KiBTakeTheSmallClassAndLargerOnesTheSlotTheyWereReadInto) {
  attach();
  const struct {
    std::size_t size;
    slot_class kind;
  } rows[] = {{1, slot_class::write_small},
              {65536, slot_class::write_small},
              {65537, slot_class::write_large}};
  std::uint64_t unique = 0;
  for (const auto& row : rows) {
    const std::vector<std::byte> data(row.size, std::byte{3});
    unique += 2;
    kernel.submit(fuse_request::write(5 + unique, unique, 9, 0, data));
    run();
    const std::uint32_t i = core->take_kernel_op().value();
    EXPECT_EQ(core->op(i).payload_in.kind, row.kind) << row.size;
    EXPECT_EQ(slot_bytes(*arenas.shared, core->op(i).payload_in).size(), row.size);
    EXPECT_EQ(slot_bytes(*arenas.shared, core->op(i).payload_in)[row.size - 1], std::byte{3});
  }
}

TEST_F(FrontEnd, WithoutALargeSlotItIsDeafAndFindsKilledCallersByLooking) {
  const std::vector<std::byte> data(100'000, std::byte{1});
  // Two stay free, for what only a successor finds.
  const std::size_t slots =
      slot_shapes[static_cast<std::size_t>(slot_class::write_large)].count - 2;
  for (std::uint64_t n = 0; n < slots; ++n)
    kernel.submit(fuse_request::write(100 + n, 2 + 2 * n, 9, 0, data));
  const std::uint64_t last = 2 + 2 * slots;
  kernel.submit(fuse_request::getattr(5, last));
  run();
  EXPECT_EQ(kernel.unread(), 1u);
  EXPECT_TRUE(fs->wants_caller_checks());
  EXPECT_EQ(counters().deaf_periods.load(), 1u);
  fs->look_after_callers();
  EXPECT_EQ(kernel.answer_count(), 0u);
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(kernel.answer_count(), slots);  // never offered: done with
  callers.killed.clear();
  run();
  EXPECT_EQ(kernel.unread(), 0u);
  EXPECT_FALSE(fs->wants_caller_checks());
  attach();
  run();
  core->answer(*core->take_kernel_op(), attr_of(5));
  run();
  EXPECT_EQ(error_of(last), 0);
}

TEST_F(FrontEnd, ReaddirsBeyondTheirSlotsWaitAndReadsPassThem) {
  attach_settled();
  for (std::uint64_t n = 0; n < 20; ++n)
    kernel.submit(fuse_request::read(1, 2 + 2 * n, 0, 0, 4096, FUSE_READDIR));
  kernel.submit(fuse_request::getattr(5, 100));
  run();
  std::vector<std::uint32_t> taken;
  bool passed = false;
  std::set<std::uint16_t> slots;
  while (const auto i = core->take_kernel_op()) {
    if (core->op(*i).op == opcode::readdir) {
      taken.push_back(*i);
      EXPECT_TRUE(slots.insert(core->op(*i).payload_out.index).second);
    }
    passed |= core->op(*i).kernel_id == 100;
  }
  EXPECT_EQ(taken.size(), 16u);
  EXPECT_TRUE(passed);
  for (const std::uint32_t i : taken) core->answer(i, empty_answer{}, 0);
  run();
  EXPECT_EQ(core->take_all().size(), 4u);
}

TEST_F(FrontEnd, ReadsAreAnsweredFromTheirSlot) {
  attach();
  kernel.submit(fuse_request::read(5, 2, 9, 0, 100'000));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  const mutable_byte_span slot = slot_bytes(*arenas.shared, core->op(i).payload_out);
  ASSERT_EQ(slot.size(), 100'000u);
  std::fill(slot.begin(), slot.end(), std::byte{9});
  core->answer(i, empty_answer{}, 70'000);
  run();
  EXPECT_EQ(kernel.answer_to(2)->body, std::vector<std::byte>(70'000, std::byte{9}));
}

TEST_F(FrontEnd, OffersNoMoreThanItsLimitAtOnce) {
  attach();
  for (std::uint64_t n = 0; n < op_offered_count_max + 100; ++n)
    kernel.submit(fuse_request::getattr(5, 2 + 2 * n));
  run();
  std::vector<std::uint32_t> taken;
  while (const auto i = core->take()) taken.push_back(*i);
  EXPECT_EQ(taken.size(), op_offered_count_max);
  for (const std::uint32_t i : taken)
    if (core->op(i).op == opcode::getattr) core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(core->take_all().size(), 101u);
  EXPECT_EQ(counters().in_progress_max.load(), op_offered_count_max);
}

// ---- inode numbers ---------------------------------------------------------------------------

TEST_F(FrontEnd, EachCreationGetsANumberOfItsOwnAlsoAcrossCores) {
  attach();
  std::set<std::uint64_t> numbers;
  std::uint64_t unique = 0;
  for (int round = 0; round < 3; ++round) {
    for (int n = 0; n < 10; ++n) {
      unique += 2;
      kernel.submit(fuse_request::mkdir(1, unique, "d" + std::to_string(unique)));
      run();
      std::optional<std::uint32_t> i;
      while (!(i = core->take_kernel_op())) run();
      const std::uint64_t number = core->body<make_call>(*i).inode;
      EXPECT_NE(number, 0u);
      EXPECT_TRUE(numbers.insert(number).second);
      if (n < 9) core->answer(*i, entry_of(number));
      run();
    }
    const std::uint64_t generation = core->generation();
    lose();
    attach();
    EXPECT_EQ(core->generation(), generation + 1);
    run();
    const std::uint32_t again = core->take_kernel_op().value();
    EXPECT_TRUE(numbers.contains(core->body<make_call>(again).inode)) << "a new number on a retry";
    core->answer(again, entry_of(core->body<make_call>(again).inode));
    run();
  }
}

// The story: 300 creations wait before the first core comes. The op that asks for inode numbers
// stood behind them, and only so many ops are passed over in one turn: nothing moved ever again.
TEST_F(FrontEnd, ManyCreationsWithoutNumbersDoNotStandInTheWayOfTheOpThatBringsThem) {
  for (std::uint64_t n = 0; n < 300; ++n)
    kernel.submit(fuse_request::mkdir(1, 2 + 2 * n, "d" + std::to_string(n)));
  run();
  attach();
  run();
  lose();  // also when it has been with a core before
  attach();
  std::size_t done = 0;
  for (int turn = 0; turn < 20 && done < 300; ++turn) {
    run();
    while (const auto i = core->take_kernel_op()) {
      core->answer(*i, entry_of(core->body<make_call>(*i).inode));
      ++done;
    }
  }
  run();
  EXPECT_EQ(done, 300u);
  EXPECT_EQ(kernel.answer_count(), 300u);
}

TEST_F(FrontEnd, ATableFullOfCreationsLeavesRoomForTheOpThatBringsTheNumbers) {
  for (std::uint64_t n = 0; n < op_slot_count + 10; ++n)
    kernel.submit(fuse_request::mkdir(1, 2 + 2 * n, "d" + std::to_string(n)));
  run();
  EXPECT_GT(kernel.unread(), 0u);
  EXPECT_TRUE(fs->wants_caller_checks());
  attach();
  for (int turn = 0; turn < 100 && kernel.answer_count() < op_slot_count + 10; ++turn) {
    run();
    while (const auto i = core->take_kernel_op())
      core->answer(*i, entry_of(core->body<make_call>(*i).inode));
  }
  run();
  EXPECT_EQ(kernel.answer_count(), op_slot_count + 10u);
}

// ---- what needs no core ----------------------------------------------------------------------

TEST_F(FrontEnd, OpensDirectoriesAndFlushesWithoutACore) {
  kernel.submit(fuse_request::open(1, 2, 0, FUSE_OPENDIR));
  kernel.submit(fuse_request(FUSE_FLUSH, 5, 4).add(fuse_flush_in{}));
  kernel.submit(fuse_request(FUSE_FORGET, 5, 6).add(fuse_forget_in{}));
  run();
  EXPECT_EQ(error_of(2), 0);
  const auto opened = kernel.answer_to(2)->as<fuse_open_out>();
  EXPECT_EQ(error_of(4), 0);
  EXPECT_EQ(error_of(6), -1);
  kernel.submit(fuse_request::release(1, 8, opened.fh, FUSE_RELEASEDIR));
  run();
  EXPECT_EQ(error_of(8), 0);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(FrontEnd, AnswersEioToARequestWhoseLengthIsALie) {
  std::vector<std::byte> bytes = fuse_request::getattr(5, 2).bytes();
  bytes.push_back(std::byte{0});
  kernel.submit(bytes);
  kernel.submit(std::vector<std::byte>(10));
  run();
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(FrontEnd, ClearsTheReceiveCellOnceTheOpIsPublished) {
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  for (const std::byte b : arenas.fs->receive.head) EXPECT_EQ(b, std::byte{0});
}

TEST_F(FrontEnd, FinishesWhatIsPendingAfterTheUnmount) {
  attach();
  const std::uint32_t i = offered_getattr(5, 2);
  kernel.unmount();
  run();
  EXPECT_TRUE(fs->unmounted());
  core->answer(i, attr_of(5));
  run();
  for (const std::uint32_t own : core->take_all()) core->grant_range(own);
  run();
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(FrontEnd, AsksForARefusedRangeOfNumbersAgainAfterASecondAndNotBefore) {
  attach();
  run();
  const std::vector<std::uint32_t> asked = core->take_all();
  ASSERT_EQ(asked.size(), 1u);
  core->fail(asked[0], error_code::no_space);
  run();
  EXPECT_TRUE(core->take_all().empty());
  EXPECT_TRUE(fs->wants_caller_checks());
  time.advance(ns_per_s);
  run();
  EXPECT_EQ(core->take_all().size(), 1u);
}

}  // namespace
}  // namespace tangelo
