// Changes that were answered and are made again after a crash; the recovery window; tombstones.
#include "tests/unit/server_volume_fixture.h"

namespace tangelo::testing_volume {
namespace {

class Replay : public volume_fixture {
 protected:
  Replay() { early_ = true; }

  // The changes of a small life, all answered, 1 ms apart; none waits for a commit.
  std::vector<call_ptr> live(std::uint64_t first_inode) {
    const std::uint64_t d = first_inode, e = d + 1, f = d + 2, g = d + 3, h = d + 4, l = d + 5;
    std::vector<call_ptr> done;
    std::uint16_t slot = 0;
    const auto change = [&](opcode op, const auto& body, std::string_view in = {}) {
      done.push_back(begin(alice_, op, body, in, 0, slot++));
      for (int i = 0; i < 9 && !done.back()->completed; ++i) time_.advance(100 * ns_per_us);
      EXPECT_TRUE(done.back()->completed);
      EXPECT_EQ(done.back()->status, error_code::ok) << name_of(op) << " " << done.size();
      time_.advance(100 * ns_per_us);
    };
    const auto make = [](std::uint64_t parent, std::uint64_t inode, std::string_view name,
                         std::uint32_t flags = 0) {
      make_call m;
      m.parent = parent, m.inode = inode, m.name = name, m.mode = 0755, m.open_flags = flags;
      m.handle = inode;
      return m;
    };
    const auto bytes = [&](std::uint64_t inode, std::uint64_t offset, std::size_t size, char c,
                           std::uint32_t flags = 0) {
      const std::string data(size, c);
      change(opcode::write,
             write_call{{}, inode, 0, offset, static_cast<std::uint32_t>(size), flags}, data);
    };
    change(opcode::mkdir, make(root_inode, d, "d"));
    change(opcode::mkdir, make(d, e, "e"));
    change(opcode::create, make(d, f, "f"));
    bytes(f, 0, 1000, 'i');                       // inline
    bytes(f, 5000, 6000, 'r');                    // to an object, with a redo record
    bytes(f, 20'000, 100'000, 'l');               // without
    bytes(f, 0, 300, 'a', write_flag::append);
    change(opcode::mknod, make(root_inode, g, "g"));
    bytes(g, 0, 200'000, 'x');
    change(opcode::create, make(root_inode, h, "h"));
    change(opcode::symlink, make(d, l, "l"), "target");
    change(opcode::link, link_call{{}, g, d, "g2"});
    change(opcode::rename, rename_call{{}, d, root_inode, 0, "e", "e2"});
    change(opcode::rename, rename_call{{}, d, root_inode, 2, "f", "h"});
    change(opcode::setxattr, xattr_call{{}, g, 0, 0, "user.a"}, "one");
    change(opcode::setxattr, xattr_call{{}, g, 0, 0, "user.b"}, "two");
    change(opcode::removexattr, xattr_call{{}, g, 0, 0, "user.a"});
    setattr_call s;
    s.inode = g, s.mode = 0640;
    s.which = set_attr::mode | set_attr::atime_now | set_attr::size;
    s.size = 300'000;
    change(opcode::setattr, s);
    change(opcode::rmdir, name_call{{}, root_inode, "e2"});
    change(opcode::unlink, name_call{{}, root_inode, "g"});
    return done;
  }
  static constexpr std::size_t life_length = 20;

  // All that applications and sessions can see of the store. A reply record shows attributes as
  // they were when its change was made (again).
  std::string contents(bool with_replies = true) {
    std::string all;
    for (const column c : {column::inodes, column::dirents, column::cookies, column::xattrs,
                           column::inline_data, column::replies}) {
      if (c == column::replies && !with_replies) continue;
      (void)kv_.scan(c, {}, {}, read_mode::blocking,
                     [&all, c](std::string_view key, std::string_view value) {
                       all.append(name_of(c)).append(" ").append(key).append("=").append(value);
                       const auto inode = unpacked<inode_record>(value);
                       if (c == column::inodes && inode) all.append(std::to_string(inode->size));
                       return true;
                     });
    }
    return all;
  }
  // Every file's bytes.
  std::string data(std::uint64_t first_inode) {
    std::string all;
    for (std::uint64_t i = first_inode; i < first_inode + 6; ++i) {
      const call_ptr c =
          begin(alice_, opcode::read, read_call{{}, i, 0, 0, 400'000, 0}, {}, 400'000);
      time_.advance(ns_per_ms);
      if (c->completed && c->status == error_code::ok) all.append(c->text());
      all.append("|");
    }
    return all;
  }
  // As a client does it: what is not known to be durable is made again, in order.
  std::size_t recover(const std::vector<call_ptr>& answered) {
    const std::uint64_t kept = std::max(volume_->last_committed(),
                                        record_of(answered[0]->client).highest_transno);
    std::size_t count = 0;
    for (const call_ptr& c : answered) {
      if (c->answered_transno <= kept) continue;
      EXPECT_EQ(replay(*c)->status, error_code::ok) << name_of(c->op);
      ++count;
    }
    return count;
  }
};

TEST_F(Replay, LeavesTheSameBytesWhateverWasLost) {
  std::size_t replayed = 0;
  for (std::size_t survivors = 0; survivors <= life_length; ++survivors) {
    SCOPED_TRACE(survivors);
    crash();
    kv_ = mem_kv(&flushes_);
    objects_.power_cut(false);
    ASSERT_EQ(volume::format(kv_, 0, 0, 1), error_code::ok);
    start();
    remember(alice_);
    range(alice_);
    kv_.set_flush(false);
    objects_.set_flush(false);
    const std::vector<call_ptr> done = live(next_inode_);
    ASSERT_EQ(done.size(), life_length);
    const std::string before = contents(), bytes = data(next_inode_);
    // Of what was not synced a part survives; the objects' bytes as well, since what is in the log
    // has them flushed.
    power_cut(survivors, true);
    kv_.set_flush(true);
    objects_.set_flush(true);
    replayed += recover(done);
    volume_->recovery_ended();
    settle();
    EXPECT_TRUE(contents() == before);
    EXPECT_TRUE(data(next_inode_) == bytes);
    EXPECT_GE(volume_->last_committed(), volume_->boot_generation() << 32);
  }
  EXPECT_EQ(replayed, life_length * (life_length + 1) / 2);
}

TEST_F(Replay, ClientsMayComeInAnyOrder) {
  remember(bob_);
  const std::uint64_t d = mkdir(root_inode, "d"), f = create(d, "f");
  settle();
  range(bob_);
  const call_ptr a1 = begin(alice_, opcode::link, link_call{{}, f, d, "one"});
  const call_ptr a2 = begin(alice_, opcode::link, link_call{{}, f, root_inode, "two"});
  time_.advance(ns_per_ms);
  const call_ptr b1 = begin(bob_, opcode::mkdir, made(d, "b", 0755));
  time_.advance(ns_per_ms);
  const call_ptr a3 = begin(alice_, opcode::unlink, name_call{{}, d, "one"});
  for (const call_ptr& c : {a1, a2, b1, a3}) ASSERT_TRUE(c->completed);
  const std::string before = contents();
  power_cut();
  recover({a1, a2, a3});
  recover({b1});
  volume_->recovery_ended();
  settle();
  EXPECT_TRUE(contents() == before);
}

TEST_F(Replay, TheLastChangeKeepsItsTimeThoughItComesFirst) {
  remember(bob_);
  const std::uint64_t f = create(root_inode, "f");
  EXPECT_EQ(call(opcode::link, link_call{{}, f, root_inode, "f2"})->status, error_code::ok);
  const call_ptr a = begin(alice_, opcode::write, write_call{{}, f, 0, 0, 3, 0}, "abc");
  time_.advance(ns_per_ms);
  const call_ptr b = begin(bob_, opcode::unlink, name_call{{}, root_inode, "f2"});
  ASSERT_TRUE(a->completed && b->completed);
  const std::string before = contents(false);
  power_cut();
  recover({b});
  recover({a});
  EXPECT_TRUE(contents(false) == before);
}

// What bob replays is durable, but alice's lower transno is still to come: the mark stays, also for
// the volume's own changes and over another crash.
TEST_F(Replay, LastCommittedStandsStillWhileTheWindowIsOpen) {
  remember(bob_);
  const call_ptr a = begin(alice_, opcode::mkdir, made(root_inode, "a", 0755));
  range(alice_);
  const make_call of_alice = made(root_inode, "b", 0755);
  range(bob_);
  const call_ptr b = begin(alice_, opcode::mkdir, of_alice);
  const call_ptr c = begin(bob_, opcode::mkdir, made(root_inode, "c", 0755));
  EXPECT_GT(c->answered_transno, b->answered_transno);
  power_cut();
  const std::uint64_t base = volume_->last_committed();
  ASSERT_LT(base, b->answered_transno);
  EXPECT_EQ(base, a->answered_transno + 2) << "alice's and bob's ranges were committed";
  std::size_t told = 0;
  volume_->watch_commits([&told] { ++told; });
  recover({c});
  remember(client_named(3));
  EXPECT_EQ(kv_.unsynced(), 0u);
  EXPECT_EQ(volume_->last_committed(), base);
  EXPECT_EQ(told, 0u);
  power_cut();
  EXPECT_EQ(volume_->last_committed(), base);
  EXPECT_EQ(record_of(bob_).highest_transno, c->answered_transno);
  EXPECT_LT(record_of(alice_).highest_transno, b->answered_transno);
  EXPECT_EQ(recover({c}), 0u);
  EXPECT_EQ(recover({b}), 1u);
  EXPECT_EQ(volume_->last_committed(), base);
  volume_->watch_commits([&told] { ++told; });
  volume_->recovery_ended();
  EXPECT_EQ(volume_->last_committed(), base) << "not before it is durable";
  settle();
  EXPECT_EQ(told, 1u);
  EXPECT_GE(volume_->last_committed(), volume_->boot_generation() << 32);
  const std::uint64_t moved = volume_->last_committed();
  power_cut();
  EXPECT_EQ(volume_->last_committed(), moved);
  for (const char* name : {"a", "b", "c"}) EXPECT_NE(find(root_inode, name), 0u) << name;
}

TEST_F(Replay, WithoutAwaitedClientsThereIsNoWindow) {
  std::optional<error_code> done;
  volume_->set_awaited(alice_, false, [&done](error_code e) { done = e; });
  settle();
  EXPECT_EQ(done, error_code::ok);
  power_cut();
  EXPECT_FALSE(record_of(alice_).awaited);
  EXPECT_EQ(volume_->last_committed(), volume_->boot_generation() << 32);
  done.reset();
  volume_->set_awaited(alice_, true, [&done](error_code e) { done = e; });
  EXPECT_FALSE(done.has_value()) << "durable first";
  settle();
  EXPECT_EQ(done, error_code::ok);
  power_cut();
  EXPECT_TRUE(record_of(alice_).awaited);
  volume_->set_awaited(bob_, true, [&done](error_code e) { done = e; });
  settle();
  EXPECT_EQ(done, error_code::stale);
}

TEST_F(Replay, OpensNoHandleAndIsNotRefusedForLackOfSpace) {
  const call_ptr c = begin(alice_, opcode::create, [this] {
    make_call m = made(root_inode, "f", 0644);
    m.handle = 5;
    return m;
  }());
  const std::uint64_t f = next_inode_ - 1;
  const std::string bytes(100'000, 'x');
  const call_ptr w = begin(alice_, opcode::write, write_call{{}, f, 5, 0, 100'000, 0}, bytes);
  time_.advance(ns_per_ms);
  ASSERT_TRUE(w->completed);
  EXPECT_TRUE(volume_->has_opens(alice_));
  power_cut();
  objects_.set_space({4096, 1000, 0, 0, 1, 0});
  EXPECT_EQ(recover({c, w}), 2u);
  EXPECT_FALSE(volume_->has_opens(alice_));
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(begin(alice_, opcode::write, write_call{{}, f, 5, 0, 1, 0}, "x")->status,
            error_code::no_space);
}

// Made, opened, written and unlinked, all answered and none of it durable.
TEST_F(Replay, AnOrphanComesBackForItsHolder) {
  make_call m = made(root_inode, "f", 0644);
  m.handle = 5;
  const call_ptr made_it = begin(alice_, opcode::create, m);
  const call_ptr written =
      begin(alice_, opcode::write, write_call{{}, m.inode, 5, 0, 5'000, 0}, std::string(5000, 'o'));
  time_.advance(ns_per_ms);
  const call_ptr gone = begin(alice_, opcode::unlink, name_call{{}, root_inode, "f"});
  ASSERT_TRUE(gone->completed);
  power_cut();
  ASSERT_EQ(recover({made_it, written, gone}), 3u);
  settle();
  EXPECT_EQ(open(alice_, m.inode, 5, opcode::reclaim_open), error_code::ok);
  volume_->recovery_ended();
  settle();
  EXPECT_EQ(read(m.inode, 0, 3), "ooo");
  EXPECT_EQ(stat(m.inode).link_count, 0u);
  EXPECT_EQ(open(alice_, m.inode, 5, opcode::release), error_code::ok);
  EXPECT_EQ(objects_.count(), 0u);
}

TEST_F(Replay, ATombstoneRemembersWhatWasKept) {
  const call_ptr a = begin(alice_, opcode::mkdir, made(root_inode, "a", 0755), {}, 0, 3);
  std::optional<error_code> done;
  committer_->set_delay_ns(5 * ns_per_ms);
  volume_->forget_client(alice_, true, [&done](error_code e) { done = e; });
  time_.advance(ns_per_ms);
  EXPECT_FALSE(done.has_value());
  settle();
  EXPECT_EQ(done, error_code::ok);
  EXPECT_EQ(kv_.unsynced(), 0u) << "what the session did is committed";
  for (int life = 0; life < 2; ++life) {
    const client_record r = record_of(alice_);
    EXPECT_EQ(r.key, alice_);
    EXPECT_TRUE(r.tombstone);
    EXPECT_FALSE(r.awaited);
    EXPECT_EQ(r.highest_transno, a->answered_transno);
    EXPECT_TRUE(r.replies.empty());
    EXPECT_EQ(call(opcode::mkdir, made(root_inode, "x", 0755))->status, error_code::not_reserved);
    forget(alice_, true);  // again: nothing is forgotten
    power_cut();
    EXPECT_EQ(volume_->last_committed(), volume_->boot_generation() << 32) << "nobody is awaited";
  }
  remember(alice_);
  EXPECT_FALSE(record_of(alice_).tombstone);
  EXPECT_EQ(record_of(alice_).highest_transno, 0u);
  forget(alice_, true);
  forget(alice_);
  EXPECT_TRUE(volume_->load_clients().empty());
}

// A late call of the session that was written off leaves its record behind the tombstone.
TEST_F(Replay, ANewSessionFindsNothingOfTheOldOne) {
  forget(alice_, true);
  call(opcode::unlink, name_call{{}, root_inode, "none"});
  const call_ptr late = call(opcode::setattr, setattr_call{{}, root_inode});
  EXPECT_EQ(late->status, error_code::ok);
  remember(alice_);
  EXPECT_TRUE(record_of(alice_).replies.empty());
  remember(alice_);
  const call_ptr fresh = call(opcode::setattr, setattr_call{{}, root_inode});
  remember(alice_);
  EXPECT_EQ(record_of(alice_).replies.size(), 1u) << "of a session that goes on they stay";
}

}  // namespace
}  // namespace tangelo::testing_volume
