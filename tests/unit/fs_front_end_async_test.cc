// front_end: changes that are answered before they are durable, and what becomes of them.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

using call = fake_kernel::call;
using moment = fake_kernel::moment;

class Async : public testing::Test, protected front_end_world {
 protected:
  Async() { attach_settled(); }
  ~Async() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  int error_of(std::uint64_t id) const {
    const auto a = kernel.answer_to(id);
    return a ? a->error : -1;
  }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    return core->take_kernel_op().value();
  }
  void answer_early(std::uint32_t i, const auto& body, std::uint64_t transno) {
    downcall_cell d = core->downcall(i);
    const std::size_t size = encode(body, d.body).value();
    wire_writer stamp({d.body + size, answer_time_size});
    stamp(std::int64_t{777});
    d.body_size = static_cast<std::uint16_t>(size + answer_time_size);
    d.transno = transno;
    core->write(i, d);
    core->hint(i, d.slot_seq);
  }
  std::uint32_t mkdir(std::uint64_t id, std::uint64_t transno) {
    const std::uint32_t i = offered(fuse_request::mkdir(1, id, "d" + std::to_string(id)));
    answer_early(i, entry_of(core->body<make_call>(i).inode), transno);
    run();
    return i;
  }
  void write_file(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
                  const std::vector<std::byte>& data, std::uint64_t transno) {
    const std::uint32_t i = offered(fuse_request::write(inode, id, handle, 0, data));
    write_answer a;
    a.written = static_cast<std::uint32_t>(data.size());
    a.attr.inode = inode;
    answer_early(i, a, transno);
    run();
  }
  std::uint64_t open_file(std::uint64_t inode, std::uint64_t id) {
    const std::uint32_t i = offered(fuse_request::open(inode, id, 0));
    core->answer(i, attr_of(inode));
    run();
    return kernel.answer_to(id)->as<fuse_open_out>().fh;
  }
  int flush(std::uint64_t inode, std::uint64_t id, std::uint64_t handle) {
    fuse_flush_in in{};
    in.fh = handle;
    kernel.submit(fuse_request(FUSE_FLUSH, inode, id).add(in));
    run();
    return error_of(id);
  }
  fuse_request fsync_of(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
                        std::uint32_t opcode = FUSE_FSYNC) {
    fuse_fsync_in in{};
    in.fh = handle;
    return fuse_request(opcode, inode, id).add(in);
  }
  int fsync(std::uint64_t inode, std::uint64_t id, std::uint64_t handle,
            std::uint32_t opcode = FUSE_FSYNC) {
    core->answer(offered(fsync_of(inode, id, handle, opcode)), empty_answer{});
    run();
    return error_of(id);
  }
  void commit(std::uint64_t transno) {
    arenas.shared->core.last_committed.store(transno);
    run();
  }
  void publish_eviction(std::uint64_t sequence, std::uint64_t kept_through) {
    eviction_cell e;
    e.sequence = sequence;
    e.kept_through = kept_through;
    std::strcpy(e.text.data(), "silent");
    publish(arenas.shared->core.eviction, e, 1, 0, 0);
  }
  std::vector<replay_cell> records() const {
    std::vector<replay_cell> all;
    for (const replay_slot& s : arenas.fs->replays) {
      const control_word w = control_of(s);
      if (w.sequence == 0) break;
      if (w.state != 0) all.push_back(s.cells[w.cell]);
    }
    return all;
  }
  std::uint16_t flags_of(const fuse_request& r) {
    const std::uint32_t i = offered(r);
    const std::uint16_t flags = core->op(i).call_flags;
    core->fail(i, error_code::no_space);
    run();
    return flags;
  }
};

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
  EXPECT_EQ(flush(5, 8, handle), 0);
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

// ---- losses -------------------------------------------------------------------------------------

TEST_F(Async, AnEvictionIsToldOnceToEachOpenFileThatLostSomething) {
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
  EXPECT_EQ(flush(5, 18, first), 0);
  EXPECT_EQ(fsync(5, 20, second), EIO);
  EXPECT_EQ(fsync(5, 22, second), 0);
  EXPECT_EQ(fsync(1, 24, 0, FUSE_FSYNCDIR), EIO);
  EXPECT_EQ(fsync(1, 26, 0, FUSE_FSYNCDIR), 0);
  EXPECT_EQ(flush(5, 28, open_file(5, 30)), 0);
  restart();
  attach_settled();
  EXPECT_EQ(arenas.fs->invalidation.wanted.load(), 1u) << "it was acted upon twice";
}

TEST_F(Async, AFlushThatComesAgainIsToldAgainAndNoOther) {
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
    EXPECT_EQ(flush(5, base + 8, handle), 0);
  }
}

TEST_F(Async, AnFsyncThatTheEvictionEndsHasToldTheLoss) {
  const std::uint64_t handle = open_file(5, 2);
  write_file(5, 4, handle, std::vector<std::byte>(10, std::byte{1}), 10);
  const std::uint32_t i = offered(fsync_of(5, 6, handle));
  publish_eviction(1, 0);
  core->fail(i, error_code::evicted);
  run();
  EXPECT_EQ(error_of(6), EIO);
  EXPECT_EQ(flush(5, 8, handle), 0);
}

TEST_F(Async, AnAnswerFromBeforeTheEvictionIsPartOfTheLostSession) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  answer_early(i, entry_of(core->body<make_call>(i).inode), 10);
  publish_eviction(1, 0);
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(records().size(), 0u);
  EXPECT_EQ(counters().lost_changes.load(), 1u);
}

TEST_F(Async, WhatADeadCoreHadAtTheEvictionIsNotDoneAgain) {
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  const std::uint32_t look = offered(fuse_request::getattr(5, 4));
  publish_eviction(1, 0);
  restart();
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(state(i), op_state::unknown);
  EXPECT_EQ(state(look), op_state::purged);
  EXPECT_EQ(arenas.fs->evictions_done.load(), 1u);
}

TEST_F(Async, ARefusedReplayIsALossOfItsFileAlone) {
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
  EXPECT_EQ(flush(5, 14, a), 0);
}

// ---- the lease ----------------------------------------------------------------------------------

TEST_F(Async, NothingIsValidBeyondTheLeaseAndItsEndDropsCachesOnce) {
  (void)open_file(5, 2);
  arenas.shared->core.lease_until_ns.store(time.now_ns() + 2 * ns_per_s);
  attr_answer a = attr_of(5);
  a.attr_valid_ms = 10'000;
  core->answer(offered(fuse_request::getattr(5, 4)), a);
  run();
  EXPECT_EQ(kernel.answer_to(4)->as<fuse_attr_out>().attr_valid, 2u);
  EXPECT_EQ(fs->wake_at_ns(), time.now_ns() + 2 * ns_per_s);
  EXPECT_TRUE(kernel.dropped().empty());
  time.advance(2 * ns_per_s);
  kernel.drop_slowly(true);
  run();
  run();
  EXPECT_EQ(kernel.dropped(), (std::vector<std::uint64_t>{5}));
  EXPECT_EQ(arenas.fs->invalidation.done.load(), 0u);
  kernel.drop_slowly(false);
  run();
  EXPECT_EQ(arenas.fs->invalidation.done.load(), 1u);
  run();
  EXPECT_EQ(kernel.dropped().size(), 1u);
}

}  // namespace
}  // namespace tangelo
