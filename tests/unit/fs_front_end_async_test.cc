// front_end: changes that are answered before they are durable.
#include "tests/unit/async_fixture.h"

namespace tangelo {
namespace {

using Async = async_test;

// ---- records ------------------------------------------------------------------------------------

TEST_F(Async, AnEarlyAnswerLeavesARecordUntilItIsDurable) {
  mkdir(2, 10);
  mkdir(4, 11);
  EXPECT_EQ(error_of(2), 0);
  const std::vector<replay_cell> all = records();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].transno, 10u);
  EXPECT_EQ(all[0].time_ns, 777);
  EXPECT_EQ(all[0].op, opcode::mkdir);
  EXPECT_EQ(all[0].inode, 1u);
  EXPECT_NE(all[0].inode2, 0u);
  EXPECT_EQ(counters().replays_kept.load(), 2u);
  commit(10);
  EXPECT_EQ(records().size(), 1u);
  commit(9);  // a lower one than before means nothing
  mkdir(6, 10);
  EXPECT_EQ(records().size(), 1u) << "it is durable by what was said before";
  commit(11);
  EXPECT_EQ(counters().replays_kept.load(), 0u);
}

TEST_F(Async, ARecordIsWrittenBeforeTheAnswerAndOnceHoweverOftenThatIsGiven) {
  for (const moment m : {moment::before, moment::after}) {
    const std::uint64_t id = m == moment::before ? 2 : 4;
    const std::uint32_t i = offered(fuse_request::mkdir(1, id, "d"));
    answer_early(i, entry_of(core->body<make_call>(i).inode), id);
    die_at(call::write, m);
    run();
    restart_dead();
    run();
    EXPECT_EQ(error_of(id), 0);
    EXPECT_EQ(records().size(), id / 2);
    EXPECT_EQ(fs->pending_count(), 0u);
    attach_settled();
  }
}

TEST_F(Async, PayloadsAreCopiedIfTheyAreSmallAndKeepTheirSlotIfTheyAreLarge) {
  std::vector<std::byte> small(5000, std::byte{1});
  std::vector<std::byte> large(1 << 20, std::byte{2});
  write_file(5, 2, 9, small, 10);
  write_file(6, 4, 9, large, 11);
  for (int life = 0; life < 2; ++life) {
    const std::vector<replay_cell> all = records();
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].payload.slot.kind, slot_class::none);
    EXPECT_EQ(std::memcmp(arenas.fs->replay_log + all[0].payload.first_page * replay_page_size,
                          small.data(), small.size()),
              0);
    ASSERT_EQ(all[1].payload.slot.kind, slot_class::write_large);
    EXPECT_EQ(std::memcmp(slot_bytes(*arenas.shared, all[1].payload.slot).data(), large.data(),
                          large.size()),
              0);
    // Nothing else gets that slot, in this life or the next.
    for (std::uint64_t n = 0; n < 4; ++n)
      write_file(7, 100 + 10 * n + static_cast<std::uint64_t>(life) * 1000, 9,
                 std::vector<std::byte>(1 << 20, std::byte{3}), 0);
    restart();
    attach_settled();
  }
  commit(11);
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(counters().replay_bytes.load(), 0u);
}

TEST_F(Async, AnAppendIsKeptWithTheOffsetThatTheServerChose) {
  const std::vector<std::byte> data(100, std::byte{1});
  kernel.submit(fuse_request::write(5, 2, 9, 0, data));
  run();
  const std::uint32_t i = core->take_kernel_op().value();
  op_slot& slot = arenas.fs->ops[i];
  op_cell cell = slot.cells[control_of(slot).cell];
  write_call body = core->body<write_call>(i);
  body.flags |= write_flag::append;
  (void)encode(body, cell.body);
  publish(slot, cell, static_cast<std::uint8_t>(op_state::in_progress),
          control_of(slot).generation, cell.slot_seq);
  write_answer a;
  a.written = 60;
  a.offset = 4242;
  answer_early(i, a, 10);
  run();
  ASSERT_EQ(records().size(), 1u);
  const replay_cell r = records()[0];
  const auto again = decode<write_call>({r.body, r.body_size});
  EXPECT_EQ(again->offset, 4242u);
  EXPECT_EQ(again->flags & write_flag::append, 0u);
  EXPECT_EQ(again->size, 60u);
  EXPECT_EQ(r.payload.size, 60u);
}

TEST_F(Async, AChangeWhoseCallerIsGoneIsKeptToo) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  callers.killed.insert(core->op(i).pid);
  kernel.kill_caller(2);
  run();
  answer_early(i, entry_of(core->body<make_call>(i).inode), 10);
  run();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(records().size(), 1u);
}

TEST_F(Async, ADamagedRecordIsALossOfItsFile) {
  const std::uint64_t handle = open_file(5, 2);
  write_file(5, 4, handle, std::vector<std::byte>(100, std::byte{1}), 10);
  arenas.fs->replays[0].cells[control_of(arenas.fs->replays[0]).cell].time_ns ^= 1;
  restart();
  attach_settled();
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(counters().lost_changes.load(), 1u);
  EXPECT_EQ(flush(5, 6, handle), EIO);
  EXPECT_EQ(told_by_fsync(5, 8, handle), EIO);
}

// ---- flags --------------------------------------------------------------------------------------

TEST_F(Async, TheMountSaysWhichCallsWaitForTheirCommit) {
  const std::vector<std::byte> data(10, std::byte{1});
  const auto set = [this](commit_mode m) {
    mount_policy p;
    p.commit = m;
    write_policy(arenas.fs->watchdog.policy, p);
  };
  constexpr std::uint16_t wait = message_flag::need_commit;
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, 2, "d")), 0);
  EXPECT_EQ(flags_of(fuse_request::write(5, 4, 9, 0, data)), 0);
  set(commit_mode::names);
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, 6, "d")), wait);
  EXPECT_EQ(flags_of(fuse_request::write(5, 8, 9, 0, data)), 0);
  set(commit_mode::sync);
  EXPECT_EQ(flags_of(fuse_request::write(5, 10, 9, 0, data)), wait);
  EXPECT_EQ(flags_of(fuse_request::getattr(5, 12)), 0);
}

TEST_F(Async, AFullLogAsksForCommitsThenDemandsThemAndRefusesNothing) {
  std::uint64_t id = 0;
  std::uint64_t transno = 100;
  const auto fill_to = [&](std::uint64_t count) {
    while (counters().replays_kept.load() < count) mkdir(id += 2, ++transno);
  };
  fill_to(replay_count / 4 - 1);
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, id += 2, "x")), 0);
  fill_to(replay_count / 4);
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, id += 2, "x")), message_flag::commit_soon);
  fill_to(replay_count / 2);
  EXPECT_EQ(counters().commits_demanded.load(), 0u);
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, id += 2, "x")),
            message_flag::need_commit | message_flag::commit_soon);
  EXPECT_EQ(counters().commits_demanded.load(), 1u);
  commit(transno);
  EXPECT_EQ(flags_of(fuse_request::mkdir(1, id += 2, "x")), 0);
  EXPECT_FALSE(fs->bad_core());
}

}  // namespace
}  // namespace tangelo
