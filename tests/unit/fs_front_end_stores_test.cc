// front_end: killed at its stores, while changes are kept, trimmed, lost and told: no record is
// missing or there twice, and each loss is told once, to everybody who has the file open.
#include "tests/sim/store_trap.h"
#include "tests/unit/async_fixture.h"

namespace tangelo {
namespace {

enum class loss_by : std::uint8_t { eviction, refusal };

class killed_world : public async_test {
 public:
  killed_world() {
    first_ = open_file(5, 2);
    second_ = open_file(5, 4);
    other_ = open_file(6, 6);
  }
  void TestBody() override {}

  // Returns the number of stores. `fatal`: the one that kills it, from 1.
  std::uint64_t walk(loss_by way, std::uint64_t fatal) {
    sim::store_trap trap(*arenas.fs, fatal, [this] {
      kernel.freeze();
      arenas.freeze();
    });
    trap_ = &trap;
    write(5, 10);
    write(6, 11);
    arenas.shared->core.last_committed.store(10);
    serve();
    write(5, 12);
    kernel.submit(fsync_of(5, 100, first_));
    turns();
    before_loss_ = trap.count();
    if (way == loss_by::eviction) {
      publish_eviction(1, 11);
      if (core != nullptr)
        for (const std::uint32_t i : core->take_all()) core->fail(i, error_code::evicted);
    } else {
      replay_failure_cell f;
      f.sequence = 1;
      f.transno = 12;
      f.inode = 5;
      publish(arenas.shared->core.replay_failure, f, 1, 0, 0);
      serve();
      arenas.shared->core.last_committed.store(11);
    }
    serve();
    EXPECT_EQ(error_of(100), EIO) << "the fsync that was under way";
    EXPECT_EQ(flush_and_serve(5, 102, first_), 0);
    EXPECT_EQ(flush_and_serve(5, 104, second_), EIO);
    EXPECT_EQ(fsync_and_serve(5, 106, second_), EIO);
    EXPECT_EQ(fsync_and_serve(5, 108, second_), 0);
    EXPECT_EQ(flush_and_serve(6, 110, other_), 0);
    EXPECT_TRUE(records().empty());
    EXPECT_EQ(fs->pending_count(), 0u);
    trap_ = nullptr;
    return trap.count();
  }
  bool was_killed() const { return killed_; }
  std::uint64_t before_loss() const { return before_loss_; }

 private:
  void turns() {
    trap_->arm();
    run();
    trap_->disarm();
    if (!kernel.frozen()) return;
    killed_ = true;
    restart_dead();
    attach();
    run();
  }
  // As a server would that executes each change once: the same answer however often it is asked.
  void serve() {
    for (turns(); core != nullptr; turns()) {
      const std::vector<std::uint32_t> ops = core->take_all();
      if (ops.empty()) return;
      for (const std::uint32_t i : ops) answer(i);
    }
  }
  void answer(std::uint32_t i) {
    if (core->op(i).op == opcode::inode_range) return core->grant_range(i);
    if (core->op(i).op != opcode::write) return core->answer(i, empty_answer{});
    const write_call made = core->body<write_call>(i);
    write_answer a;
    a.written = made.size;
    a.attr.inode = made.inode;
    answer_early(i, a, made.offset);
  }
  void write(std::uint64_t inode, std::uint64_t transno) {
    kernel.submit(fuse_request::write(inode, 1000 + 2 * transno, inode == 5 ? first_ : other_,
                                      transno, std::vector<std::byte>(100, std::byte{1})));
    serve();
    EXPECT_EQ(error_of(1000 + 2 * transno), 0);
    const std::vector<replay_cell> kept = records();
    EXPECT_EQ(std::count_if(kept.begin(), kept.end(),
                            [transno](const replay_cell& c) { return c.transno == transno; }),
              1);
  }
  int fsync_and_serve(std::uint64_t inode, std::uint64_t id, std::uint64_t handle) {
    kernel.submit(fsync_of(inode, id, handle));
    serve();
    return error_of(id);
  }
  int flush_and_serve(std::uint64_t inode, std::uint64_t id, std::uint64_t handle) {
    fuse_flush_in in{};
    in.fh = handle;
    kernel.submit(fuse_request(FUSE_FLUSH, inode, id).add(in));
    serve();
    return error_of(id);
  }

  sim::store_trap* trap_ = nullptr;
  std::uint64_t first_ = 0;
  std::uint64_t second_ = 0;
  std::uint64_t other_ = 0;
  std::uint64_t before_loss_ = 0;
  bool killed_ = false;
};

void kill_at_every_store(loss_by way) {
  if (!sim::store_trap::is_possible()) GTEST_SKIP() << "needs x86-64";
  killed_world whole;
  const std::uint64_t count = whole.walk(way, 0);
  const std::uint64_t before_loss = whole.before_loss();
  EXPECT_GT(before_loss, 20u);
  EXPECT_GT(count, before_loss + 20);
  // Each of what is about the loss; of the rest, in which the simulator dies as well, a part.
  for (std::uint64_t n = 1; n <= count; n += n < before_loss ? 5 : 1) {
    killed_world w;
    w.walk(way, n);
    EXPECT_TRUE(w.was_killed());
    if (testing::Test::HasFailure()) FAIL() << "killed before store " << n << " of " << count;
  }
}

TEST(KilledAtEveryStore, AnEvictionIsToldOnce) { kill_at_every_store(loss_by::eviction); }

TEST(KilledAtEveryStore, ARefusedReplayIsToldOnce) { kill_at_every_store(loss_by::refusal); }

}  // namespace
}  // namespace tangelo
