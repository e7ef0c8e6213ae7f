// front_end::turn() allocates nothing: every allocation of this program is counted.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "tests/unit/front_end_fixture.h"

namespace {
std::size_t allocations = 0;
}

// GoogleTest, the fakes and everything else of this program come through here.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  std::abort();
}
[[gnu::noinline]] void* operator new[](std::size_t size) { return operator new(size); }
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace tangelo {
namespace {

class CountedTurns : public testing::Test, protected front_end_world {
 protected:
  void counted_run() {
    const std::size_t before = allocations;
    while (fs->turn()) {
    }
    in_turns_ += allocations - before;
  }
  void counted_lose() {
    const std::size_t before = allocations;
    fs->lose_core();
    in_turns_ += allocations - before;
  }
  // As a server answers that has not committed yet.
  void answer_early(std::uint32_t i, const auto& body, std::uint64_t transno) {
    downcall_cell d = core->downcall(i);
    d.body_size = static_cast<std::uint16_t>(encode(body, d.body).value());
    d.transno = transno;
    core->write(i, d);
    core->hint(i, d.slot_seq);
  }
  std::size_t in_turns_ = 0;
};

TEST_F(CountedTurns, AllocateNothingForAnyOpNorForALostCore) {
  kernel.keep_answers(false);
  std::uint64_t unique = 0;
  const std::vector<std::byte> small(100, std::byte{1});
  const std::vector<std::byte> large(1 << 20, std::byte{1});
  for (int round = 0; round < 3; ++round) {
    attach();
    for (int n = 0; n < 8; ++n) {
      kernel.submit(fuse_request::getattr(5, unique += 2));
      kernel.submit(fuse_request::named(FUSE_LOOKUP, 1, unique += 2, "name"));
      kernel.submit(fuse_request::mkdir(1, unique += 2, "dir"));
      kernel.submit(fuse_request::create(1, unique += 2, "file"));
      kernel.submit(fuse_request::open(5, unique += 2, 0));
      kernel.submit(fuse_request::open(1, unique += 2, 0, FUSE_OPENDIR));
      kernel.submit(fuse_request::read(5, unique += 2, 9, 0, 4096));
      kernel.submit(fuse_request::read(1, unique += 2, 9, 0, 4096, FUSE_READDIRPLUS));
      kernel.submit(fuse_request::write(5, unique += 2, 9, 0, small));
      kernel.submit(fuse_request::write(6, unique += 2, 9, 0, large));
      kernel.submit(fuse_request(FUSE_SYMLINK, 1, unique += 2).name("l").name("target"));
      kernel.submit(fuse_request::interrupt(unique));
      kernel.submit(fuse_request(FUSE_STATFS, 1, unique += 2));
    }
    for (int turn = 0; turn < 5; ++turn) {
      counted_run();
      for (const std::uint32_t i : core->take_all()) {
        const opcode op = core->op(i).op;
        if (op == opcode::inode_range) {
          core->grant_range(i);
        } else if (i % 3 == 0) {
          core->fail(i, error_code::no_space);
        } else if (op == opcode::mkdir || op == opcode::create) {
          core->answer(i, entry_of(core->body<make_call>(i).inode));
        } else {
          core->answer(i, attr_of(5));
        }
        if (round == 2 && i % 5 == 0) break;  // leave some for the next core
      }
    }
    counted_lose();
  }
  EXPECT_EQ(in_turns_, 0u);
  EXPECT_GT(kernel.counted(), 100u);
}

TEST_F(CountedTurns, AllocateNothingForWhatIsNotDurableYetNorForAnEvictionOrALease) {
  kernel.keep_answers(false);
  attach_settled();
  const std::vector<std::byte> small(100, std::byte{1});
  const std::vector<std::byte> large(1 << 20, std::byte{1});
  std::uint64_t unique = 0;
  std::uint64_t transno = 0;
  for (std::uint64_t round = 1; round <= 4; ++round) {
    for (std::uint64_t n = 0; n < 3 * drop_batch_max; ++n)
      kernel.submit(fuse_request::open(100 + n, unique += 2, 0));
    for (std::uint64_t n = 0; n < 8; ++n) {
      kernel.submit(fuse_request::mkdir(1, unique += 2, "dir" + std::to_string(n)));
      kernel.submit(fuse_request::write(100, unique += 2, 9, 4096 * n, small));
      kernel.submit(fuse_request::write(101, unique += 2, 9, n << 20, large));
    }
    for (counted_run(); fs->pending_count() != 0; counted_run())
      for (const std::uint32_t i : core->take_all()) {
        const opcode op = core->op(i).op;
        if (op == opcode::inode_range)
          core->grant_range(i);
        else if (op == opcode::mkdir)
          answer_early(i, entry_of(core->body<make_call>(i).inode), ++transno);
        else if (op == opcode::write)
          answer_early(i, write_answer{core->body<write_call>(i).size, 0, 0, {}}, ++transno);
        else
          core->answer(i, attr_of(core->op(i).inode));
      }
    EXPECT_GT(counters().replays_kept.load(), 20u);
    EXPECT_GT(counters().replay_bytes.load(), large.size());
    arenas.shared->core.last_committed.store(transno - 10);
    counted_run();
    EXPECT_EQ(counters().replays_kept.load(), 10u);
    if (round % 2 == 0) {
      eviction_cell e;
      e.sequence = round;
      publish(arenas.shared->core.eviction, e, 1, 0, 0);
      arenas.shared->core.last_committed.store(0);
    } else {
      arenas.shared->core.last_committed.store(transno);
      arenas.shared->core.lease_until_ns.store(time.now_ns() + 1);
      counted_run();
      time.advance(1);
    }
    counted_run();
    EXPECT_EQ(counters().replays_kept.load(), 0u);
    const invalidation_record& r = arenas.fs->invalidation;
    EXPECT_EQ(r.wanted.load(), round);
    EXPECT_EQ(r.done.load(), round);
  }
  EXPECT_EQ(in_turns_, 0u);
}

}  // namespace
}  // namespace tangelo
