// Answers that come before their commit: when the commit follows, and what must wait for it.
#include <map>
#include <set>

#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Async : public volume_fixture {
 protected:
  Async() { early_ = true; }
  call_ptr begin_write(std::uint64_t inode, std::uint64_t offset, const std::string& data) {
    const auto size = static_cast<std::uint32_t>(data.size());
    return begin(alice_, opcode::write, write_call{{}, inode, 0, offset, size, 0}, data);
  }
};

TEST_F(Async, AnswersAtOnceAndCommitsWithinTheInterval) {
  std::size_t told = 0;
  volume_->watch_commits([&told] { ++told; });
  const std::uint64_t before = volume_->status().commits;
  const call_ptr a = begin(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  EXPECT_TRUE(a->completed);
  EXPECT_EQ(a->status, error_code::ok);
  EXPECT_GT(a->answered_transno, volume_->last_committed());
  time_.advance(49 * ns_per_ms);
  const call_ptr b = begin(alice_, opcode::mkdir, made(root_inode, "b", 0755));
  EXPECT_TRUE(b->completed);
  EXPECT_EQ(volume_->status().commits, before);
  EXPECT_EQ(told, 0u);
  time_.advance(2 * ns_per_ms);
  EXPECT_EQ(volume_->status().commits, before + 1);
  EXPECT_EQ(volume_->last_committed(), b->answered_transno);
  EXPECT_EQ(told, 1u);
  EXPECT_EQ(kv_.unsynced(), 0u);
  EXPECT_FALSE(time_.run_one()) << "idle means idle";
}

TEST_F(Async, WhatIsAnsweredDuringACommitIsCommittedWithinTheInterval) {
  committer_->set_delay_ns(20 * ns_per_ms);
  begin(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  time_.advance(60 * ns_per_ms);  // the commit of a runs
  const call_ptr b = begin(alice_, opcode::mkdir, made(root_inode, "b", 0755));
  EXPECT_TRUE(b->completed);
  time_.advance(20 * ns_per_ms);
  EXPECT_LT(volume_->last_committed(), b->answered_transno);
  time_.advance(60 * ns_per_ms);
  EXPECT_EQ(volume_->last_committed(), b->answered_transno);
}

TEST_F(Async, CommitsAtOnceWhenAClientNeedsIt) {
  const call_ptr a = prepare(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  a->flags = message_flag::commit_soon;
  volume_->execute(*a);
  EXPECT_TRUE(a->completed);
  time_.advance(ns_per_ms);
  EXPECT_EQ(volume_->last_committed(), a->answered_transno);
}

TEST_F(Async, SomeAnswersWaitForTheCommit) {
  const call_ptr range = begin(alice_, opcode::inode_range, inode_range_call{{}, 10});
  early_ = false;
  const call_ptr needs = begin(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  early_ = true;
  const std::uint64_t f = create(root_inode, "f");
  const call_ptr w = begin_write(f, 0, "x");
  const call_ptr s = begin(alice_, opcode::fsync, fsync_call{{}, f, 0, 0});
  EXPECT_TRUE(w->completed);
  EXPECT_FALSE(s->completed);
  time_.advance(ns_per_ms);
  for (const call_ptr& c : {range, needs, s}) EXPECT_TRUE(c->completed);
  EXPECT_EQ(volume_->last_committed(), w->answered_transno);
}

// The object is cut after the commit, which is begun at once; until then the file is closed to
// other writers of it.
TEST_F(Async, ObjectActionsComeAfterTheCommit) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, std::string(10'000, 'x'));
  committer_->set_delay_ns(20 * ns_per_ms);
  setattr_call s;
  s.inode = f;
  s.which = set_attr::size;
  s.size = 100;
  const call_ptr cut = begin(alice_, opcode::setattr, s);
  time_.advance(0);
  EXPECT_TRUE(cut->completed);
  const call_ptr w = begin_write(f, 0, std::string(50, 'y'));
  EXPECT_FALSE(w->completed);
  time_.advance(15 * ns_per_ms);
  EXPECT_EQ(objects_.bytes_of_object(f)->size(), 10'000u);
  time_.advance(10 * ns_per_ms);
  EXPECT_EQ(objects_.bytes_of_object(f)->size(), 100u);
  EXPECT_TRUE(w->completed);
  const call_ptr gone = begin(alice_, opcode::unlink, name_call{{}, root_inode, "f"});
  EXPECT_TRUE(gone->completed);
  time_.advance(15 * ns_per_ms);
  EXPECT_EQ(objects_.count(), 1u);
  settle();
  EXPECT_EQ(objects_.count(), 0u);
}

// Large writes are in no redo record. Whenever the log becomes durable, the objects of all that is
// in it have been flushed; also of what was written while they were.
TEST_F(Async, DataIsDurableBeforeTheLog) {
  std::vector<std::uint64_t> files;
  for (int i = 0; i < 40; ++i) files.push_back(create(root_inode, "f" + std::to_string(i)));
  objects_.set_delay_ns(3 * ns_per_ms);
  committer_->set_delay_ns(7 * ns_per_ms);
  flushes_.clear();
  std::map<std::uint64_t, std::uint64_t> batches;  // number -> inode
  std::size_t held = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::uint64_t before = kv_.written();
    const call_ptr w = begin_write(files[i], 0, std::string(100'000, 'l'));
    for (int ms = 0; ms < 100 && !w->completed; ++ms) {
      EXPECT_EQ(kv_.written(), before);
      time_.advance(ns_per_ms);
      if (ms > 3) ++held;
    }
    ASSERT_TRUE(w->completed);
    EXPECT_EQ(kv_.written(), before + 1);
    batches[kv_.written()] = files[i];
  }
  settle();
  EXPECT_GT(held, 0u) << "none came while the log was closed";
  std::set<std::uint64_t> flushed;
  std::size_t commits = 0;
  for (const flush_event& e : flushes_) {
    if (e.what == flush_event::kind::object) flushed.insert(e.number);
    if (e.what != flush_event::kind::metadata) continue;
    ++commits;
    for (const auto& [number, inode] : batches)
      if (number <= e.number) {
        EXPECT_TRUE(flushed.contains(inode)) << "batch " << number << " is durable too early";
      }
  }
  EXPECT_GT(commits, 1u);
  EXPECT_EQ(flushed.size(), files.size());
}

TEST_F(Async, SmallChangesGoOnWhileTheLogIsSynced) {
  const std::uint64_t f = create(root_inode, "f"), g = create(root_inode, "g");
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr a = prepare(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  a->flags = message_flag::commit_soon;
  volume_->execute(*a);
  time_.advance(5 * ns_per_ms);
  const call_ptr small = begin_write(f, 0, std::string(10'000, 's'));
  const call_ptr large = begin_write(g, 0, std::string(100'000, 'l'));
  time_.advance(5 * ns_per_ms);
  EXPECT_TRUE(small->completed);
  EXPECT_FALSE(large->completed);
  time_.advance(15 * ns_per_ms);
  EXPECT_TRUE(large->completed);
}

TEST_F(Async, TheEndOfAVolumeCommitsWhatWasAnswered) {
  const std::uint64_t f = create(root_inode, "f");
  begin_write(f, 0, std::string(100'000, 'l'));
  time_.advance(ns_per_ms);
  bool stopped = false;
  volume_->stop([&stopped] { stopped = true; });
  settle();
  EXPECT_TRUE(stopped);
  power_cut();
  EXPECT_EQ(read(f, 0, 200'000), std::string(100'000, 'l'));
}

TEST_F(Async, EveryAnswerToAChangeEndsWithItsTime) {
  const call_ptr d = call(opcode::mkdir, made(root_inode, "d", 0755));
  EXPECT_EQ(time_of_answer(d->answer), d->answered<entry_answer>().attr.mtime_ns);
  const call_ptr x = begin(alice_, opcode::rmdir, name_call{{}, root_inode, "d"});
  EXPECT_EQ(x->answer.size(), answer_time_size);
  EXPECT_EQ(time_of_answer(x->answer), stat(root_inode).mtime_ns);
  settle();
  for (const reply_record& r : record_of(alice_).replies) EXPECT_EQ(r.body, x->answer);
}

}  // namespace
}  // namespace tangelo::testing_volume
