#include "protocol/data_ops.h"
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Copy : public volume_fixture {
 protected:
  call_ptr copy(std::uint64_t from, std::uint64_t offset, std::uint64_t to, std::uint64_t to_offset,
                std::uint64_t size) {
    return call(opcode::copy_range,
                copy_call{{}, from, 0, offset, to, 0, to_offset, size});
  }
  static std::uint64_t copied(const call_ptr& c) {
    EXPECT_EQ(c->status, error_code::ok);
    return c->answered<copy_answer>().copied;
  }
  std::uint64_t file_of(std::string_view name, std::string_view data) {
    const std::uint64_t f = create(root_inode, name);
    write(f, 0, data);
    return f;
  }
};

std::string text(std::size_t size) {
  std::string s(size, 'a');
  for (std::size_t i = 0; i < size; ++i) s[i] = static_cast<char>('a' + i % 26);
  return s;
}

TEST_F(Copy, BytesGoFromOneFileToAnother) {
  const std::string data = text(100'000);
  const std::uint64_t f = file_of("f", data), g = file_of("g", "small");
  EXPECT_EQ(copied(copy(f, 1000, g, 10, 50'000)), 50'000u);
  EXPECT_EQ(read(g, 0, 100'000), std::string("small\0\0\0\0\0", 10) + data.substr(1000, 50'000));
  EXPECT_EQ(stat(g).size, 50'010u);
  EXPECT_EQ(copied(copy(f, 90'000, g, 0, 50'000)), 10'000u) << "the source ends";
  EXPECT_EQ(copied(copy(f, 100'000, g, 0, 1)), 0u);
  EXPECT_EQ(stat(g).size, 50'010u);
  EXPECT_EQ(copied(copy(f, 0, f, 60'000, 40'000)), 40'000u) << "within one file";
  EXPECT_EQ(read(f, 60'000, 40'000), data.substr(0, 40'000));
  EXPECT_EQ(copy(f, 0, f, 10'000, 20'000)->status, error_code::invalid) << "they overlap";
  EXPECT_EQ(copy(f, 0, g, INT64_MAX, 1)->status, error_code::file_too_big);
  EXPECT_EQ(copy(f, 0, root_inode, 0, 1)->status, error_code::invalid);
}

TEST_F(Copy, SmallSourcesAreLeftToTheClient) {
  const std::uint64_t f = file_of("f", "small"), g = file_of("g", "");
  EXPECT_EQ(copy(f, 0, g, 0, 5)->status, error_code::not_supported);
}

TEST_F(Copy, HolesAreCopiedAsZeros) {
  const std::uint64_t f = file_of("f", text(10'000)), g = file_of("g", std::string(60'000, 'z'));
  truncate(f, 50'000);
  EXPECT_EQ(copied(copy(f, 0, g, 0, 50'000)), 10'000u) << "a short one, up to the hole";
  EXPECT_EQ(copied(copy(f, 10'000, g, 10'000, 50'000)), 40'000u);
  EXPECT_EQ(read(g, 0, 60'000),
            text(10'000) + std::string(40'000, '\0') + std::string(10'000, 'z'));
}

// What was answered is durable: the source may be another one when it would be made again.
TEST_F(Copy, IsNeverAnsweredBeforeItIsDurable) {
  const std::string data = text(100'000);
  const std::uint64_t f = file_of("f", data), g = file_of("g", "");
  early_ = true;
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr c = begin(alice_, opcode::copy_range,
                           copy_call{{}, f, 0, 0, g, 0, 0, 100'000});
  time_.advance(10 * ns_per_ms);
  EXPECT_FALSE(c->completed);
  settle();
  ASSERT_TRUE(c->completed);
  power_cut();
  EXPECT_EQ(read(g, 0, 200'000), data);
}

TEST_F(Copy, WhatIsAboutToBePunchedIsNotCopied) {
  early_ = true;
  const std::uint64_t f = file_of("f", text(100'000)), g = file_of("g", "");
  settle();
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr p = begin(alice_, opcode::fallocate, space_call{{}, f, 0, 0, 50'000, 3});
  time_.advance(100'000);
  ASSERT_TRUE(p->completed);
  const call_ptr c = begin(alice_, opcode::copy_range, copy_call{{}, f, 0, 0, g, 0, 0, 60'000});
  settle();
  settle();
  EXPECT_EQ(copied(c), 60'000u);
  const std::string want = std::string(50'000, '\0') + text(100'000).substr(50'000, 10'000);
  EXPECT_TRUE(read(g, 0, 60'000) == want);
}

class Nameless : public Copy {
 protected:
  std::uint64_t tmpfile(std::uint64_t handle, std::uint32_t flags = O_RDWR) {
    make_call m = made(root_inode, "", 0600);
    m.handle = handle;
    m.open_flags = flags;
    const call_ptr c = call(opcode::tmpfile, m);
    EXPECT_EQ(c->status, error_code::ok);
    last_ = c;
    return m.inode;
  }
  error_code link(std::uint64_t f, std::string_view name) {
    return call(opcode::link, link_call{{}, f, root_inode, name})->status;
  }
  void release(std::uint64_t f, std::uint64_t handle) {
    EXPECT_EQ(call(opcode::release, open_call{{}, f, handle, 0})->status, error_code::ok);
    settle();
  }
  error_code status_of(std::uint64_t f) {
    return call(opcode::getattr, inode_call{{}, f, 0, 0})->status;
  }
  call_ptr last_;
};

TEST_F(Nameless, GoesWithItsHandleUnlessItIsGivenAName) {
  const attributes root = stat(root_inode);
  const std::uint64_t f = tmpfile(77);
  EXPECT_EQ(stat(f).link_count, 0u);
  EXPECT_EQ(stat(root_inode).mtime_ns, root.mtime_ns);
  write(f, 0, "temporary");
  release(f, 77);
  EXPECT_EQ(status_of(f), error_code::stale);

  const std::uint64_t g = tmpfile(78);
  write(g, 0, "kept");
  EXPECT_EQ(link(g, "name"), error_code::ok);
  EXPECT_EQ(stat(g).link_count, 1u);
  release(g, 78);
  EXPECT_EQ(read(find(root_inode, "name"), 0, 10), "kept");
  EXPECT_EQ(open(alice_, g, 79), error_code::ok);
  EXPECT_EQ(unlink(root_inode, "name"), error_code::ok);
  EXPECT_EQ(link(g, "again"), error_code::no_entry) << "it had a name once";
  release(g, 79);
  EXPECT_EQ(status_of(g), error_code::stale);
}

TEST_F(Nameless, MadeExclusiveItNeverGetsAName) {
  const std::uint64_t f = tmpfile(77, O_RDWR | O_EXCL);
  EXPECT_EQ(link(f, "name"), error_code::no_entry);
  EXPECT_EQ(call(opcode::tmpfile, made(find(root_inode, "none"), "", 0600))->status,
            error_code::stale);
}

TEST_F(Nameless, LivesThroughARestartWhenItsHandleIsClaimed) {
  std::optional<error_code> awaited;
  volume_->set_awaited(alice_, true, [&awaited](error_code e) { awaited = e; });
  settle();
  early_ = true;
  committer_->set_delay_ns(20 * ns_per_ms);
  const std::uint64_t f = tmpfile(77), g = tmpfile(78);
  const call_ptr made_g = last_;
  settle();
  power_cut();
  EXPECT_EQ(status_of(f), error_code::ok);
  replay(*made_g);
  EXPECT_EQ(open(alice_, f, 77, opcode::reclaim_open), error_code::ok);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(status_of(f), error_code::ok);
  EXPECT_EQ(status_of(g), error_code::stale) << "nobody claimed it";
  EXPECT_EQ(link(f, "name"), error_code::ok);
}

}  // namespace
}  // namespace tangelo::testing_volume
