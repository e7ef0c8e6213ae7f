// front_end: evictions and refused replays: what was lost is told, once.
#include "tests/unit/async_fixture.h"

namespace tangelo {
namespace {

using Losses = async_test;

TEST_F(Losses, AnEvictionIsToldOnceToEachOpenFileThatLostSomething) {
  const std::vector<std::byte> data(100, std::byte{1});
  const std::uint64_t first = open_file(5, 2);
  const std::uint64_t second = open_file(5, 4);
  const std::uint64_t kept = open_file(6, 6);
  write_file(6, 8, kept, data, 10);
  write_file(5, 10, first, data, 11);
  mkdir(12, 12);
  publish_eviction(1, 10);
  run();
  EXPECT_EQ(arenas.fs->evictions_done.load(), 1u);
  EXPECT_GT(core_bell.rung, 0);
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(counters().lost_changes.load(), 2u);
  EXPECT_EQ(kernel.dropped(), (std::vector<std::uint64_t>{5, 6}));
  EXPECT_EQ(flush(6, 14, kept), 0);
  EXPECT_EQ(flush(5, 16, first), EIO);
  EXPECT_EQ(told_by_fsync(5, 18, first), EIO);
  EXPECT_EQ(fsync(5, 20, second), EIO);
  EXPECT_EQ(fsync(5, 22, second), 0);
  EXPECT_EQ(fsync(1, 24, 0, FUSE_FSYNCDIR), EIO);
  EXPECT_EQ(fsync(1, 26, 0, FUSE_FSYNCDIR), 0);
  EXPECT_EQ(flush(5, 28, open_file(5, 30)), 0);
  restart();
  attach_settled();
  EXPECT_EQ(arenas.fs->invalidation.wanted.load(), 1u) << "it was acted upon twice";
}

TEST_F(Losses, AFlushSaysALossAndLeavesItToTheFsync) {
  for (const moment m : {moment::before, moment::after}) {
    const std::uint64_t base = m == moment::before ? 100 : 200;
    const std::uint64_t handle = open_file(5, base + 2);
    write_file(5, base + 4, handle, std::vector<std::byte>(10, std::byte{1}), base);
    publish_eviction(base, 0);
    run();
    die_at(call::write, m);
    (void)flush(5, base + 6, handle);
    restart_dead();
    attach_settled();
    EXPECT_EQ(error_of(base + 6), EIO);
    EXPECT_EQ(told_by_fsync(5, base + 8, handle), EIO);
  }
}

TEST_F(Losses, AnFsyncThatTheEvictionEndsHasToldTheLoss) {
  const std::uint64_t handle = open_file(5, 2);
  write_file(5, 4, handle, std::vector<std::byte>(10, std::byte{1}), 10);
  const std::uint32_t i = offered(fsync_of(5, 6, handle));
  publish_eviction(1, 0);
  core->fail(i, error_code::evicted);
  run();
  EXPECT_EQ(error_of(6), EIO);
  EXPECT_EQ(flush(5, 8, handle), 0);
}

TEST_F(Losses, AnAnswerFromBeforeTheEvictionIsPartOfTheLostSession) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  answer_early(i, entry_of(core->body<make_call>(i).inode), 10);
  publish_eviction(1, 0);
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(counters().lost_changes.load(), 1u);
}

TEST_F(Losses, WhatADeadCoreHadAtTheEvictionIsNotDoneAgain) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  const std::uint32_t look = offered(fuse_request::getattr(5, 4));
  publish_eviction(1, 0);
  restart();
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(state(i), op_state::unknown);
  EXPECT_EQ(state(look), op_state::purged);
  EXPECT_EQ(arenas.fs->evictions_done.load(), 1u);
}

TEST_F(Losses, ARefusedReplayIsALossOfItsFileAlone) {
  const std::vector<std::byte> data(10, std::byte{1});
  const std::uint64_t a = open_file(5, 2);
  const std::uint64_t b = open_file(6, 4);
  write_file(5, 6, a, data, 10);
  write_file(6, 8, b, data, 11);
  replay_failure_cell f;
  f.sequence = 1;
  f.transno = 10;
  f.inode = 5;
  f.status = static_cast<std::uint32_t>(error_code::io);
  publish(arenas.shared->core.replay_failure, f, 1, 0, 0);
  run();
  EXPECT_EQ(arenas.fs->replay_failures_done.load(), 1u);
  ASSERT_EQ(records().size(), 1u);
  EXPECT_EQ(records()[0].transno, 11u);
  EXPECT_EQ(flush(6, 10, b), 0);
  EXPECT_EQ(flush(5, 12, a), EIO);
  EXPECT_EQ(told_by_fsync(5, 14, a), EIO);
}

// ---- the end of a session -----------------------------------------------------------------------

TEST_F(Losses, TheNextSessionBeginsWhenTheCoreHoldsNothingOfTheLostOne) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  publish_eviction(1, 0);
  kernel.submit(fuse_request::getattr(5, 4));
  run();
  EXPECT_EQ(arenas.fs->evictions_done.load(), 0u);
  EXPECT_FALSE(core->take_kernel_op().has_value()) << "offered into a lost session";
  core->fail(i, error_code::evicted);
  run();
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(arenas.fs->evictions_done.load(), 1u);
  EXPECT_TRUE(core->take_kernel_op().has_value());
}

TEST_F(Losses, WhatACoreHeldThatDiedInAnEvictionIsNotOfferedToTheNext) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  const std::uint32_t given_up = offered(fuse_request::mkdir(1, 4, "e"));
  callers.killed.insert(core->op(given_up).pid);
  kernel.kill_caller(4);
  run();
  publish_eviction(1, 0);
  run();
  lose();
  attach();
  run();
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(state(i), op_state::unknown);
  EXPECT_EQ(state(given_up), op_state::unknown);
  EXPECT_EQ(arenas.fs->evictions_done.load(), 1u);
  EXPECT_FALSE(core->take_kernel_op().has_value());
}

// The next session may be with a store that was set back, or with another one.
TEST_F(Losses, ChangesOfTheNextSessionAreKeptThoughTheirNumbersAreLower) {
  commit(1000);
  mkdir(2, 1001);
  publish_eviction(1, 0);
  run();
  write_file(5, 4, 9, std::vector<std::byte>(10, std::byte{1}), 7);
  ASSERT_EQ(records().size(), 1u);
  EXPECT_EQ(records()[0].transno, 7u);
  commit(7);
  EXPECT_EQ(records().size(), 0u);
}

// A predecessor that died when it had marked the file and still had the record.
TEST_F(Losses, ASuccessorThatFinishesAnEvictionOrARefusalTellsNobodyTwice) {
  for (const bool is_eviction : {true, false}) {
    const std::uint64_t base = is_eviction ? 100 : 200;
    const std::uint64_t handle = open_file(5, base + 2);
    write_file(5, base + 4, handle, std::vector<std::byte>(10, std::byte{1}), base);
    handle_slot& slot = arenas.fs->handles[handle & 0xffff];
    handle_cell marked = slot.cells[control_of(slot).cell];
    marked.loss_untold = 1;
    publish(slot, marked, control_of(slot).state, 0, control_of(slot).sequence);
    if (is_eviction) {
      publish_eviction(1, 0);
    } else {
      replay_failure_cell f;
      f.sequence = 1;
      f.transno = base;
      f.inode = 5;
      publish(arenas.shared->core.replay_failure, f, 1, 0, 0);
    }
    fuse_flush_in in{};
    in.fh = handle;
    kernel.submit(fuse_request(FUSE_FLUSH, 5, base + 6).add(in));
    restart();
    attach_settled();
    EXPECT_EQ(error_of(base + 6), EIO);
    EXPECT_EQ(told_by_fsync(5, base + 8, handle), EIO) << (is_eviction ? "eviction" : "refusal");
  }
}

// It was taken by the predecessor, which died before it recorded or answered it.
TEST_F(Losses, AnAnswerThatAPredecessorTookIsPartOfTheSessionThatWasLostMeanwhile) {
  const std::uint64_t handle = open_file(5, 2);
  const std::uint32_t i = offered(
      fuse_request::write(5, 4, handle, 0, std::vector<std::byte>(10, std::byte{1})));
  write_answer a;
  a.written = 10;
  a.attr.inode = 5;
  answer_early(i, a, 10);
  set_state(arenas.fs->ops[i], static_cast<std::uint8_t>(op_state::serviced), 1);
  publish_eviction(1, 0);
  restart();
  attach_settled();
  EXPECT_EQ(error_of(4), 0);
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(flush(5, 6, handle), EIO);
  EXPECT_EQ(told_by_fsync(5, 8, handle), EIO);
}

// ---- the end of a mount -------------------------------------------------------------------------

// The process stays until uncommitted_count() is 0, or its time is over.
TEST_F(Losses, AfterTheUnmountWhatIsNotDurableIsCountedUntilItIsAndElseNamed) {
  write_file(5, 2, 9, std::vector<std::byte>(10, std::byte{1}), 10);
  write_file(5, 4, 9, std::vector<std::byte>(10, std::byte{1}), 11);
  mkdir(6, 12);
  kernel.unmount();
  run();
  EXPECT_TRUE(fs->unmounted());
  EXPECT_EQ(fs->pending_count(), 0u);
  EXPECT_EQ(fs->uncommitted_count(), 3u);
  testing::internal::CaptureStderr();
  fs->log_unsafe_changes();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("3 answered changes are not known to be durable"), std::string::npos) << text;
  EXPECT_NE(text.find("not known to be durable: inode 1: 1 changes"), std::string::npos) << text;
  EXPECT_NE(text.find("not known to be durable: inode 5: 2 changes"), std::string::npos) << text;
  commit(12);
  EXPECT_EQ(fs->uncommitted_count(), 0u);
  testing::internal::CaptureStderr();
  fs->log_unsafe_changes();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace tangelo
