// What is removed while somebody has it, stands in it, or is about to open it.
#include <array>

#include "protocol/open_flags.h"
#include "protocol/data_ops.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class RemovedVolume : public volume_fixture {
 protected:
  error_code status_of(std::uint64_t inode) {
    return call(opcode::getattr, inode_call{{}, inode, 0, 0})->status;
  }
  call_ptr rmdir(std::string_view name, std::uint64_t handle) {
    return call(opcode::rmdir, remove_call{{}, root_inode, name, handle});
  }
  void release(std::uint64_t inode, std::uint64_t handle) {
    EXPECT_EQ(call(opcode::release, open_call{{}, inode, handle, 0})->status, error_code::ok);
    settle();
  }
};

TEST_F(RemovedVolume, ADirectoryIsKeptUnderTheHandleItWasRemovedWith) {
  const std::uint64_t d = mkdir(root_inode, "d");
  const call_ptr c = rmdir("d", 77);
  EXPECT_EQ(removed_inode(c->answer), d);
  EXPECT_EQ(stat(d).link_count, 0u);
  EXPECT_EQ(lookup(d, "x")->status, error_code::no_entry);
  EXPECT_EQ(call(opcode::mkdir, made(d, "x", 0755))->status, error_code::stale);
  EXPECT_EQ(call(opcode::rmdir, remove_call{{}, d, "x", 0})->status, error_code::no_entry);
  release(d, 77);
  EXPECT_EQ(status_of(d), error_code::stale);
}

TEST_F(RemovedVolume, WithoutAHandleItIsGone) {
  const std::uint64_t d = mkdir(root_inode, "d");
  const call_ptr c = call(opcode::rmdir, name_call{{}, root_inode, "d"});
  EXPECT_EQ(removed_inode(c->answer), 0u);
  EXPECT_EQ(status_of(d), error_code::stale);
}

TEST_F(RemovedVolume, ARenameThatReplacesADirectoryKeepsItToo) {
  const std::uint64_t a = mkdir(root_inode, "a"), b = mkdir(root_inode, "b");
  const auto rename = [&](std::string_view from, std::string_view to, std::uint64_t handle) {
    return call(opcode::rename, replace_call{{{}, root_inode, root_inode, 0, from, to}, handle});
  };
  EXPECT_EQ(removed_inode(rename("a", "b", 77)->answer), b);
  EXPECT_EQ(find(root_inode, "b"), a);
  EXPECT_EQ(stat(b).link_count, 0u);
  release(b, 77);
  EXPECT_EQ(status_of(b), error_code::stale);
  const std::uint64_t f = create(root_inode, "f"), g = create(root_inode, "g");
  EXPECT_EQ(removed_inode(rename("f", "g", 78)->answer), 0u) << "a file has its own handles";
  EXPECT_EQ(status_of(g), error_code::stale);
  EXPECT_EQ(find(root_inode, "g"), f);
}

TEST_F(RemovedVolume, SoIsWhatTheKernelOpensByItself) {
  const auto make = [&](std::string_view name, std::uint32_t mode) {
    EXPECT_EQ(call(opcode::mknod, made(root_inode, name, mode))->status, error_code::ok);
    return find(root_inode, name);
  };
  const auto unlink = [&](std::string_view name, std::uint64_t handle) {
    return call(opcode::unlink, remove_call{{}, root_inode, name, handle});
  };
  std::uint64_t handle = 77;
  for (const mode_t type : std::array<mode_t, 4>{S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK}) {
    const std::uint64_t node = make("node", type | 0600U);
    EXPECT_EQ(removed_inode(unlink("node", ++handle)->answer), node);
    EXPECT_EQ(stat(node).link_count, 0u);
    release(node, handle);
    EXPECT_EQ(status_of(node), error_code::stale);
  }
  const std::uint64_t fifo = make("fifo", S_IFIFO | 0600);
  create(root_inode, "f");
  const replace_call over{{{}, root_inode, root_inode, 0, "f", "fifo"}, ++handle};
  EXPECT_EQ(removed_inode(call(opcode::rename, over)->answer), fifo);
  release(fifo, handle);
  EXPECT_EQ(removed_inode(unlink("fifo", ++handle)->answer), 0u) << "a file has its own handles";
  EXPECT_EQ(call(opcode::link, link_call{{}, make("a", S_IFIFO | 0600), root_inode, "b"})->status,
            error_code::ok);
  EXPECT_EQ(removed_inode(unlink("a", ++handle)->answer), 0u) << "it has another name";
}

TEST_F(RemovedVolume, ItLivesThroughARestartWhenItsHandleIsClaimed) {
  std::optional<error_code> awaited;
  volume_->set_awaited(alice_, true, [&awaited](error_code e) { awaited = e; });
  settle();
  const std::uint64_t d = mkdir(root_inode, "d"), e = mkdir(root_inode, "e");
  rmdir("d", 77);
  early_ = true;
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr c = begin(alice_, opcode::rmdir, remove_call{{}, root_inode, "e", 78});
  time_.advance(ns_per_ms);
  ASSERT_TRUE(c->completed);
  power_cut();
  replay(*c);
  EXPECT_EQ(call(opcode::reclaim_open, open_call{{}, d, 77, 0})->status, error_code::ok);
  EXPECT_EQ(call(opcode::reclaim_open, open_call{{}, e, 78, 0})->status, error_code::ok);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(stat(d).link_count, 0u);
  EXPECT_EQ(stat(e).link_count, 0u);
  release(d, 77);
  EXPECT_EQ(status_of(d), error_code::stale);
}

// A reader on another mount found the name, and the file is replaced before it has opened it.
TEST_F(RemovedVolume, WhatAnotherClientFoundCanBeOpenedForAMoment) {
  remember(bob_);
  const std::uint64_t f = create(root_inode, "f"), g = create(root_inode, "g");
  const call_ptr found = begin(bob_, opcode::lookup, name_call{{}, root_inode, "f"});
  settle();
  ASSERT_EQ(found->status, error_code::ok);
  EXPECT_EQ(rename(root_inode, "g", root_inode, "f"), error_code::ok);
  EXPECT_EQ(open(bob_, f, 5), error_code::stale) << "by a name from before";
  const call_ptr again = begin(bob_, opcode::open, open_call{{}, f, 5, open_again});
  settle();
  EXPECT_EQ(again->status, error_code::ok);
  EXPECT_EQ(open(bob_, f, 5), error_code::ok) << "it is open already";
  time_.advance(3 * ns_per_s);
  EXPECT_EQ(stat(f).link_count, 0u) << "it is open now";
  const call_ptr closed = begin(bob_, opcode::release, open_call{{}, f, 5, 0});
  settle();
  EXPECT_EQ(status_of(f), error_code::stale);
  // Not opened it goes; and what nobody else looked up goes at once.
  EXPECT_EQ(begin(bob_, opcode::lookup, name_call{{}, root_inode, "f"})->client, bob_);
  settle();
  EXPECT_EQ(unlink(root_inode, "f"), error_code::ok);
  EXPECT_EQ(stat(g).link_count, 0u);
  time_.advance(3 * ns_per_s);
  EXPECT_EQ(status_of(g), error_code::stale);
  const std::uint64_t h = create(root_inode, "h");
  EXPECT_EQ(find(root_inode, "h"), h);
  EXPECT_EQ(unlink(root_inode, "h"), error_code::ok);
  EXPECT_EQ(status_of(h), error_code::stale);
}

TEST_F(RemovedVolume, AFileOfHolesAloneHasNoBlocks) {
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(truncate(f, 10 << 20), error_code::ok);
  EXPECT_EQ(stat(f).blocks, 0u);
  EXPECT_EQ(truncate(f, 100), error_code::ok);
  EXPECT_EQ(stat(f).blocks, 0u);
  write(f, 5, "x");
  EXPECT_EQ(stat(f).blocks, 8u);
  EXPECT_EQ(truncate(f, 0), error_code::ok);
  EXPECT_EQ(stat(f).blocks, 0u);
}

}  // namespace
}  // namespace tangelo::testing_volume
