#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Durability : public volume_fixture {
 protected:
  struct step_result {
    std::string what;
    call_ptr call;
  };
  // A small workload; every call is answered before the next. work_until() is the same, one event
  // of the scheduler at a time.
  std::vector<step_result> work() {
    std::vector<step_result> done;
    const auto note = [&done](std::string what, const call_ptr& c) {
      done.push_back({std::move(what), c});
    };
    const auto make = [&](std::string_view name, opcode op, std::uint64_t parent) {
      const call_ptr c = call(op, made(parent, name, 0755));
      note(std::string(name), c);
      return next_inode_ - 1;
    };
    const std::uint64_t d = make("d", opcode::mkdir, root_inode);
    const std::uint64_t f = make("f", opcode::mknod, root_inode);
    note("small", write(f, 0, std::string(100, 's')));
    note("medium", write(f, 0, std::string(10'000, 'm')));
    note("large", write(f, 10'000, std::string(100'000, 'l')));
    note("rename", call(opcode::rename, rename_call{{}, root_inode, d, 0, "f", "g"}));
    make("e", opcode::mkdir, d);
    note("rmdir", call(opcode::rmdir, name_call{{}, d, "e"}));
    return done;
  }
  bool was_answered(const std::vector<step_result>& done, std::string_view what) {
    for (const step_result& s : done)
      if (s.what == what) return s.call->completed && s.call->status == error_code::ok;
    return false;
  }
  // What must be true of the store after any crash; `done` are the answers that were given.
  std::string fault(const std::vector<step_result>& done) {
    const std::uint64_t d = find(root_inode, "d");
    const std::uint64_t f = find(root_inode, "f");
    const std::uint64_t g = d == 0 ? 0 : find(d, "g");
    const std::uint64_t e = d == 0 ? 0 : find(d, "e");
    if (was_answered(done, "d") && d == 0) return "d is lost";
    if (was_answered(done, "f") && f == 0 && g == 0) return "f is lost";
    if (f != 0 && g != 0) return "rename is half done";
    if (was_answered(done, "rename") && g == 0) return "rename is lost";
    if (was_answered(done, "rmdir") && e != 0) return "rmdir is lost";
    if (was_answered(done, "e") && !was_answered(done, "rmdir") && e == 0 && !rmdir_begun_)
      return "e is lost";
    if (stat(root_inode).link_count != (d != 0 ? 3u : 2u)) return "links of the root are wrong";
    if (d != 0 && stat(d).link_count != (e != 0 ? 3u : 2u)) return "links of d are wrong";
    const std::uint64_t file = f != 0 ? f : g;
    if (file == 0) return {};
    const std::string data = read(file, 0, 200'000);
    std::string want;
    if (was_answered(done, "small")) want = std::string(100, 's');
    if (was_answered(done, "medium")) want = std::string(10'000, 'm');
    if (was_answered(done, "large")) want += std::string(100'000, 'l');
    if (data.size() < want.size()) return "data is lost";
    // What was overwritten by a write that was not answered may be old or new, nothing else.
    for (std::size_t i = 0; i < want.size(); ++i)
      if (data[i] != want[i] && data[i] != (i < 10'000 ? 'm' : 'l')) return "data is wrong";
    for (std::size_t i = 0; i < data.size(); ++i)
      if (data[i] == '\0') return "data has a hole";
    return {};
  }

  // Cuts the power after every number of events of the scheduler; the first fault found.
  std::string cut_everywhere(bool flush) {
    for (std::size_t events = 0; events < 4000; events += 1) {
      for (const bool keep : {false, true}) {
        mem_kv saved_kv(&flushes_);
        crash();
        kv_ = mem_kv(&flushes_);
        objects_.power_cut(false);
        EXPECT_EQ(volume::format(kv_, 0, 0, 1), error_code::ok);
        start();
        remember(alice_);
        range(alice_);
        kv_.set_flush(flush);
        objects_.set_flush(flush);
        const bool finished = work_until(events);
        const std::vector<step_result> done = std::move(done_);
        crash_keeping(done);
        kv_.power_cut(keep ? 1 : 0);
        objects_.power_cut(keep);
        kv_.set_flush(true);
        objects_.set_flush(true);
        start();
        const std::string found = fault(done);
        if (!found.empty()) return found + " after " + std::to_string(events) + " events";
        if (finished) return {};
      }
    }
    ADD_FAILURE() << "the workload did not end";
    return {};
  }
  void crash_keeping(const std::vector<step_result>&) {
    volume_.reset();
    pool_.reset();
    committer_.reset();
    while (time_.run_one()) {
    }
  }

  // As work(), one event at a time: false when `events` came first.
  bool work_until(std::size_t events) {
    done_.clear();
    rmdir_begun_ = false;
    const std::uint64_t d = next_inode_, f = next_inode_ + 1, e = next_inode_ + 2;
    next_inode_ += 3;
    const auto make = [](std::uint64_t parent, std::uint64_t inode, std::string_view name) {
      make_call m;
      m.parent = parent, m.inode = inode, m.name = name, m.mode = 0755;
      return m;
    };
    const auto step = [&](std::string what, const call_ptr& c) {
      done_.push_back({std::move(what), c});
      while (!c->completed) {
        if (events == 0) return false;
        --events;
        if (!time_.run_one()) return false;
      }
      return true;
    };
    const auto data = [&](std::uint64_t offset, const std::string& bytes) {
      return begin(alice_, opcode::write,
                   write_call{{}, f, 0, offset, static_cast<std::uint32_t>(bytes.size()), 0},
                   bytes);
    };
    if (!step("d", begin(alice_, opcode::mkdir, make(root_inode, d, "d")))) return false;
    if (!step("f", begin(alice_, opcode::mknod, make(root_inode, f, "f")))) return false;
    if (!step("small", data(0, std::string(100, 's')))) return false;
    if (!step("medium", data(0, std::string(10'000, 'm')))) return false;
    if (!step("large", data(10'000, std::string(100'000, 'l')))) return false;
    if (!step("rename", begin(alice_, opcode::rename,
                              rename_call{{}, root_inode, d, 0, "f", "g"})))
      return false;
    if (!step("e", begin(alice_, opcode::mkdir, make(d, e, "e")))) return false;
    rmdir_begun_ = true;
    return step("rmdir", begin(alice_, opcode::rmdir, name_call{{}, d, "e"}));
  }

  std::vector<step_result> done_;
  bool rmdir_begun_ = false;
};

TEST_F(Durability, SurvivesAPowerCutAtEveryEvent) { EXPECT_EQ(cut_everywhere(true), ""); }

TEST_F(Durability, WithoutFlushesTheSameTestFindsTheLoss) {
  EXPECT_NE(cut_everywhere(false), "") << "negative control";
}

TEST_F(Durability, EveryPrefixOfTheLogIsConsistent) {
  remember(bob_);
  kv_.set_flush(false);  // nothing after this is durable by itself
  objects_.set_flush(false);
  const std::size_t before = kv_.unsynced();
  EXPECT_EQ(before, 0u);
  work();
  const std::size_t total = kv_.unsynced();
  EXPECT_GT(total, 7u);
  const mem_kv image = kv_;
  for (std::size_t extra = 0; extra <= total; ++extra) {
    crash();
    kv_ = image;
    kv_.power_cut(extra);
    kv_.set_flush(true);
    objects_.set_flush(true);
    start();
    const std::uint64_t d = find(root_inode, "d");
    const std::uint64_t e = d == 0 ? 0 : find(d, "e");
    EXPECT_EQ(stat(root_inode).link_count, d != 0 ? 3u : 2u);
    if (d != 0) {
      EXPECT_EQ(stat(d).link_count, e != 0 ? 3u : 2u);
    }
    EXPECT_FALSE(find(root_inode, "f") != 0 && d != 0 && find(d, "g") != 0);
    EXPECT_EQ(volume_->load_clients().size(), 2u);
  }
}

TEST_F(Durability, EveryAnswerComesAfterItsFlush) {
  log_ = &flushes_;
  flushes_.clear();
  work();
  // Before each answer of a mutation there is a metadata flush since the answer before it; before
  // that of a large write the object's flush comes first.
  std::size_t answers = 0, large = 0;
  bool metadata = false, object = false;
  for (const flush_event& e : flushes_) {
    switch (e.what) {
      case flush_event::kind::metadata: metadata = true; break;
      case flush_event::kind::object:
        object = true;
        EXPECT_FALSE(metadata) << "data first, then the log";
        break;
      case flush_event::kind::answer:
        EXPECT_TRUE(metadata);
        ++answers;
        if (object) ++large;
        metadata = object = false;
    }
  }
  EXPECT_EQ(answers, 8u);
  EXPECT_EQ(large, 1u);
}

TEST_F(Durability, EffectAndReplyRecordAreOneBatch) {
  const std::size_t before = kv_.written();
  const call_ptr c = begin(alice_, opcode::mkdir, made(root_inode, "d", 0755), {}, 0, 77);
  EXPECT_EQ(kv_.written(), before + 1);
  EXPECT_FALSE(c->completed);
  settle();
  EXPECT_EQ(kv_.written(), before + 1);
  EXPECT_EQ(volume_->last_committed(), c->answered_transno);
  power_cut();
  const std::vector<client_record> clients = volume_->load_clients();
  ASSERT_EQ(clients.size(), 1u);
  EXPECT_EQ(clients[0].key, alice_);
  EXPECT_TRUE(clients[0].awaited);
  bool found = false;
  for (const reply_record& r : clients[0].replies) {
    if (r.slot != 77) continue;
    found = true;
    EXPECT_EQ(r.slot_seq, c->slot_seq);
    EXPECT_EQ(r.xid, c->xid);
    EXPECT_EQ(r.op, opcode::mkdir);
    EXPECT_EQ(r.transno, c->answered_transno);
    EXPECT_EQ(r.status, error_code::ok);
    EXPECT_EQ(r.body, c->answer);
  }
  EXPECT_TRUE(found);
}

TEST_F(Durability, AFailedMutationLeavesNothing) {
  const std::size_t before = kv_.written();
  const call_ptr c = begin(alice_, opcode::rmdir, name_call{{}, root_inode, "none"});
  EXPECT_TRUE(c->completed);
  EXPECT_EQ(c->answered_transno, 0u);
  EXPECT_EQ(kv_.written(), before);
}

TEST_F(Durability, TransnosGrowOverRestarts) {
  const call_ptr a = call(opcode::mkdir, made(root_inode, "a", 0755));
  const std::uint64_t boot = volume_->boot_generation();
  EXPECT_EQ(a->answered_transno >> 32, boot);
  power_cut();
  EXPECT_EQ(volume_->boot_generation(), boot + 1);
  EXPECT_EQ(volume_->last_committed(), a->answered_transno);
  const call_ptr b = call(opcode::mkdir, made(root_inode, "b", 0755));
  EXPECT_EQ(b->answered_transno >> 32, boot + 1);
}

TEST_F(Durability, CallsOfOneTurnShareAFlush) {
  const std::uint64_t before = volume_->status().commits;
  std::vector<call_ptr> calls;
  for (int i = 0; i < 10; ++i) {
    const std::string name = "d" + std::to_string(i);
    calls.push_back(begin(alice_, opcode::mkdir, made(root_inode, name, 0755)));
  }
  settle();
  for (const call_ptr& c : calls) EXPECT_EQ(c->status, error_code::ok);
  EXPECT_EQ(volume_->status().commits, before + 1);
}

TEST_F(Durability, FsyncWaitsForWhatWasExecuted) {
  const std::uint64_t f = create(root_inode, "f");
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr w = begin(alice_, opcode::write, write_call{{}, f, 0, 0, 1, 0}, "x");
  const call_ptr s = begin(alice_, opcode::fsync, fsync_call{{}, f, 0, 0});
  time_.advance(10 * ns_per_ms);
  EXPECT_FALSE(w->completed);
  EXPECT_FALSE(s->completed);
  time_.advance(20 * ns_per_ms);
  EXPECT_TRUE(w->completed);
  EXPECT_TRUE(s->completed);
  EXPECT_EQ(begin(alice_, opcode::fsync, fsync_call{{}, f, 0, 0})->completed, true);
}

TEST_F(Durability, NobodyElseSeesWhatIsNotCommitted) {
  remember(bob_);
  committer_->set_delay_ns(20 * ns_per_ms);
  const call_ptr m = begin(alice_, opcode::mkdir, made(root_inode, "d", 0755));
  const call_ptr own = begin(alice_, opcode::lookup, name_call{{}, root_inode, "d"});
  const call_ptr other = begin(bob_, opcode::lookup, name_call{{}, root_inode, "d"});
  const call_ptr failed = begin(bob_, opcode::mkdir, made(root_inode, "d", 0755));
  const call_ptr unlike = begin(bob_, opcode::rmdir, name_call{{}, root_inode, "other"});
  EXPECT_TRUE(own->completed);
  EXPECT_FALSE(other->completed);
  EXPECT_FALSE(failed->completed);
  EXPECT_TRUE(unlike->completed);
  time_.advance(50 * ns_per_ms);
  EXPECT_TRUE(m->completed);
  EXPECT_EQ(other->status, error_code::ok);
  EXPECT_EQ(failed->status, error_code::exists);
}

TEST_F(Durability, ALargeWriteOutlivesOlderRedoRecords) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, std::string(8000, 'o'));                    // a redo record
  write(f, 0, std::string(100'000, 'n'));                 // none
  power_cut();
  EXPECT_EQ(read(f, 0, 200'000), std::string(100'000, 'n'));
}

TEST_F(Durability, TheCheckpointLeavesNoWorkBehind) {
  const std::uint64_t f = create(root_inode, "f");
  write(f, 0, std::string(8000, 'o'));
  EXPECT_GT(volume_->status().redo_size, 0u);
  time_.advance(6 * ns_per_s);
  EXPECT_EQ(volume_->status().redo_size, 0u);
  EXPECT_EQ(volume_->status().running, 0u);
  EXPECT_FALSE(time_.run_one()) << "idle means idle";
  power_cut();
  EXPECT_EQ(read(f, 0, 9000), std::string(8000, 'o'));
}

}  // namespace
}  // namespace tangelo::testing_volume
