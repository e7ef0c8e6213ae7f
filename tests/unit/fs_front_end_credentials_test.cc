// front_end: a caller that changes its groups or powers, not its uid or gid, shortly before a call.
//
// A process executes a program that has cap_dac_override, or calls capset() or setgroups(). Its
// kernel lets it pass by what it is now; the server was told what it had been up to a second ago,
// and said EACCES, or took setgid away.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class Changed : public testing::Test, protected front_end_world {
 protected:
  Changed() {
    callers.others = credential{0, 0, 1, 0, {5}};
    attach_settled();
    // The caller is known.
    core->answer(offered(fuse_request::named(FUSE_LOOKUP, 1, 2, "name")), entry_of(5));
    run();
    EXPECT_EQ(callers.looks, 1);
    pass();
  }
  ~Changed() override { EXPECT_EQ(kernel.repeated(), 0u) << "something was answered twice"; }
  void pass() { time.advance(1'000'000); }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    return core->take_kernel_op().value();
  }
  // It has another group and a power from here on.
  void change() { callers.others = credential{0, 0, 2, power::dac_override, {5, 6}}; }
  void refuse(std::uint32_t index, error_code e = error_code::access_denied) {
    core->fail(index, e);
    pass();
    run();
  }
  int error_of(std::uint64_t unique) const {
    const auto a = kernel.answer_to(unique);
    return a ? a->error : -1;
  }
  std::uint32_t sequence(std::uint32_t index) const {
    return control_of(arenas.fs->ops[index]).sequence;
  }
};

TEST_F(Changed, WhatIsRefusedToWhoItWasIsAskedOnceMoreAsANewOp) {
  for (const error_code e : {error_code::access_denied, error_code::not_permitted}) {
    callers.others = credential{0, 0, 1, 0, {5}};
    time.advance(2 * ns_per_s);
    const std::uint64_t unique = e == error_code::access_denied ? 10 : 20;
    core->answer(offered(fuse_request::named(FUSE_LOOKUP, 1, unique, "name")), entry_of(5));
    run();
    pass();
    change();
    const std::uint32_t i = offered(fuse_request::open(5, unique + 2, O_RDONLY));
    const op_cell first = core->op(i);
    EXPECT_EQ(core->body<open_call>(i).who.group_count, 1);
    refuse(i, e);
    EXPECT_EQ(kernel.answer_to(unique + 2), std::nullopt);
    ASSERT_EQ(core->take_kernel_op(), i);
    EXPECT_EQ(sequence(i), first.slot_seq + 1);
    EXPECT_EQ(core->op(i).slot_seq, first.slot_seq + 1);
    EXPECT_GT(core->op(i).xid, first.xid);
    EXPECT_EQ(core->attempts(i), 1u) << "to the server it is no repetition";
    const auto again = core->body<open_call>(i);
    EXPECT_EQ(again.who.uid, 1000u);
    EXPECT_EQ(again.who.group_count, 2);
    EXPECT_EQ(again.who.groups[1], 6u);
    EXPECT_EQ(again.who.powers, power::dac_override);
    EXPECT_EQ(again.inode, 5u);
    EXPECT_EQ(again.handle, core->op(i).handle);
    EXPECT_EQ(again.handle, first.handle);
    core->answer(i, attr_of(5));
    run();
    EXPECT_EQ(error_of(unique + 2), 0);
    EXPECT_EQ(fs->pending_count(), 0u);
  }
}

TEST_F(Changed, WhatIsRefusedAgainIsRefused) {
  change();
  const std::uint32_t i = offered(fuse_request::open(5, 12, O_RDONLY));
  refuse(i);
  ASSERT_EQ(core->take_kernel_op(), i);
  callers.others = credential{};  // and once more another one
  refuse(i);
  EXPECT_EQ(error_of(12), EACCES);
  EXPECT_EQ(core->take_kernel_op(), std::nullopt);
  EXPECT_EQ(fs->pending_count(), 0u);
  // Another request in its slot begins anew.
  const std::uint32_t j = offered(fuse_request::open(5, 14, O_RDONLY));
  EXPECT_EQ(j, i);
  refuse(j);
  EXPECT_EQ(core->take_kernel_op(), j);
}

TEST_F(Changed, WhoHasNotChangedOrIsGoneIsRefused) {
  refuse(offered(fuse_request::open(5, 12, O_RDONLY)));
  EXPECT_EQ(error_of(12), EACCES);
  EXPECT_EQ(callers.looks, 2);
  const std::uint32_t i = offered(fuse_request::open(5, 14, O_RDONLY));
  callers.others.reset();
  refuse(i);
  EXPECT_EQ(error_of(14), EACCES);
  EXPECT_EQ(core->take_kernel_op(), std::nullopt);
}

TEST_F(Changed, WhatWasAskedForWhoItIsIsNotLookedAtAgain) {
  time.advance(2 * ns_per_s);
  const std::uint32_t i = offered(fuse_request::open(5, 12, O_RDONLY));
  EXPECT_EQ(callers.looks, 2);
  refuse(i);
  EXPECT_EQ(error_of(12), EACCES);
  EXPECT_EQ(callers.looks, 2);
}

TEST_F(Changed, OtherErrorsAndOtherCallersAreAnsweredAsBefore) {
  change();
  refuse(offered(fuse_request::open(5, 12, O_RDONLY)), error_code::stale);
  EXPECT_EQ(error_of(12), ESTALE);
  refuse(offered(fuse_request::getattr(5, 14)));
  EXPECT_EQ(error_of(14), EACCES);
  refuse(offered(fuse_request::named(FUSE_UNLINK, 1, 16, "name").by_root()));
  EXPECT_EQ(error_of(16), EACCES);
  EXPECT_EQ(callers.looks, 1);
}

TEST_F(Changed, ACallerThatWasKilledMeanwhileHasNobodyWhoAsksAgain) {
  const std::uint32_t i = offered(fuse_request::named(FUSE_UNLINK, 1, 12, "name"));
  callers.killed.insert(4321);
  kernel.interrupt(12);
  run();
  EXPECT_EQ(error_of(12), EINTR);
  change();
  refuse(i);
  EXPECT_EQ(core->take_kernel_op(), std::nullopt);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Changed, ANewFileKeepsItsNumberItsHandleAndItsName) {
  change();
  const std::uint32_t i = offered(fuse_request::create(1, 12, "new"));
  const auto first = core->body<make_call>(i);
  const std::uint64_t number = first.inode, handle = first.handle;
  EXPECT_NE(number, 0u);
  refuse(i);
  ASSERT_EQ(core->take_kernel_op(), i);
  const auto again = core->body<make_call>(i);
  EXPECT_EQ(again.inode, number);
  EXPECT_EQ(again.handle, handle);
  EXPECT_EQ(again.name, "new");
  core->answer(i, entry_of(number));
  run();
  EXPECT_EQ(error_of(12), 0);
}

// Until the record of the new op is there the old one is; then its downcall is nobody's.
TEST_F(Changed, AFrontEndThatDiesMeanwhileIsFollowedByOneThatAsks) {
  change();
  const std::uint32_t i = offered(fuse_request::named(FUSE_UNLINK, 1, 12, "name"));
  const std::uint32_t before = sequence(i);
  core->fail(i, error_code::access_denied);
  restart();  // before it has seen the refusal
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(sequence(i), before) << "the server knows it, and refuses it as before";
  refuse(i);
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(sequence(i), before + 1);
  lose();
  restart();  // while a core has the new one
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(sequence(i), before + 1);
  EXPECT_EQ(core->body<name_call>(i).who.group_count, 2);
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(error_of(12), 0);
}

TEST_F(Changed, AFrontEndThatDiesWhileTheNewOpWaitsIsFollowedByOneThatOffersIt) {
  change();
  const std::uint32_t i = offered(fuse_request::named(FUSE_UNLINK, 1, 12, "name"));
  arenas.shared->core.path_up.store(0);
  refuse(i);
  EXPECT_EQ(state(i), op_state::waiting);
  restart();
  attach();
  run();
  ASSERT_EQ(core->take_kernel_op(), i);
  EXPECT_EQ(core->attempts(i), 1u);
  EXPECT_EQ(core->body<name_call>(i).who.group_count, 2);
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(error_of(12), 0);
}

// What the server does not refuse but does in another way.
TEST_F(Changed, WhatMayTakeSetgidAwayIsAskedForWhoItIs) {
  change();
  fuse_setattr_in set{};
  set.valid = FATTR_MODE;
  set.mode = 0102755;
  const auto who_asks = [this](const fuse_request& r) {
    const op_cell& op = core->op(offered(r));
    return decode<credential>({op.body, op.body_size}).value();
  };
  EXPECT_EQ(who_asks(fuse_request::named(FUSE_LOOKUP, 1, 12, "name")).group_count, 1);
  EXPECT_EQ(who_asks(fuse_request(FUSE_SETATTR, 5, 14).add(set)).group_count, 2);
}

}  // namespace
}  // namespace tangelo
