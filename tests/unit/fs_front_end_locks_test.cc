// front_end: locks, from the request to the grant, with the server's part played by the test.
#include <fcntl.h>

#include <cerrno>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

constexpr std::uint64_t inode = 7, handle = 70, owner = 0x1234;

fuse_request lock_request(std::uint64_t unique, std::uint32_t type, bool wait,
                          std::uint64_t of = owner, std::uint32_t pid = 4321) {
  fuse_lk_in in{};
  in.fh = handle;
  in.owner = of;
  in.lk = {0, 0x7fffffffffffffff, type, 99};
  return fuse_request(wait ? FUSE_SETLKW : FUSE_SETLK, inode, unique, pid).add(in);
}
fuse_request flush_request(std::uint64_t unique, std::uint64_t of = owner) {
  fuse_flush_in in{};
  in.fh = handle;
  in.lock_owner = of;
  return fuse_request(FUSE_FLUSH, inode, unique).add(in);
}

class FrontEndLocks : public ::testing::Test {
 protected:
  FrontEndLocks() { w.attach_settled(); }
  std::uint32_t take() {
    w.run();
    const std::optional<std::uint32_t> i = w.core->take_kernel_op();
    EXPECT_TRUE(i.has_value());
    return i.value_or(0);
  }
  bool nothing_offered() {
    w.run();
    return !w.core->take_kernel_op();
  }
  // Asks for a lock, and the server queues it; its lock id.
  std::uint64_t wait_for(std::uint64_t unique, std::uint64_t of = owner) {
    w.kernel.submit(lock_request(unique, F_WRLCK, true, of));
    const std::uint32_t i = take();
    const std::uint64_t id = w.core->body<lock_call>(i).lock_id;
    w.core->fail(i, error_code::queued);
    w.run();
    return id;
  }
  void say(std::uint64_t id, lock_event event, error_code status) {
    w.arenas.shared->lock_words[lock_index(id)].store(
        lock_word{lock_sequence(id), event, static_cast<std::uint16_t>(status)}.pack());
    w.arenas.shared->core.lock_news.fetch_add(1);
    w.run();
  }
  void lock(std::uint64_t unique, std::uint64_t of = owner) {
    w.kernel.submit(lock_request(unique, F_WRLCK, false, of));
    w.core->answer(take(), empty_answer{});
    w.run();
    EXPECT_EQ(error(unique), 0);
  }
  // The answer to a request; nothing while it waits.
  std::optional<int> error(std::uint64_t unique) {
    const auto a = w.kernel.answer_to(unique);
    return a ? std::optional(a->error) : std::nullopt;
  }
  std::uint64_t held() { return w.counters().locks_held.load(); }
  std::uint64_t waiting() { return w.counters().locks_waiting.load(); }
  front_end_world w;
};

TEST_F(FrontEndLocks, AWaitHoldsNoSlotAndIsAnsweredByItsGrant) {
  const std::uint64_t id = wait_for(10);
  EXPECT_EQ(w.fs->pending_count(), 0u);
  EXPECT_EQ(waiting(), 1u);
  EXPECT_FALSE(error(10));
  say(id, lock_event::ended, error_code::ok);
  EXPECT_EQ(error(10), 0);
  EXPECT_EQ(held(), 1u);
  EXPECT_EQ(waiting(), 0u);
  EXPECT_EQ(w.kernel.attributes_forgotten(), std::vector<std::uint64_t>{inode});
  say(id, lock_event::ended, error_code::ok);
  EXPECT_EQ(held(), 1u) << "told twice";
}

TEST_F(FrontEndLocks, ASignalEndsAWaitUnlessTheGrantCameFirst) {
  for (const bool granted : {false, true}) {
    const std::uint64_t unique = granted ? 30 : 20;
    const std::uint64_t id = wait_for(unique, owner + unique);
    w.kernel.interrupt(unique);
    const std::uint32_t cancel = take();
    EXPECT_EQ(w.core->op(cancel).op, opcode::cancel_lock);
    EXPECT_EQ(w.core->body<cancel_lock_call>(cancel).lock_id, id);
    EXPECT_FALSE(error(unique)) << "nobody knows yet";
    w.core->answer(cancel, cancel_lock_answer{static_cast<std::uint8_t>(granted ? 1 : 0)});
    w.run();
    EXPECT_EQ(error(unique), granted ? 0 : EINTR);
    EXPECT_EQ(held(), granted ? 1u : 0u);
    EXPECT_EQ(waiting(), 0u);
  }
}

TEST_F(FrontEndLocks, AKilledWaiterIsLetGoAndALateGrantGivenBack) {
  const std::uint64_t id = wait_for(20);
  w.callers.killed.insert(4321);
  w.kernel.kill_caller(20);
  const std::uint32_t cancel = take();
  EXPECT_EQ(error(20), EINTR);
  say(id, lock_event::ended, error_code::ok);
  EXPECT_EQ(held(), 1u);
  w.core->answer(cancel, cancel_lock_answer{1});
  const std::uint32_t unlock = take();
  EXPECT_EQ(w.core->op(unlock).op, opcode::set_lock);
  EXPECT_EQ(w.core->body<lock_call>(unlock).what.type, lock_type::unlock);
  w.core->answer(unlock, empty_answer{});
  w.run();
  EXPECT_EQ(held(), 0u);
  EXPECT_TRUE(nothing_offered());
}

TEST_F(FrontEndLocks, AWaitOutlivesItsFrontEnd) {
  const std::uint64_t id = wait_for(20);
  w.restart();
  EXPECT_EQ(waiting(), 1u);
  w.attach();
  EXPECT_TRUE(nothing_offered()) << "it was not asked for again";
  say(id, lock_event::ended, error_code::ok);
  EXPECT_EQ(error(20), 0);
  EXPECT_EQ(w.kernel.repeated(), 0u);
}

TEST_F(FrontEndLocks, AGrantThatADeadCoreLeftBehindIsTaken) {
  const std::uint64_t id = wait_for(20);
  w.arenas.shared->lock_words[lock_index(id)].store(
      lock_word{lock_sequence(id), lock_event::ended, 0}.pack());
  w.lose();
  EXPECT_EQ(error(20), 0);
  EXPECT_EQ(held(), 1u);
}

TEST_F(FrontEndLocks, AWaiterThatIsKilledWhileNobodyServesIsCancelled) {
  (void)wait_for(20);
  w.die();
  // The kernel takes a request back only when it is queued: it is, once RESEND has put it there.
  w.kernel.observe([this](fake_kernel::call c, fake_kernel::moment m) {
    if (c == fake_kernel::call::resend && m == fake_kernel::moment::after) w.kernel.kill_caller(20);
  });
  w.start();
  w.kernel.observe(nullptr);
  w.attach();
  const std::uint32_t cancel = take();
  EXPECT_EQ(w.core->op(cancel).op, opcode::cancel_lock);
  w.core->answer(cancel, cancel_lock_answer{0});
  w.run();
  EXPECT_EQ(waiting(), 0u);
}

TEST_F(FrontEndLocks, AClosingProcessUnlocksWhatItHasAndNothingElseWaits) {
  w.kernel.submit(flush_request(10));
  EXPECT_TRUE(nothing_offered());
  EXPECT_EQ(error(10), 0);
  lock(12);
  w.kernel.submit(flush_request(14, owner + 1));
  EXPECT_TRUE(nothing_offered()) << "another process";
  EXPECT_EQ(error(14), 0);
  w.kernel.submit(flush_request(16));
  const std::uint32_t unlock = take();
  const lock_call call = w.core->body<lock_call>(unlock);
  EXPECT_EQ(call.what.type, lock_type::unlock);
  EXPECT_EQ(call.what.owner, owner);
  EXPECT_EQ(call.what.end, lock_end_max);
  EXPECT_FALSE(error(16));
  w.core->answer(unlock, empty_answer{});
  w.run();
  EXPECT_EQ(error(16), 0);
  EXPECT_EQ(held(), 0u);
}

TEST_F(FrontEndLocks, TwoOperationsOfOneOwnerAreNeverUnderWayTogether) {
  w.kernel.submit(lock_request(10, F_WRLCK, false));
  const std::uint32_t first = take();
  w.kernel.submit(lock_request(12, F_UNLCK, false));
  w.kernel.submit(lock_request(14, F_WRLCK, false, owner + 2));
  const std::uint32_t other = take();
  EXPECT_EQ(w.core->body<lock_call>(other).what.owner, owner + 2) << "another owner may go";
  EXPECT_TRUE(nothing_offered());
  w.core->answer(first, empty_answer{});
  EXPECT_EQ(w.core->body<lock_call>(take()).what.type, lock_type::unlock);
}

TEST_F(FrontEndLocks, WhatTheServerDoesNotGiveBackIsLost) {
  lock(10);
  std::uint64_t id = 0;
  for (std::uint32_t i = 0; i < lock_count; ++i) {
    const control_word word = control_of(w.arenas.fs->locks[i]);
    if (word.state == static_cast<std::uint8_t>(lock_state::held))
      id = w.arenas.fs->locks[i].cells[word.cell].lock_id;
  }
  say(id, lock_event::lost, error_code::again);
  EXPECT_EQ(held(), 0u);
  EXPECT_EQ(w.counters().lost_locks.load(), 1u);
}

}  // namespace
}  // namespace tangelo
