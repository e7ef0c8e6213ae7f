#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Opens : public volume_fixture {};

TEST_F(Opens, KeepAnUnlinkedFileUntilTheLastRelease) {
  const std::uint64_t f = create(root_inode, "f", 5);
  EXPECT_EQ(open(alice_, f, 6), error_code::ok);
  EXPECT_EQ(open(alice_, f, 6), error_code::ok);
  EXPECT_EQ(open(alice_, create(root_inode, "other"), 6), error_code::bad_handle);
  EXPECT_EQ(open(alice_, root_inode, 7), error_code::is_directory);
  write(f, 0, std::string(10'000, 'x'));
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(stat(f).link_count, 0u);
  EXPECT_EQ(read(f, 0, 3), "xxx");
  EXPECT_EQ(call(opcode::link, link_call{{}, f, root_inode, "g"})->status, error_code::no_entry);
  EXPECT_EQ(open(alice_, f, 5, opcode::release), error_code::ok);
  EXPECT_EQ(open(alice_, f, 5, opcode::release), error_code::ok);
  EXPECT_EQ(objects_.count(), 1u);
  EXPECT_EQ(open(alice_, f, 6, opcode::release), error_code::ok);
  EXPECT_EQ(objects_.count(), 0u);
  EXPECT_EQ(open(alice_, f, 7), error_code::stale);
}

TEST_F(Opens, OrphansSurviveARestartUntilRecoveryEnds) {
  const std::uint64_t f = create(root_inode, "f", 5), g = create(root_inode, "g", 6);
  write(f, 0, std::string(10'000, 'x'));
  write(g, 0, std::string(10'000, 'y'));
  unlink(root_inode, "f");
  unlink(root_inode, "g");
  power_cut();
  EXPECT_EQ(open(alice_, f, 5, opcode::reclaim_open), error_code::ok);
  EXPECT_EQ(objects_.count(), 2u);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(read(f, 0, 3), "xxx");
  EXPECT_EQ(call(opcode::getattr, inode_call{{}, g, 0, 0})->status, error_code::stale);
  EXPECT_EQ(objects_.count(), 1u);
  EXPECT_EQ(open(alice_, f, 5, opcode::release), error_code::ok);
  EXPECT_EQ(objects_.count(), 0u);
}

// O_TMPFILE has the bit of O_DIRECTORY in it.
TEST_F(Opens, AFileWithoutANameIsReclaimedByTheFlagsItWasOpenedWith) {
  make_call m = made(root_inode, "", 0600);
  m.handle = 5;
  const std::uint64_t f = m.inode;
  ASSERT_EQ(call(opcode::tmpfile, m)->status, error_code::ok);
  write(f, 0, "without a name");
  power_cut();
  EXPECT_EQ(call(opcode::reclaim_open, open_call{{}, f, 5, O_RDWR | O_TMPFILE})->status,
            error_code::ok);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(read(f, 0, 14), "without a name");
}

// Another client may be about to open it; its owner may need what it gives back.
TEST_F(Opens, WhatAnotherClientHasLookedUpIsKeptForAMomentUnlessALimitIsNear) {
  remember(bob_);
  const auto left_of = [this](std::string_view name) {
    write(create(root_inode, name, 0), 0, std::string(10'000, 'x'));
    const call_ptr c = begin(bob_, opcode::lookup, name_call{{}, root_inode, name});
    settle();
    EXPECT_EQ(c->status, error_code::ok);
    unlink(root_inode, name);
    return objects_.count();
  };
  EXPECT_EQ(left_of("f"), 1u);
  time_.advance(3 * ns_per_s);
  settle();
  EXPECT_EQ(objects_.count(), 0u);
  const auto limit = [this](std::string_view value) {
    return call(opcode::setxattr,
                xattr_call{{}, root_inode, 0, static_cast<std::uint32_t>(value.size()),
                           "system.tangelo.quota.user.0"}, value)->status;
  };
  EXPECT_EQ(limit("bytes=100000"), error_code::ok);
  EXPECT_EQ(left_of("g"), 0u);
  EXPECT_EQ(limit("bytes=100000000 inodes=3"), error_code::ok);
  EXPECT_EQ(left_of("h"), 0u);
  EXPECT_EQ(limit("inodes=3000"), error_code::ok);
  EXPECT_EQ(left_of("i"), 1u);
}

TEST_F(Opens, WhatIsUnlinkedDuringRecoveryMayStillBeReclaimed) {
  const std::uint64_t f = create(root_inode, "f", 5);
  remember(bob_);
  power_cut();
  const call_ptr c = begin(bob_, opcode::unlink, name_call{{}, root_inode, "f"});
  settle();
  EXPECT_EQ(c->status, error_code::ok);
  EXPECT_EQ(open(alice_, f, 5, opcode::reclaim_open), error_code::ok);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(stat(f).link_count, 0u);
}

// The front end asks again for a create whose answer it never saw; the server has restarted since.
TEST_F(Opens, ACreateThatIsAnsweredFromItsRecordAfterARestartIsOpenAgain) {
  const std::uint64_t f = create(root_inode, "f", 5);
  power_cut();
  const make_call body{{}, root_inode, f, 5, 0, 0, 0, "f"};
  const call_ptr again = prepare(alice_, opcode::create, body);
  std::byte answer[answer_size_max];
  entry_answer made;
  made.attr.inode = f;
  volume_->answered_again(*again, {answer, encode(made, answer).value()});
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(stat(f).link_count, 0u);
}

TEST_F(Opens, GoWithAForgottenClient) {
  const std::uint64_t f = create(root_inode, "f", 5);
  unlink(root_inode, "f");
  forget(alice_);
  EXPECT_TRUE(volume_->load_clients().empty());
  EXPECT_EQ(volume_->status().open_handles, 0u);
  EXPECT_EQ(call(opcode::getattr, inode_call{{}, f, 0, 0})->status, error_code::stale);
  EXPECT_EQ(call(opcode::mkdir, made(root_inode, "d", 0755))->status, error_code::not_reserved);
  forget(alice_);
}

TEST_F(Opens, ANewIncarnationReplacesTheOldOne) {
  const std::uint64_t f = create(root_inode, "f", 5);
  unlink(root_inode, "f");
  remember(client_named(1, 2));
  EXPECT_EQ(call(opcode::getattr, inode_call{{}, f, 0, 0})->status, error_code::stale);
  const std::vector<client_record> clients = volume_->load_clients();
  ASSERT_EQ(clients.size(), 1u);
  EXPECT_EQ(clients[0].key.incarnation, 2u);
  EXPECT_TRUE(clients[0].replies.empty());
  forget(alice_);
  EXPECT_EQ(volume_->load_clients().size(), 1u) << "a late goodbye of the old one is nothing";
}

TEST_F(Opens, RangesSurviveARestart) {
  power_cut();
  EXPECT_EQ(call(opcode::mkdir, made(root_inode, "d", 0755))->status, error_code::ok);
  const std::uint64_t before = next_inode_;
  range(alice_);
  EXPECT_GT(next_inode_, before);
}

TEST_F(Opens, AuditCountsAnEffectThatHappensTwice) {
  options_.audit = true;
  options_.keep_reply_records = false;
  power_cut();
  call(opcode::mkdir, made(root_inode, "a", 0755));
  EXPECT_EQ(volume_->status().duplicate_effects, 0u);
  --sequence_;
  call(opcode::mkdir, made(root_inode, "b", 0755));
  EXPECT_EQ(volume_->status().duplicate_effects, 1u);
}

}  // namespace
}  // namespace tangelo::testing_volume
