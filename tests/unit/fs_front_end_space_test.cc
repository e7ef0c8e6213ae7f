// front_end: room, holes, copies, appends, files without a name, and directories that are removed
// while somebody stands in them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fs/fuse_abi.h"
#include "protocol/data_ops.h"
#include "tests/unit/front_end_fixture.h"

namespace tangelo {
namespace {

class FrontEndSpace : public testing::Test, protected front_end_world {
 protected:
  FrontEndSpace() { attach_settled(); }
  std::uint32_t offered(const fuse_request& r) {
    kernel.submit(r);
    run();
    const std::optional<std::uint32_t> index = core->take_kernel_op();
    EXPECT_TRUE(index.has_value());
    return index.value_or(0);
  }
  std::uint64_t next() { return unique_ += 2; }
  fake_kernel::answer answered() {
    const auto a = kernel.answer_to(unique_);
    EXPECT_TRUE(a.has_value());
    return a.value_or(fake_kernel::answer{});
  }
  fuse_request append(std::uint64_t offset, std::uint32_t flags, std::uint32_t write_flags = 0) {
    const std::vector<std::byte> data(100, std::byte{7});
    fuse_write_in in{};
    in.fh = 9;
    in.offset = offset;
    in.size = 100;
    in.flags = flags;
    in.write_flags = write_flags;
    return fuse_request(FUSE_WRITE, 5, next()).add(in).raw(data);
  }
  std::uint64_t unique_ = 0;
};

TEST_F(FrontEndSpace, FallocateAndSeekGoToTheServerAsTheyAre) {
  fuse_fallocate_in in{};
  in.fh = 9, in.offset = 10, in.length = 20, in.mode = 3;
  std::uint32_t i = offered(fuse_request(FUSE_FALLOCATE, 5, next()).add(in));
  const auto space = core->body<space_call>(i);
  EXPECT_EQ(core->op(i).op, opcode::fallocate);
  EXPECT_EQ(space.inode, 5u);
  EXPECT_EQ(space.handle, 9u);
  EXPECT_EQ(space.offset, 10u);
  EXPECT_EQ(space.size, 20u);
  EXPECT_EQ(space.mode, 3u);
  core->answer(i, empty_answer{});
  run();
  EXPECT_EQ(answered().error, 0);

  fuse_lseek_in at{};
  at.fh = 9, at.offset = 77, at.whence = SEEK_HOLE;
  i = offered(fuse_request(FUSE_LSEEK, 5, next()).add(at));
  EXPECT_EQ(core->body<seek_call>(i).offset, 77u);
  EXPECT_EQ(core->body<seek_call>(i).hole, 1u);
  core->answer(i, seek_answer{4096});
  run();
  EXPECT_EQ(answered().as<fuse_lseek_out>().offset, 4096u);
  at.whence = SEEK_SET;
  kernel.submit(fuse_request(FUSE_LSEEK, 5, next()).add(at));
  run();
  EXPECT_EQ(answered().error, EINVAL);
}

TEST_F(FrontEndSpace, ACopyIsAnsweredInTheFormItWasAskedIn) {
  fuse_copy_file_range_in in{};
  in.fh_in = 9, in.off_in = 1, in.nodeid_out = 6, in.fh_out = 10, in.off_out = 2;
  in.len = std::uint64_t{5} << 30;
  const std::uint32_t short_form = FUSE_COPY_FILE_RANGE;
  for (const std::uint32_t form : {short_form, fuse_opcode_copy_range_64}) {
    const std::uint32_t i = offered(fuse_request(form, 5, next()).add(in));
    const auto copy = core->body<copy_call>(i);
    EXPECT_EQ(copy.inode, 5u);
    EXPECT_EQ(copy.to_inode, 6u);
    EXPECT_EQ(copy.to_handle, 10u);
    EXPECT_EQ(core->op(i).inode, 6u) << "which changes";
    EXPECT_LE(copy.size, std::uint64_t{UINT32_MAX});
    core->answer(i, copy_answer{1000});
    run();
    if (form == FUSE_COPY_FILE_RANGE)
      EXPECT_EQ(answered().as<fuse_write_out>().size, 1000u);
    else
      EXPECT_EQ(answered().as<std::uint64_t>(), 1000u);
  }
}

TEST_F(FrontEndSpace, TheServerChoosesWhereAnAppendGoes) {
  std::uint32_t i = offered(append(10, O_WRONLY | O_APPEND));
  EXPECT_EQ(core->body<write_call>(i).flags, write_flag::append);
  // All of the file: another write waits, wherever it goes.
  kernel.submit(append(1 << 20, O_RDWR));
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value());
  core->answer(i, write_answer{100, 500, 0, {}});
  run();
  i = core->take_kernel_op().value();
  EXPECT_EQ(core->body<write_call>(i).flags, 0u);
  core->answer(i, write_answer{100, 1 << 20, 0, {}});
  run();
  i = offered(append(10, O_RDWR | O_APPEND, FUSE_WRITE_CACHE));
  EXPECT_EQ(core->body<write_call>(i).flags, write_flag::of_pages) << "it goes where it is from";
}

TEST_F(FrontEndSpace, PagesWithAnAppendInTheWrongPlaceAreDropped) {
  std::uint32_t i = offered(append(10, O_RDWR | O_APPEND));
  core->answer(i, write_answer{100, 10, 0, {}});
  run();
  EXPECT_TRUE(kernel.dropped().empty());
  i = offered(append(110, O_RDWR | O_APPEND));
  core->answer(i, write_answer{100, 500, 0, {}});
  run();
  EXPECT_EQ(kernel.dropped(), (std::vector<std::uint64_t>{5}));
}

TEST_F(FrontEndSpace, AFileThatIsOnlyAppendedToGoesPastTheKernelsPages) {
  for (const int flags : {O_WRONLY, O_WRONLY | O_APPEND, O_RDWR | O_APPEND}) {
    const std::uint32_t i =
        offered(fuse_request::open(5, next(), static_cast<std::uint32_t>(flags)));
    core->answer(i, attr_of(5));
    run();
    const bool direct = (answered().as<fuse_open_out>().open_flags & FOPEN_DIRECT_IO) != 0;
    EXPECT_EQ(direct, (flags & O_APPEND) != 0) << flags;
  }
}

TEST_F(FrontEndSpace, AFileWithoutANameIsMadeWithItsHandle) {
  fuse_create_in in{};
  in.flags = O_RDWR;
  in.mode = 0100600;
  const std::uint32_t i = offered(fuse_request(fuse_opcode_tmpfile, 1, next()).add(in).name("/"));
  const auto made = core->body<make_call>(i);
  EXPECT_EQ(core->op(i).op, opcode::tmpfile);
  EXPECT_NE(made.inode, 0u);
  EXPECT_NE(made.handle, 0u);
  EXPECT_EQ(made.parent, 1u);
  core->answer(i, entry_of(made.inode));
  run();
  fuse_open_out out{};
  std::memcpy(&out, answered().body.data() + sizeof(fuse_entry_out), sizeof out);
  EXPECT_EQ(out.fh, made.handle);
  EXPECT_EQ(arenas.fs->handles[made.handle & 0xffff].cells[0].index, made.handle & 0xffff);
}

// As the server answers: the time is behind it.
struct kept_answer {
  removed_answer kept;
  std::int64_t time = 0;
  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.kept), v(s.time);
  }
};
struct gone_answer {
  std::int64_t time = 0;
  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.time);
  }
};

class Removed : public FrontEndSpace {
 protected:
  std::uint64_t handle_of(const fuse_request& r, std::uint64_t removed) {
    const std::uint32_t i = offered(r);
    const bool renames = core->op(i).op == opcode::rename;
    const std::uint64_t handle =
        renames ? core->body<replace_call>(i).handle : core->body<remove_call>(i).handle;
    if (removed != 0)
      core->answer(i, kept_answer{{removed}, 1});
    else
      core->answer(i, gone_answer{1});
    run();
    EXPECT_EQ(answered().error, 0);
    return handle;
  }
  void forget(std::uint64_t node) {
    kernel.submit(fuse_request(FUSE_FORGET, node, next()).add(fuse_forget_in{1}));
    run();
  }
  void expect_release(std::uint64_t node, std::uint64_t handle) {
    const std::optional<std::uint32_t> i = core->take_kernel_op();
    ASSERT_TRUE(i.has_value());
    EXPECT_EQ(core->op(*i).op, opcode::release);
    EXPECT_EQ(core->body<open_call>(*i).inode, node);
    EXPECT_EQ(core->body<open_call>(*i).handle, handle);
    core->answer(*i, empty_answer{});
    run();
  }
};

TEST_F(Removed, ADirectoryIsKeptUntilTheKernelForgetsIt) {
  const std::uint64_t h = handle_of(fuse_request::named(FUSE_RMDIR, 1, next(), "d"), 300);
  ASSERT_NE(h, 0u);
  forget(299);
  EXPECT_FALSE(core->take_kernel_op().has_value());
  forget(300);
  expect_release(300, h);
  forget(300);
  EXPECT_FALSE(core->take_kernel_op().has_value()) << "once";
}

TEST_F(Removed, SoIsOneThatARenameReplaced) {
  fuse_rename2_in in{};
  in.newdir = 1;
  const auto rename = [&] {
    return fuse_request(FUSE_RENAME2, 1, next()).add(in).name("a").name("b");
  };
  const std::uint64_t h = handle_of(rename(), 300);
  ASSERT_NE(h, 0u);
  in.flags = 2;
  EXPECT_EQ(handle_of(rename(), 0), 0u) << "an exchange removes nothing";
  forget(300);
  expect_release(300, h);
}

TEST_F(Removed, SoIsAFifoButNoFile) {
  const std::uint64_t h = handle_of(fuse_request::named(FUSE_UNLINK, 1, next(), "fifo"), 300);
  ASSERT_NE(h, 0u);
  EXPECT_EQ(handle_of(fuse_request::named(FUSE_UNLINK, 1, next(), "file"), 0), h + 1)
      << "offered, and taken back";
  forget(301);
  EXPECT_FALSE(core->take_kernel_op().has_value());
  forget(300);
  expect_release(300, h);
}

TEST_F(Removed, ManyAreForgottenAtOnce) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> kept;
  for (std::uint64_t node = 300; node < 305; ++node)
    kept.emplace_back(node, handle_of(fuse_request::named(FUSE_RMDIR, 1, next(), "d"), node));
  fuse_request r(FUSE_BATCH_FORGET, 0, next());
  r.add(fuse_batch_forget_in{7, 0});
  r.add(fuse_forget_one{50, 1}).add(fuse_forget_one{51, 1});
  for (const auto& [node, handle] : kept) r.add(fuse_forget_one{node, 1});
  kernel.submit(r);
  run();
  for (const auto& [node, handle] : kept) expect_release(node, handle);
  EXPECT_EQ(fs->pending_count(), 0u);
}

TEST_F(Removed, TheNextFrontEndKnowsThem) {
  const std::uint64_t h = handle_of(fuse_request::named(FUSE_RMDIR, 1, next(), "d"), 300);
  restart();
  attach();
  run();
  EXPECT_FALSE(core->take_kernel_op().has_value());
  forget(300);
  expect_release(300, h);
}

TEST_F(Removed, AForgetThatDiedWithAFrontEndIsMadeUpFor) {
  const std::uint64_t h = handle_of(fuse_request::named(FUSE_RMDIR, 1, next(), "d"), 300);
  kernel.submit(fuse_request(FUSE_FORGET, 300, next()).add(fuse_forget_in{1}));
  std::vector<std::byte> head(receive_head_size), tail(1 << 20);
  EXPECT_GT(kernel.read_request(head, tail), 0);
  restart();
  attach();
  run();
  expect_release(300, h);
}

TEST_F(Removed, WhatWasNotRemovedKeepsNoHandle) {
  const std::size_t before = 0;
  std::size_t open = 0;
  const std::uint32_t i = offered(fuse_request::named(FUSE_RMDIR, 1, next(), "d"));
  core->fail(i, error_code::not_empty);
  run();
  (void)handle_of(fuse_request::named(FUSE_RMDIR, 1, next(), "e"), 0);
  for (const handle_slot& s : arenas.fs->handles)
    if (control_of(s).state != 0) ++open;
  EXPECT_EQ(open, before);
}

}  // namespace
}  // namespace tangelo
