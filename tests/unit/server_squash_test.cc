// A volume that squashes believes its clients nothing: not that they have opened what they name,
// not what they claim after a restart, not what they replay after a crash.
#include "tests/unit/server_volume_fixture.h"

namespace tangelo {
namespace {

using namespace testing_volume;

class Squash : public volume_fixture {
 protected:
  static credential user(std::uint32_t uid, std::uint8_t powers = 0) {
    return credential{uid, uid, 0, powers, {}};
  }
  std::uint64_t thing(std::string_view name, std::uint32_t uid, std::uint32_t mode,
                      bool is_directory = false) {
    const std::uint64_t inode =
        is_directory ? mkdir(root_inode, name) : create(root_inode, name);
    if (!is_directory) write(inode, 0, "secret");
    setattr_call s;
    s.inode = inode;
    s.which = set_attr::uid | set_attr::gid | set_attr::mode;
    s.uid = s.gid = uid, s.mode = mode;
    EXPECT_EQ(call(opcode::setattr, s)->status, error_code::ok);
    return inode;
  }
  void restart_with(squash_mode mode) {
    crash();
    options_.rules.squash = {mode, nobody, nobody};
    start();
    volume_->recovery_ended();
  }
  error_code read_as(const credential& who, std::uint64_t inode, std::uint64_t handle = 0) {
    return call(opcode::read, read_call{who, inode, handle, 0, 6, 0, 0}, {}, 6)->status;
  }
  error_code write_as(const credential& who, std::uint64_t inode, std::uint64_t handle = 0,
                      std::uint32_t flags = 0) {
    return call(opcode::write, write_call{who, inode, handle, 0, 6, flags}, "public")->status;
  }
  error_code open_as(const credential& who, std::uint64_t inode, std::uint64_t handle,
                     std::uint32_t flags, opcode op = opcode::open) {
    return call(op, open_call{who, inode, handle, flags})->status;
  }
  static setattr_call mode_of(const credential& who, std::uint64_t inode, std::uint32_t mode) {
    setattr_call s;
    s.who = who;
    s.inode = inode;
    s.which = set_attr::mode;
    s.mode = mode;
    return s;
  }

  static constexpr std::uint32_t nobody = 65534;
};

TEST_F(Squash, WhatWasNeverOpenedIsUsedOnlyByWhoMayOpenIt) {
  const std::uint64_t of_root = thing("of_root", 0, 0600);
  const std::uint64_t open = thing("open", 0, 0666);
  const std::uint64_t own = thing("own", nobody, 0);
  const std::uint64_t directory = thing("directory", 0, 0700, true);
  restart_with(squash_mode::all);
  for (const std::uint64_t handle : {0u, 7u}) {
    EXPECT_EQ(read_as({}, of_root, handle), error_code::access_denied);
    EXPECT_EQ(write_as({}, of_root, handle), error_code::access_denied);
    EXPECT_EQ(read_as({}, open, handle + 100), error_code::ok);
    EXPECT_EQ(write_as({}, open, handle + 100), error_code::ok);
    EXPECT_EQ(read_as({}, own, handle + 200), error_code::ok) << "whose it is";
    setattr_call cut;
    cut.inode = of_root;
    cut.handle = handle;
    cut.which = set_attr::size;
    EXPECT_EQ(call(opcode::setattr, cut)->status, error_code::access_denied);
    space_call space;
    space.inode = of_root;
    space.handle = handle;
    space.size = 4096;
    EXPECT_EQ(call(opcode::fallocate, space)->status, error_code::access_denied);
    const read_call list{user(nobody), directory, handle + 300, 0, 500, 0, 0};
    EXPECT_EQ(call(opcode::readdir, list, {}, 500)->status, error_code::access_denied);
  }
  EXPECT_EQ(stat(of_root).size, 6u);
}

TEST_F(Squash, AClaimedFileIsOpenButGivesNoRights) {
  const std::uint64_t of_root = thing("of_root", 0, 0600);
  const std::uint64_t open = thing("open", 0, 0644);
  restart_with(squash_mode::all);
  EXPECT_EQ(open_as({}, of_root, 7, O_RDWR, opcode::reclaim_open), error_code::ok);
  EXPECT_EQ(read_as({}, of_root, 7), error_code::access_denied);
  EXPECT_EQ(open_as({}, open, 8, O_RDONLY, opcode::reclaim_open), error_code::ok);
  EXPECT_EQ(read_as({}, open, 8), error_code::ok);
  EXPECT_EQ(write_as({}, open, 8), error_code::access_denied);
}

TEST_F(Squash, WhoHasOpenedAFileKeepsItWhateverBecomesOfItsMode) {
  const std::uint64_t f = thing("f", 10, 0666);
  restart_with(squash_mode::root);
  EXPECT_EQ(open_as(user(11), f, 7, O_RDWR), error_code::ok);
  EXPECT_EQ(open_as(user(11), f, 8, O_RDONLY), error_code::ok);
  EXPECT_EQ(call(opcode::setattr, mode_of(user(10), f, 0600))->status, error_code::ok);
  EXPECT_EQ(read_as(user(11), f, 7), error_code::ok);
  EXPECT_EQ(write_as(user(11), f, 7), error_code::ok);
  EXPECT_EQ(read_as(user(11), f, 8), error_code::ok);
  EXPECT_EQ(write_as(user(11), f, 8), error_code::access_denied);
  EXPECT_EQ(read_as(user(11), f, 9), error_code::access_denied);
}

TEST_F(Squash, PagesAreWrittenBySomebodyThatTheClientMaySpeakFor) {
  const std::uint64_t of_root = thing("of_root", 0, 0600);
  const std::uint64_t of_user = thing("of_user", 10, 0600);
  restart_with(squash_mode::root);
  EXPECT_EQ(write_as({}, of_user, 0, write_flag::of_pages), error_code::ok);
  EXPECT_EQ(write_as({}, of_root, 0, write_flag::of_pages), error_code::access_denied);
  restart_with(squash_mode::all);
  EXPECT_EQ(write_as({}, of_user, 0, write_flag::of_pages), error_code::access_denied);
}

TEST_F(Squash, UnknownGroupsAreAnyGroupsAndNotTheOwner) {
  const std::uint64_t of_root = thing("of_root", 0, 0600);
  const std::uint64_t of_group = thing("of_group", 0, 0040);
  restart_with(squash_mode::root);
  EXPECT_EQ(read_as(user(11, power::unknown_groups), of_root), error_code::access_denied);
  EXPECT_EQ(read_as(user(11, power::unknown_groups), of_group), error_code::ok);
}

TEST_F(Squash, AReplayIsRefusedWhatItsCallerMayNotDo) {
  const std::uint64_t of_root = thing("of_root", 0, 0600);
  const std::uint64_t own = thing("own", nobody, 0600);
  early_ = true;
  const call_ptr bad = begin(alice_, opcode::setattr, mode_of({}, of_root, 0666));
  const call_ptr good = begin(alice_, opcode::setattr, mode_of({}, own, 0666));
  time_.advance(ns_per_ms);  // answered, and not durable
  ASSERT_TRUE(bad->completed && good->completed);
  for (const squash_mode mode : {squash_mode::all, squash_mode::none}) {
    options_.rules.squash = {mode, nobody, nobody};
    power_cut();
    const bool squashes = mode == squash_mode::all;
    EXPECT_EQ(replay(*bad)->status, squashes ? error_code::not_permitted : error_code::ok);
    EXPECT_EQ(replay(*good)->status, error_code::ok);
    EXPECT_EQ(stat(of_root).mode & 0777, squashes ? 0600u : 0666u);
    EXPECT_EQ(stat(own).mode & 0777, 0666u);
  }
}

}  // namespace
}  // namespace tangelo
