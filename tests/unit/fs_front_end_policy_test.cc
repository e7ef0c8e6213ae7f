// front_end: how long callers wait by the mount's policy, `tangelo abort`, and drain.
#include <gtest/gtest.h>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class Policy : public testing::Test, protected front_end_world {
 protected:
  ~Policy() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  int error_of(std::uint64_t unique) const {
    const auto a = kernel.answer_to(unique);
    return a ? a->error : -1;
  }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    return core->take_kernel_op().value();
  }
  // The core says that its server is out of reach, or back.
  void path(bool up) {
    arenas.shared->core.path_up.store(up ? 1 : 0);
    run();
  }
  void pass(std::uint64_t seconds) {
    time.advance(seconds * ns_per_s);
    run();
  }
  path_state where() const { return static_cast<path_state>(arenas.fs->pulse.path.load()); }
};

// ---- the path -----------------------------------------------------------------------------------

TEST_F(Policy, OpsAreOfferedOnlyWhileTheServerIsThere) {
  attach_settled();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value());
  EXPECT_EQ(state(slot_of(2).value()), op_state::waiting);
  path(true);
  EXPECT_TRUE(core->take_kernel_op().has_value());
}

TEST_F(Policy, ANewCoreHasNoPathUntilItSaysSo) {
  attach_settled();
  lose();
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  core = std::make_unique<fake_core>(arenas, fs->attach_core());
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value()) << "what its predecessor said does not count";
  EXPECT_EQ(where(), path_state::blocked);
}

TEST_F(Policy, WhoIsKilledWhileHeWaitsForTheServerHasDoneNothing) {
  attach_settled();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  run();
  callers.killed.insert(4321);
  kernel.interrupt(2);
  run();
  EXPECT_EQ(error_of(2), EINTR);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Policy, ByDefaultEverybodyWaitsForEver) {
  attach_settled();
  offered(fuse_request::mkdir(1, 2, "d"));
  path(false);
  kernel.submit(fuse_request::getattr(5, 4));
  run();
  EXPECT_EQ(fs->wake_at_ns(), UINT64_MAX);
  pass(30 * 24 * 3600);
  EXPECT_EQ(kernel.answer_count(), 0u);
  EXPECT_EQ(where(), path_state::blocked);
}

// ---- fast_io_fail_tmo ---------------------------------------------------------------------------

TEST_F(Policy, FastIoFailEndsWhatWasNotExecutedOrChangesNothing) {
  set_policy(5, policy_off);
  attach_settled();
  const std::uint32_t change = offered(fuse_request::mkdir(1, 2, "d"));
  offered(fuse_request::getattr(5, 4));
  path(false);
  kernel.submit(fuse_request::mkdir(1, 6, "e"));
  run();
  const std::uint64_t due = fs->wake_at_ns();
  EXPECT_EQ(due, time.now_ns() + 5 * ns_per_s);
  time.advance(5 * ns_per_s - 1);
  run();
  EXPECT_EQ(kernel.answer_count(), 0u);
  time.advance(1);
  run();
  EXPECT_EQ(where(), path_state::fail_fast);
  EXPECT_EQ(error_of(4), EIO);
  EXPECT_EQ(error_of(6), EIO);
  EXPECT_EQ(error_of(2), -1) << "it may have been executed";
  EXPECT_EQ(state(change), op_state::in_progress);
  kernel.submit(fuse_request::mkdir(1, 8, "g"));
  kernel.submit(fuse_request::getattr(5, 10));
  run();
  EXPECT_EQ(error_of(8), EIO) << "at once";
  EXPECT_EQ(error_of(10), EIO);
  EXPECT_EQ(counters().refused.load(), 4u);
}

TEST_F(Policy, ARefusedMutationThatMayHaveBeenExecutedIsAnsweredByTheServerOnceItIsBack) {
  set_policy(5, policy_off);
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  lose();
  run();
  pass(6);
  EXPECT_EQ(where(), path_state::fail_fast);
  EXPECT_EQ(error_of(2), -1);
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  core->answer(i, entry_of(77));
  run();
  EXPECT_EQ(error_of(2), 0);
  EXPECT_EQ(where(), path_state::running);
}

TEST_F(Policy, ReleasesAreNotRefused) {
  set_policy(1, 2);
  attach_settled();
  std::uint64_t handles[2];
  for (const std::uint64_t n : {0u, 1u}) {
    core->answer(offered(fuse_request::open(5, 2 + n, 0)), attr_of(5));
    run();
    handles[n] = kernel.answer_to(2 + n)->as<fuse_open_out>().fh;
  }
  path(false);
  kernel.submit(fuse_request::release(5, 4, handles[0]));
  run();
  pass(10);
  kernel.submit(fuse_request::release(5, 6, handles[1]));
  run();
  EXPECT_EQ(where(), path_state::lost);
  path(true);
  for (int n = 0; n < 2; ++n)
    EXPECT_EQ(core->op(core->take_kernel_op().value()).op, opcode::release);
}

TEST_F(Policy, TheClockStartsAnewWhenThePathWasBack) {
  set_policy(5, policy_off);
  attach_settled();
  path(false);
  kernel.submit(fuse_request::getattr(5, 2));
  pass(4);
  path(true);
  (void)core->take_all();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 4, "d"));
  pass(4);
  EXPECT_EQ(kernel.answer_count(), 0u);
  pass(1);
  EXPECT_EQ(error_of(4), EIO);
}

TEST_F(Policy, AnotherCoreWithoutAPathDoesNotStartTheClockAnew) {
  set_policy(5, policy_off);
  attach_settled();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  pass(4);
  lose();
  core = std::make_unique<fake_core>(arenas, fs->attach_core());
  pass(1);
  EXPECT_EQ(error_of(2), EIO);
}

TEST_F(Policy, AnotherFrontEndDoesNotStartTheClockAnewEither) {
  set_policy(5, policy_off);
  attach_settled();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  pass(4);
  restart();
  run();
  EXPECT_EQ(error_of(2), -1);
  pass(1);
  EXPECT_EQ(error_of(2), EIO);
  restart();
  kernel.submit(fuse_request::mkdir(1, 4, "e"));
  run();
  EXPECT_EQ(error_of(4), EIO) << "the next one goes on failing fast";
}

TEST_F(Policy, AChangeIsHeardAtTheNextTurn) {
  attach_settled();
  path(false);
  kernel.submit(fuse_request::mkdir(1, 2, "d"));
  pass(100);
  set_policy(60, policy_off);
  run();
  EXPECT_EQ(error_of(2), EIO) << "it has been waiting for longer";
}

// ---- dev_loss_tmo -------------------------------------------------------------------------------

TEST_F(Policy, DevLossEndsAllAndKeepsBarriersUntilTheirFateIsKnown) {
  set_policy(2, 6);
  attach_settled();
  const std::uint32_t i = offered(fuse_request::named(FUSE_UNLINK, 1, 2, "f"));
  path(false);
  pass(3);
  EXPECT_EQ(error_of(2), -1);
  EXPECT_EQ(fs->wake_at_ns(), time.now_ns() + 3 * ns_per_s);
  pass(3);
  EXPECT_EQ(where(), path_state::lost);
  EXPECT_EQ(error_of(2), EIO);
  EXPECT_EQ(state(i), op_state::given_up);
  kernel.submit(fuse_request::getattr(5, 4));
  run();
  EXPECT_EQ(error_of(4), EIO);
  path(true);
  kernel.submit(fuse_request::named(FUSE_UNLINK, 1, 6, "f"));
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value()) << "behind the first, whose fate is unknown";
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(core->op(core->take_kernel_op().value()).kernel_id, 6u);
}

TEST_F(Policy, DevLossAloneLetsAllWaitUntilThen) {
  set_policy(policy_off, 6);
  attach_settled();
  path(false);
  kernel.submit(fuse_request::getattr(5, 2));
  pass(5);
  EXPECT_EQ(error_of(2), -1);
  pass(1);
  EXPECT_EQ(error_of(2), EIO);
}

// ---- abort --------------------------------------------------------------------------------------

TEST_F(Policy, AnAbortAnswersEverybodyAtOnceAndTheMountGoesOn) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  path(false);
  kernel.submit(fuse_request::getattr(5, 4));
  run();
  kernel.submit(fuse_request::getattr(5, 6));  // not read yet
  fs->abort_callers();
  for (const std::uint64_t unique : {2u, 4u, 6u}) EXPECT_EQ(error_of(unique), EIO) << unique;
  EXPECT_EQ(state(i), op_state::given_up);
  path(true);
  core->answer(i, entry_of(77));
  core->answer(offered(fuse_request::getattr(5, 8)), attr_of(5));
  run();
  EXPECT_EQ(error_of(8), 0);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Policy, AnAbortedOpenIsClosedAgain) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::open(5, 2, 0));
  fs->abort_callers();
  EXPECT_EQ(error_of(2), EIO);
  core->answer(i, attr_of(5));
  run();
  EXPECT_EQ(core->op(core->take_kernel_op().value()).op, opcode::release);
}

TEST_F(Policy, AnAbortOfNothingDoesNothing) {
  attach_settled();
  fs->abort_callers();
  EXPECT_EQ(counters().refused.load(), 0u);
  core->answer(offered(fuse_request::getattr(5, 2)), attr_of(5));
  run();
  EXPECT_EQ(error_of(2), 0);
}

// ---- drain --------------------------------------------------------------------------------------

TEST_F(Policy, WhileDrainingNothingIsReadOrOffered) {
  attach_settled();
  const std::uint32_t i = offered(fuse_request::mkdir(1, 2, "d"));
  fs->drain();
  EXPECT_EQ(arenas.fs->pulse.draining.load(), 1u);
  kernel.submit(fuse_request::getattr(5, 4));
  run();
  EXPECT_EQ(kernel.unread(), 1u);
  EXPECT_FALSE(fs->drained()) << "the core has an op";
  core->answer(i, entry_of(77));
  run();
  EXPECT_TRUE(fs->drained());
  EXPECT_EQ(error_of(2), 0);
  fs->resume();
  EXPECT_FALSE(fs->drained());
  run();
  EXPECT_TRUE(core->take_kernel_op().has_value());
  EXPECT_EQ(arenas.fs->pulse.draining.load(), 0u);
}

TEST_F(Policy, ANewCoreEndsTheDrain) {
  attach_settled();
  fs->drain();
  kernel.submit(fuse_request::getattr(5, 2));
  run();
  EXPECT_TRUE(fs->drained());
  lose();
  EXPECT_TRUE(fs->drained());
  attach();
  run();
  EXPECT_TRUE(core->take_kernel_op().has_value());
}

TEST_F(Policy, ANewFrontEndEndsTheDrain) {
  attach_settled();
  fs->drain();
  kernel.submit(fuse_request::getattr(5, 2));
  restart();
  attach();
  run();
  EXPECT_TRUE(core->take_kernel_op().has_value());
}

}  // namespace
}  // namespace tangelo
