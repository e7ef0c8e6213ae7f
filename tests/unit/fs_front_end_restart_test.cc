// front_end: what becomes of an op in each of its states when its front end dies, by whether the
// kernel says that its caller is still there.
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

using call = fake_kernel::call;
using moment = fake_kernel::moment;

class Restart : public testing::Test, protected front_end_world {
 protected:
  ~Restart() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  int error_of(std::uint64_t unique) const {
    const auto a = kernel.answer_to(unique);
    return a ? a->error : -1;
  }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    return core->take_kernel_op().value();
  }
  // The front end dies, its successor dies behind RESEND, and the caller of `unique` goes away
  // before a third one can read the request.
  void restart_without_caller(std::uint64_t unique) {
    die_at(call::resend, moment::after);
    restart();
    kernel.kill_caller(unique);
    EXPECT_EQ(kernel.taken_back(), 1u);
    restart_dead();
  }
  // Attaches a core that has no inode numbers to bring.
  std::uint32_t offered_again() {
    attach();
    run();
    return core->take_kernel_op().value();
  }
};

// ---- the caller is still there ------------------------------------------------------------------

TEST_F(Restart, AWaitingOpWaitsOnAndIsOfferedForTheFirstTime) {
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  restart();
  EXPECT_EQ(state(slot_of(2).value()), op_state::waiting);
  const std::uint32_t i = offered_again();
  EXPECT_EQ(core->attempts(i), 1u);
  core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(counters().resent.load(), 1u);
  EXPECT_EQ(counters().callers_lost.load(), 0u);
}

TEST_F(Restart, AnOpThatWasWithACoreGoesToTheNextWithItsTagNumberAndHandle) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::create(1, 2, "f"));
  const auto before = core->body<make_call>(i);
  const std::uint32_t sequence = control_of(arenas.fs->ops[i]).sequence;
  restart();
  EXPECT_EQ(state(i), op_state::purged);
  ASSERT_EQ(offered_again(), i);
  EXPECT_EQ(core->attempts(i), 2u);
  EXPECT_EQ(control_of(arenas.fs->ops[i]).sequence, sequence);
  EXPECT_EQ(core->body<make_call>(i).inode, before.inode);
  EXPECT_EQ(core->body<make_call>(i).handle, before.handle);
  core->answer(i, entry_of(before.inode));
  run();
  EXPECT_EQ(error_of(2), 0);
}

TEST_F(Restart, APurgedOpGoesToTheNextCoreToo) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  lose();
  restart();
  EXPECT_EQ(state(i), op_state::purged);
  ASSERT_EQ(offered_again(), i);
  core->answer(i, entry_of(core->body<make_call>(i).inode));
  run();
  EXPECT_EQ(error_of(2), 0);
}

TEST_F(Restart, AnAnswerThatWasTakenAndNotGivenIsGivenByTheNext) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  core->answer(i, entry_of(77));
  die_at(call::write, moment::before);
  run();
  restart_dead();
  ASSERT_EQ(error_of(2), 0);
  EXPECT_EQ(kernel.answer_to(2)->as<fuse_entry_out>().nodeid, 77u);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Restart, AnAnswerThatWasGivenIsNotGivenAgain) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  core->answer(i, entry_of(77));
  die_at(call::write, moment::after);
  run();
  restart_dead();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Restart, AnAnswerThatIsDamagedIsAskedForAgain) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  const std::uint64_t number = core->body<make_call>(i).inode;
  core->answer(i, entry_of(number));
  die_at(call::write, moment::before);
  run();
  arenas.thaw();
  for (downcall_cell& cell : arenas.shared->downcalls[i].cells) cell.status ^= 1;
  restart_dead();
  EXPECT_EQ(error_of(2), -1);
  ASSERT_EQ(offered_again(), i);
  EXPECT_EQ(core->body<make_call>(i).inode, number);
  core->answer(i, entry_of(number));
  run();
  EXPECT_EQ(error_of(2), 0);
}

TEST_F(Restart, ADowncallThatWasNotTakenIsAskedForAgain) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  core->answer(i, entry_of(77));
  restart();
  EXPECT_EQ(error_of(2), -1);
  EXPECT_EQ(offered_again(), i);
}

TEST_F(Restart, ARequestThatWasTakenAndNotRecordedIsThereAgain) {
  for (const bool resends : {true, false}) {
    kernel.set_resends(resends);
    const std::uint64_t id = resends ? 2 : 4;
    kernel.submit(fuse_request::mkdir(1, id, "d"));
    die_at(call::read, moment::after);
    run();
    restart_dead();
    run();
    ASSERT_TRUE(slot_of(id).has_value()) << (resends ? "" : "old kernel");
    EXPECT_EQ(state(*slot_of(id)), op_state::waiting);
  }
}

TEST_F(Restart, ALargeWriteKeepsItsBytes) {
  std::vector<std::byte> data(1 << 20);
  for (std::size_t n = 0; n < data.size(); ++n) data[n] = static_cast<std::byte>(n * 13 >> 4);
  for (const moment when : {moment::before, moment::after}) {
    const std::uint64_t id = when == moment::before ? 2 : 4;
    kernel.submit(fuse_request::write(5 + id, id, 9, 0, data));
    if (when == moment::before) run();
    die_at(call::read, when);
    run();
    restart_dead();
    run();
  }
  attach();
  run();
  for (int n = 0; n < 2; ++n) {
    const std::uint32_t i = core->take_kernel_op().value();
    const mutable_byte_span slot = slot_bytes(*arenas.shared, core->op(i).payload_in);
    ASSERT_EQ(slot.size(), data.size());
    EXPECT_TRUE(std::equal(data.begin(), data.end(), slot.begin())) << n;
  }
}

TEST_F(Restart, RequestsThatWereNotReadComeAfterwardsAndForgetsInBetweenDoNoHarm) {
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  kernel.submit(fuse_request::getattr(6, 4));
  kernel.submit(fuse_request::getattr(7, 6));
  for (std::uint64_t n = 0; n < 20; ++n)
    kernel.submit(fuse_request(FUSE_FORGET, 5, 100 + 2 * n).add(fuse_forget_in{}));
  restart();
  run();
  attach();
  run();
  for (const std::uint64_t inode : {5u, 6u, 7u}) {
    const std::uint32_t i = core->take_kernel_op().value();
    EXPECT_EQ(core->op(i).inode, inode);
    core->answer(i, attr_of(inode));
  }
  run();
  EXPECT_EQ(kernel.answer_count(), 3u);
}

TEST_F(Restart, SeveralInARowChangeNothing) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  for (int n = 0; n < 5; ++n) restart();
  ASSERT_EQ(offered_again(), i);
  EXPECT_EQ(core->attempts(i), 2u);
  core->answer(i, entry_of(core->body<make_call>(i).inode));
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(fs->pending_count(), 0u);
  EXPECT_EQ(arenas.fs->pulse.generation.load(), 6u);
}

TEST_F(Restart, OpenHandlesStayAndNewOnesGetNewNumbers) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::open(5, 2, 0));
  const std::uint64_t handle = core->op(i).handle;
  core->answer(i, attr_of(5));
  run();
  ASSERT_EQ(error_of(2), 0);
  restart();
  attach_settled();
  const std::uint32_t j = offered(fuse_request::open(6, 4, 0));
  EXPECT_NE(core->op(j).handle, handle);
  const std::uint32_t k = offered(fuse_request::release(5, 6, handle));
  EXPECT_EQ(core->body<open_call>(k).handle, handle);
  const control_word word = control_of(arenas.fs->handles[handle & 0xffff]);
  EXPECT_EQ(word.state, static_cast<std::uint8_t>(handle_state::closing)) << "no core claims it";
}

TEST_F(Restart, AHandleThatNoOpAndNobodyKnowsIsClosed) {
  attach_settled();
  kernel.submit(fuse_request::open(5, 2, 0));
  die_at(call::read, moment::after);
  run();
  restart_dead();
  run();
  std::size_t opening = 0;
  for (std::uint32_t h = 0; h < arenas.fs->handles_used_end.load(); ++h)
    if (control_of(arenas.fs->handles[h]).state != 0) ++opening;
  EXPECT_EQ(opening, 1u) << "that of the op, which was read again";
}

// ---- the caller has gone ------------------------------------------------------------------------

TEST_F(Restart, AWaitingOpWithoutACallerIsOver) {
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  run();
  restart_without_caller(2);
  EXPECT_EQ(fs->pending_count(), 0u);
  EXPECT_EQ(counters().callers_lost.load(), 1u);
}

TEST_F(Restart, AnOpThatMayHaveBeenExecutedKeepsItsBarrierWithoutItsCaller) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::named(FUSE_UNLINK, 1, 2, "f"));
  restart_without_caller(2);
  EXPECT_EQ(state(i), op_state::given_up);
  EXPECT_EQ(counters().callers_lost.load(), 1u);
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 4, "f"));
  kernel.submit(fuse_request::named(FUSE_RMDIR, 1, 6, "dir"));
  ASSERT_EQ(offered_again(), i);
  EXPECT_FALSE(core->take_kernel_op().has_value()) << "it does not wait for the first one's fate";
  core->answer(i, empty_answer{});
  run();
  const std::vector<std::uint32_t> freed = core->take_all();
  ASSERT_EQ(freed.size(), 2u);
  EXPECT_EQ(core->op(freed[0]).kernel_id + core->op(freed[1]).kernel_id, 4u + 6u);
}

TEST_F(Restart, AnOpenWhoseCallerHasGoneIsClosedByAnOpOfOurOwn) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::open(5, 2, 0));
  const std::uint64_t handle = core->op(i).handle;
  restart_without_caller(2);
  ASSERT_EQ(offered_again(), i);
  core->answer(i, attr_of(5));
  run();
  const std::uint32_t release = core->take_kernel_op().value();
  EXPECT_EQ(core->op(release).op, opcode::release);
  EXPECT_EQ(core->body<open_call>(release).handle, handle);
}

// The story: the answer was there and not given, and then the caller went. Whoever thinks that it
// was given leaves a file open for ever.
TEST_F(Restart, AnOpenThatWasExecutedAndItsCallerThenKilledIsClosed) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::open(5, 2, 0));
  core->answer(i, attr_of(5));
  die_at(call::write, moment::before);
  run();
  die();
  arenas.thaw();
  die_at(call::resend, moment::after);
  start();
  kernel.kill_caller(2);
  restart_dead();
  attach();
  run();
  if (kernel.taken_back() == 0) return;  // it was answered before it could be killed
  EXPECT_TRUE(core->take_kernel_op().has_value()) << "nobody closes it";
}

// ---- signals ------------------------------------------------------------------------------------

TEST_F(Restart, ASignalThatCameMeanwhileIsHeard) {
  kernel.submit(fuse_request::getattr(5, 2));
  kernel.submit(fuse_request::mkdir(1, 4, "d"));
  run();
  die();
  kernel.interrupt(2);
  kernel.interrupt(4);
  start();
  EXPECT_EQ(kernel.answer_count(), 0u);
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(error_of(4), EINTR);
}

TEST_F(Restart, AnInterruptedMutationIsWaitedForAcrossItAndAKillIsFound) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  kernel.interrupt(2);
  run();
  restart();
  EXPECT_EQ(error_of(2), -1);
  EXPECT_EQ(state(i), op_state::purged);
  EXPECT_TRUE(fs->wants_caller_checks());
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(state(i), op_state::given_up);
}

TEST_F(Restart, ACallerKilledMeanwhileIsAnsweredAtOnce) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  die();
  callers.killed.insert(4321);
  kernel.kill_caller(2);
  start();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(state(i), op_state::given_up);
}

// ---- damage -------------------------------------------------------------------------------------

TEST_F(Restart, WhateverAWildCoreLeftInTheSharedArenaHarmsNobody) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  const std::uint64_t number = core->body<make_call>(i).inode;
  shared_arena& shared = *arenas.shared;
  const auto scribble = [](auto& where) {
    for (std::byte& b : mutable_byte_span(reinterpret_cast<std::byte*>(&where), sizeof where))
      b = std::byte{0xa5};
  };
  scribble(shared.core);
  scribble(shared.up);
  scribble(shared.down);
  scribble(shared.downcalls[i]);
  restart();
  run();
  ASSERT_EQ(offered_again(), i);
  core->answer(i, entry_of(number));
  run();
  EXPECT_EQ(error_of(2), 0);
}

TEST_F(Restart, RecordsThatAreDamagedOrContradictEachOtherAreLeftOutAndTheRestGoesOn) {
  const std::vector<std::byte> data(100, std::byte{1});
  for (std::uint64_t id = 2; id <= 8; id += 2)
    kernel.submit(fuse_request::write(100 + id, id, 9, 0, data));
  run();
  op_slot& damaged = arenas.fs->ops[slot_of(2).value()];
  damaged.cells[control_of(damaged).cell].inode ^= 1;
  op_slot& twice = arenas.fs->ops[slot_of(6).value()];
  op_cell cell = twice.cells[control_of(twice).cell];
  const op_slot& other = arenas.fs->ops[slot_of(4).value()];
  cell.payload_in = other.cells[control_of(other).cell].payload_in;
  publish(twice, cell, static_cast<std::uint8_t>(op_state::waiting), 0, cell.slot_seq);
  restart();
  attach();
  run();
  std::set<std::uint64_t> answered;
  while (const auto i = core->take_kernel_op()) {
    write_answer w;
    w.written = 100;
    answered.insert(core->op(*i).kernel_id);
    core->answer(*i, w);
  }
  run();
  // Requests whose record is gone come again, so nobody waits for ever.
  EXPECT_EQ(answered, (std::set<std::uint64_t>{2, 4, 6, 8}));
  EXPECT_EQ(kernel.waiting_count(), 0u);
}

// ---- no room ------------------------------------------------------------------------------------

// The story: each successor took one more large write than its predecessor had left room for, since
// its sweep ends with a request that it has read; the third found no slot to read into, and so did
// every one after it.
TEST_F(Restart, CrashLoopsWithoutRoomForWritesDoNotRunOutOfReceiveSlots) {
  const std::vector<std::byte> data(100'000, std::byte{1});
  const std::uint64_t writes = 80;
  for (std::uint64_t n = 0; n < writes; ++n)
    kernel.submit(fuse_request::write(100 + n, 2 + 2 * n, 9, 0, data));
  run();
  for (int n = 0; n < 10; ++n) {
    restart();
    run();
  }
  attach();
  for (int turn = 0; turn < 20; ++turn) {
    run();
    while (const auto i = core->take_kernel_op()) {
      write_answer w;
      w.written = 100'000;
      core->answer(*i, w);
    }
  }
  EXPECT_EQ(kernel.answer_count(), writes);
}

TEST_F(Restart, CallersOfRequestsThatItHasNoRoomForAreLetGoToo) {
  const std::vector<std::byte> data(100'000, std::byte{1});
  const std::size_t slots = slot_shapes[static_cast<std::size_t>(slot_class::write_large)].count;
  for (std::uint64_t n = 0; n < slots; ++n)
    kernel.submit(fuse_request::write(100 + n, 2 + 2 * n, 9, 0, data));
  run();
  restart();  // reads one more than it has room for
  const std::uint64_t held = 2 * slots - 2;
  ASSERT_EQ(kernel.waiting_count(), slots - 1);
  EXPECT_FALSE(slot_of(held).has_value());
  kernel.interrupt(held);
  restart();  // hears of the signal, and reads another one
  run();
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(held), EINTR);
  EXPECT_EQ(error_of(held + 2), EINTR);
  callers.killed.clear();
  run();
  EXPECT_EQ(kernel.waiting_count(), 0u);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Restart, ASignalForARequestThatItHasNoRoomForIsHeardWhenThereIs) {
  const std::vector<std::byte> data(100'000, std::byte{1});
  const std::size_t slots = slot_shapes[static_cast<std::size_t>(slot_class::write_large)].count;
  for (std::uint64_t n = 0; n < slots; ++n)
    kernel.submit(fuse_request::write(100 + n, 2 + 2 * n, 9, 0, data));
  run();
  restart();
  const std::uint64_t held = 2 * slots - 2;
  kernel.interrupt(held);
  restart();
  attach();
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  lose();
  write_answer w;
  w.written = 100'000;
  attach();
  run();
  (void)core->take_all();
  arenas.shared->core.path_up.store(0);
  core->answer(i, w);
  run();
  EXPECT_EQ(error_of(held), -1);
  EXPECT_TRUE(fs->wants_caller_checks());
  callers.killed.insert(4321);
  fs->look_after_callers();
  EXPECT_EQ(error_of(held), EINTR);
}

TEST_F(Restart, AFullTableIsTakenOver) {
  for (std::uint64_t n = 0; n < op_slot_count + 10; ++n)
    kernel.submit(fuse_request::mkdir(1, 2 + 2 * n, "d" + std::to_string(n)));
  run();
  for (int n = 0; n < 20; ++n) {
    restart();
    run();
  }
  attach();
  for (int turn = 0; turn < 100 && kernel.answer_count() < op_slot_count + 10; ++turn) {
    run();
    while (const auto i = core->take_kernel_op())
      core->answer(*i, entry_of(core->body<make_call>(*i).inode));
  }
  run();
  EXPECT_EQ(kernel.answer_count(), op_slot_count + 10u);
}

}  // namespace
}  // namespace tangelo
