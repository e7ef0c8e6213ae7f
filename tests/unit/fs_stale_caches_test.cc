// front_end: the kernel drops what it has cached when the lease ends, and never waits for us.
#include <fcntl.h>

#include "tests/unit/async_fixture.h"

namespace tangelo {
namespace {

using inodes = std::vector<std::uint64_t>;

class Caches : public async_test {
 protected:
  ~Caches() override { EXPECT_EQ(kernel.stuck(), 0u) << "it waits for a page that waits for us"; }
  void let_lease_end() {
    arenas.shared->core.lease_until_ns.store(time.now_ns() + ns_per_s);
    run();
    time.advance(ns_per_s);
    run();
  }
  bool is_done() const {
    const invalidation_record& r = arenas.fs->invalidation;
    return r.done.load() == r.wanted.load();
  }
};

TEST_F(Caches, NothingIsValidBeyondTheLeaseAndItsEndDropsCachesOnce) {
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
  EXPECT_TRUE(kernel.is_dropping());
  EXPECT_EQ(arenas.fs->invalidation.done.load(), 0u);
  kernel.drop_slowly(false);
  run();
  EXPECT_EQ(kernel.dropped(), (std::vector<std::uint64_t>{5}));
  EXPECT_EQ(arenas.fs->invalidation.done.load(), 1u);
  run();
  EXPECT_EQ(kernel.dropped().size(), 1u);
}

TEST_F(Caches, OfAttributesAreForgottenWhenAFileIsOpenedThatAnotherHasChanged) {
  (void)open_file(5, 2);
  EXPECT_EQ(kernel.forgotten(), 5u) << "nobody knows what the kernel has of it";
  core->answer(offered(fuse_request::getattr(5, 4)), attr_of(5));
  run();
  const std::size_t before = kernel.forgotten_count();
  (void)open_file(5, 6);
  EXPECT_EQ(kernel.forgotten_count(), before) << "it has been told, and nothing changed";
  attr_answer changed = attr_of(5);
  ++changed.attr.change;
  core->answer(offered(fuse_request::open(5, 8, 0)), changed);
  run();
  EXPECT_EQ(kernel.forgotten_count(), before + 1);
}

TEST_F(Caches, OfAFileWithADataOpUnderWayAreDroppedWhenThatHasEnded) {
  const std::uint64_t busy = open_file(5, 2);
  (void)open_file(6, 4);
  for (const std::uint32_t opcode : {FUSE_WRITE, FUSE_READ, FUSE_FSYNC}) {
    const std::uint64_t id = 100 + opcode * 4;
    const std::uint32_t i = offered(
        opcode == FUSE_WRITE ? fuse_request::write(5, id, busy, 0, std::vector<std::byte>(10))
        : opcode == FUSE_READ ? fuse_request::read(5, id, busy, 0, 4096)
                              : fsync_of(5, id, busy));
    const std::size_t before = kernel.dropped().size();
    let_lease_end();
    EXPECT_EQ(kernel.dropped().size(), before + 1);
    EXPECT_EQ(kernel.dropped().back(), 6u);
    EXPECT_FALSE(is_done());
    core->fail(i, error_code::io);
    run();
    EXPECT_EQ(kernel.dropped().back(), 5u);
    EXPECT_TRUE(is_done());
  }
}

TEST_F(Caches, AFileThatBecomesBusyIsTakenOutOfTheBatch) {
  const std::uint64_t handle = open_file(5, 2);
  (void)open_file(6, 4);
  kernel.drop_slowly(true);
  let_lease_end();
  const std::uint32_t i = offered(fuse_request::read(5, 6, handle, 0, 4096));
  kernel.drop_slowly(false);
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6}));
  EXPECT_FALSE(is_done());
  core->fail(i, error_code::io);
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6, 5}));
  EXPECT_TRUE(is_done());
}

TEST_F(Caches, NothingIsDroppedWhileRequestsAreNotRead) {
  (void)open_file(5, 2);
  fs->drain();
  let_lease_end();
  EXPECT_TRUE(kernel.dropped().empty());
  fs->resume();
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{5}));
}

// The kernel writes changed pages back before it drops them, and waits for that.
TEST_F(Caches, OfAFileThatCanBeMappedForWritingAreDroppedWhenTheServerIsBack) {
  (void)open_file(5, 2, O_RDWR);
  (void)open_file(5, 4, O_RDONLY);
  (void)open_file(6, 6, O_WRONLY);
  let_lease_end();
  EXPECT_EQ(kernel.dropped(), (inodes{6}));
  arenas.shared->core.lease_until_ns.store(time.now_ns() + ns_per_s);
  arenas.shared->core.path_up.store(0);
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6}));
  arenas.shared->core.path_up.store(1);
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6, 5}));
  EXPECT_TRUE(is_done());
}

TEST_F(Caches, ManyFilesAreDroppedABatchAtATimeAndAnewForEachReason) {
  const std::uint64_t count = 3 * drop_batch_max + 1;
  for (std::uint64_t n = 0; n < count; ++n) (void)open_file(100 + n, 2 + 2 * n);
  kernel.drop_slowly(true);
  let_lease_end();
  publish_eviction(1, 0);
  run();
  EXPECT_EQ(arenas.fs->invalidation.wanted.load(), 2u);
  for (int batch = 0; batch < 5; ++batch) {
    EXPECT_FALSE(is_done());
    kernel.drop_slowly(false);
    kernel.drop_slowly(true);
    run();
  }
  EXPECT_TRUE(is_done());
  inodes all(kernel.dropped().begin() + drop_batch_max, kernel.dropped().end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), count);
  EXPECT_EQ(all.front(), 100u);
  EXPECT_EQ(all.back(), 100u + count - 1);
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

TEST_F(Caches, ASuccessorKnowsWhichFilesAreBusyAndDropsAllAgain) {
  const std::uint64_t handle = open_file(5, 2);
  (void)open_file(6, 4);
  (void)offered(fuse_request::read(5, 6, handle, 0, 4096));
  let_lease_end();
  EXPECT_EQ(kernel.dropped(), (inodes{6}));
  restart();
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6, 6}));
  attach();
  run();
  core->fail(core->take_kernel_op().value(), error_code::io);
  run();
  EXPECT_EQ(kernel.dropped(), (inodes{6, 6, 5}));
  EXPECT_TRUE(is_done());
}

}  // namespace
}  // namespace tangelo
