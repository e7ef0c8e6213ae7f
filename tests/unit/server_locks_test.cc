// lock_table: against a table of single bytes, and the rules that Linux has for locks.
#include "server/locks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/prng.h"

namespace tangelo {
namespace {

using enum error_code;

client_key named(std::uint8_t n) {
  client_key k;
  k.client_id.fill(std::byte{n});
  k.incarnation = 1;
  return k;
}
const client_key alice = named(1), bob = named(2), carol = named(3);

lock_what posix(std::uint64_t owner, lock_type type, std::uint64_t start, std::uint64_t end,
                std::uint64_t inode = 7, std::uint64_t handle = 70) {
  return {inode, owner, handle, start, end, static_cast<std::uint32_t>(owner), lock_kind::posix,
          type};
}
lock_what flock_of(std::uint64_t owner, lock_type type) {
  return {7, owner, 70 + owner, 0, lock_end_max, 1, lock_kind::flock, type};
}
constexpr auto R = lock_type::read;
constexpr auto W = lock_type::write;
constexpr auto U = lock_type::unlock;

struct Locks : ::testing::Test {
  Locks() { table.open(); }
  error_code set(const client_key& c, const lock_what& w) { return table.set(c, w, 0, false); }
  error_code wait(const client_key& c, const lock_what& w, std::uint64_t id) {
    return table.set(c, w, id, true);
  }
  // The status that the wait ended with; nothing while it goes on.
  std::optional<error_code> told(const client_key& c, std::uint64_t id) {
    for (const lock_notice& n : table.notices(c))
      if (n.lock_id == id) return n.status;
    return std::nullopt;
  }
  lock_table table;
};

TEST_F(Locks, ARangeIsSplitMergedUpgradedAndDowngraded) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 99)), ok);
  EXPECT_EQ(table.counts(alice).held, 1u);
  EXPECT_EQ(set(alice, posix(1, U, 40, 59)), ok);
  EXPECT_EQ(table.counts(alice).held, 2u);
  EXPECT_EQ(set(bob, posix(1, W, 40, 59)), ok);
  EXPECT_EQ(set(bob, posix(1, W, 39, 59)), again);
  EXPECT_EQ(set(bob, posix(1, U, 0, lock_end_max)), ok);
  EXPECT_EQ(set(alice, posix(1, W, 40, 59)), ok);
  EXPECT_EQ(table.counts(alice).held, 1u) << "neighbours of one type are one lock";
  EXPECT_EQ(set(alice, posix(1, R, 10, 19)), ok);
  EXPECT_EQ(set(bob, posix(1, R, 10, 19)), ok);
  EXPECT_EQ(set(bob, posix(1, R, 9, 19)), again);
  EXPECT_EQ(set(alice, posix(1, W, 10, 19)), again) << "it is read by bob now";
  EXPECT_EQ(set(bob, posix(1, U, 0, 99)), ok);
  EXPECT_EQ(set(alice, posix(1, W, 10, 19)), ok);
  EXPECT_EQ(table.counts(alice).held, 1u);
}

TEST_F(Locks, GetlkNamesThePidOfTheSameClientOnly) {
  EXPECT_EQ(set(alice, posix(5, W, 10, 20)), ok);
  EXPECT_FALSE(table.test(alice, posix(5, W, 0, 100)));
  EXPECT_FALSE(table.test(alice, posix(6, W, 21, 100)));
  const std::optional<lock_what> near = table.test(alice, posix(6, R, 0, 100));
  ASSERT_TRUE(near);
  EXPECT_EQ(near->pid, 5u);
  EXPECT_EQ(near->start, 10u);
  EXPECT_EQ(near->end, 20u);
  EXPECT_EQ(table.test(bob, posix(6, R, 0, 100))->pid, 0u);
}

TEST_F(Locks, GetlkNamesTheFirstOfThoseInTheWay) {
  EXPECT_EQ(set(alice, posix(5, R, 30, 49)), ok);
  EXPECT_EQ(set(alice, posix(5, W, 25, 29)), ok);
  EXPECT_EQ(set(bob, posix(7, R, 60, 69)), ok);
  EXPECT_EQ(table.test(alice, posix(6, W, 0, 100))->start, 25u);
  EXPECT_EQ(table.test(alice, posix(6, W, 28, 100))->start, 25u);
  EXPECT_EQ(table.test(alice, posix(6, W, 30, 100))->start, 30u);
  EXPECT_EQ(table.test(alice, posix(6, R, 0, 100))->start, 25u) << "readers are not in the way";
}

TEST_F(Locks, WaitsAreServedInTheOrderOfTheirArrival) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 9)), ok);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), queued);
  EXPECT_EQ(wait(carol, posix(1, W, 0, 9), 31), queued);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), queued) << "asked for again";
  EXPECT_EQ(table.counts(bob).waiting, 1u);
  EXPECT_EQ(set(alice, posix(1, U, 0, 9)), ok);
  EXPECT_EQ(told(bob, 21), ok);
  EXPECT_FALSE(told(carol, 31));
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), ok) << "asked for again, and granted meanwhile";
  EXPECT_EQ(set(bob, posix(1, U, 0, 9)), ok);
  EXPECT_EQ(told(carol, 31), ok);
  EXPECT_EQ(table.take_news().size(), 2u);
  table.noticed(carol, 31, true);
  EXPECT_FALSE(told(carol, 31));
  EXPECT_EQ(table.counts(carol).held, 1u);
}

TEST_F(Locks, ACancelThatComesTooLateSaysSoHoweverOften) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 9)), ok);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), queued);
  EXPECT_EQ(wait(carol, posix(1, W, 0, 9), 31), queued);
  EXPECT_FALSE(table.cancel(bob, 7, 21));
  EXPECT_EQ(set(alice, posix(1, U, 0, 9)), ok);
  EXPECT_FALSE(told(bob, 21));
  EXPECT_TRUE(table.cancel(carol, 7, 31));
  EXPECT_TRUE(table.cancel(carol, 7, 31));
  EXPECT_EQ(table.counts(carol).held, 1u);
}

TEST_F(Locks, AGrantThatNobodyWaitsForIsGivenToTheNext) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 9)), ok);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), queued);
  EXPECT_EQ(wait(carol, posix(1, W, 0, 9), 31), queued);
  EXPECT_EQ(set(alice, posix(1, U, 0, 9)), ok);
  table.noticed(bob, 21, false);
  EXPECT_EQ(table.counts(bob).held, 0u);
  EXPECT_EQ(told(carol, 31), ok);
}

TEST_F(Locks, ACircleOfWaitsIsRefused) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 0)), ok);
  EXPECT_EQ(set(bob, posix(1, W, 1, 1)), ok);
  EXPECT_EQ(set(carol, posix(1, W, 2, 2, 8)), ok);
  EXPECT_EQ(wait(alice, posix(1, W, 1, 1), 11), queued);
  EXPECT_EQ(wait(bob, posix(1, W, 2, 2, 8), 21), queued);
  EXPECT_EQ(wait(carol, posix(1, R, 0, 0), 31), deadlock);
  EXPECT_EQ(wait(carol, posix(2, R, 0, 0), 32), queued) << "another owner";
}

// Two owners of one process: locks of open files, which another thread may give up.
TEST_F(Locks, TheOpenFilesOfOneProcessMakeNoCircle) {
  const auto of_file = [](std::uint64_t owner, lock_type type, std::uint64_t at) {
    lock_what w = posix(owner, type, at, at);
    w.pid = 500;
    return w;
  };
  EXPECT_EQ(set(alice, of_file(1, W, 0)), ok);
  EXPECT_EQ(set(alice, of_file(2, W, 1)), ok);
  EXPECT_EQ(wait(alice, of_file(1, W, 1), 11), queued);
  EXPECT_EQ(wait(alice, of_file(2, W, 0), 12), queued);
  EXPECT_EQ(set(alice, of_file(1, U, 0)), ok);
  EXPECT_EQ(told(alice, 12), ok);
  EXPECT_EQ(set(alice, of_file(2, U, 1)), ok);
  EXPECT_EQ(told(alice, 11), ok);
}

// Who waits in two places can be granted a lock that closes a circle.
TEST_F(Locks, ACircleThatAGrantClosesIsRefusedToo) {
  EXPECT_EQ(set(carol, posix(9, W, 0, 0)), ok);
  EXPECT_EQ(set(bob, posix(1, W, 5, 5)), ok);
  EXPECT_EQ(wait(alice, posix(1, W, 0, 0), 11), queued);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 0), 21), queued);
  EXPECT_EQ(wait(alice, posix(1, W, 5, 5), 12), queued);
  EXPECT_EQ(set(carol, posix(9, U, 0, 0)), ok);
  EXPECT_EQ(told(alice, 11), ok);
  EXPECT_EQ(told(bob, 21), deadlock);
}

TEST_F(Locks, AFlockIsGivenBackBeforeItChangesItsType) {
  EXPECT_EQ(set(alice, flock_of(1, R)), ok);
  EXPECT_EQ(set(bob, flock_of(1, R)), ok);
  EXPECT_EQ(set(carol, posix(1, W, 0, 9)), ok) << "the kinds do not see each other";
  EXPECT_EQ(set(alice, flock_of(1, W)), again);
  EXPECT_EQ(table.counts(alice).held, 0u);
  EXPECT_EQ(set(bob, flock_of(1, W)), ok);
  EXPECT_EQ(wait(alice, flock_of(1, R), 11), queued);
  EXPECT_EQ(set(bob, flock_of(1, R)), ok);
  EXPECT_EQ(told(alice, 11), ok);
}

TEST_F(Locks, GoWithTheirHandleAndTheirClient) {
  EXPECT_EQ(set(alice, posix(1, W, 0, 9, 7, 71)), ok);
  EXPECT_EQ(set(alice, posix(1, W, 20, 29, 7, 72)), ok);
  EXPECT_EQ(wait(bob, posix(1, W, 0, 9), 21), queued);
  EXPECT_EQ(wait(carol, posix(1, W, 20, 29), 31), queued);
  EXPECT_TRUE(table.is_waited_for(alice));
  EXPECT_FALSE(table.is_waited_for(bob));
  table.release_handle(alice, 7, 71);
  EXPECT_EQ(told(bob, 21), ok);
  EXPECT_FALSE(told(carol, 31));
  table.forget(alice, false);
  EXPECT_EQ(told(carol, 31), ok);
  EXPECT_EQ(table.counts(alice).held, 0u);
  table.forget(bob, false);
  table.forget(carol, false);
  EXPECT_EQ(table.total().held + table.total().waiting, 0u);
}

TEST_F(Locks, OfOneClientAreBounded) {
  for (std::uint64_t i = 0; i < lock_table::per_client_max; ++i)
    ASSERT_EQ(set(alice, posix(1, W, 0, 0, 1000 + i)), ok);
  EXPECT_EQ(set(alice, posix(1, W, 0, 0, 5)), no_locks);
  EXPECT_EQ(set(bob, posix(1, W, 0, 0, 5)), ok);
  EXPECT_EQ(set(alice, posix(1, U, 0, 0, 1000)), ok);
  EXPECT_EQ(set(alice, posix(1, W, 0, 0, 6)), ok);
}

struct LockClaims : ::testing::Test {
  lock_table table;  // not open
};

TEST_F(LockClaims, WhatWasHeldComesBeforeWhatWasWaitedFor) {
  EXPECT_EQ(table.claim(bob, posix(1, W, 0, 9), 21, true, U), ok);
  EXPECT_EQ(table.claim(alice, posix(1, W, 0, 9), 0, false, W), ok);
  EXPECT_EQ(table.claim(alice, posix(1, W, 0, 9), 0, false, W), ok) << "claimed twice";
  EXPECT_EQ(table.claim(carol, posix(1, R, 9, 9), 0, false, R), again);
  table.open();
  EXPECT_TRUE(table.notices(bob).empty());
  EXPECT_EQ(table.set(alice, posix(1, U, 0, 9), 0, false), ok);
  EXPECT_EQ(table.notices(bob).size(), 1u);
}

TEST_F(LockClaims, AWaitWhoseHolderDoesNotComeBackIsServed) {
  EXPECT_EQ(table.claim(bob, posix(1, W, 0, 9), 21, true, U), ok);
  EXPECT_TRUE(table.notices(bob).empty());
  table.open();
  EXPECT_EQ(table.notices(bob).size(), 1u);
}

// Alice has unlocked, or reduced her lock, without having heard the answer, and bob was granted it.
TEST_F(LockClaims, WhatMayHaveBeenReducedGivesWay) {
  for (const bool alice_first : {true, false}) {
    lock_table t;
    const auto claim_a = [&] {
      return t.claim(alice, posix(1, W, 0, 99), 0, false, U);
    };
    if (alice_first) {
      EXPECT_EQ(claim_a(), ok);
    }
    EXPECT_EQ(t.claim(bob, posix(1, W, 10, 19), 0, false, W), ok);
    if (!alice_first) {
      EXPECT_EQ(claim_a(), ok);
    }
    t.open();
    EXPECT_EQ(t.counts(alice).held, 2u);
    EXPECT_EQ(t.test(carol, posix(1, R, 10, 19))->end, 19u);
    EXPECT_TRUE(t.test(carol, posix(1, R, 20, 20)));
  }
  for (const bool alice_first : {true, false}) {
    lock_table t;
    if (alice_first) {
      EXPECT_EQ(t.claim(alice, posix(1, W, 0, 99), 0, false, R), ok);
    }
    EXPECT_EQ(t.claim(bob, posix(1, R, 10, 19), 0, false, R), ok);
    if (!alice_first) {
      EXPECT_EQ(t.claim(alice, posix(1, W, 0, 99), 0, false, R), ok);
    }
    t.open();
    EXPECT_FALSE(t.test(carol, posix(1, R, 10, 19)));
    EXPECT_TRUE(t.test(carol, posix(1, R, 20, 20)));
    EXPECT_TRUE(t.test(carol, posix(1, W, 10, 19)));
  }
}

// ---- byte by byte ------------------------------------------------------------------------------

constexpr std::uint64_t bytes = 24;

// The same rules with the simplest means: who has each byte, and a list of who waits.
struct byte_table {
  using who = std::pair<std::uint8_t, std::uint64_t>;
  struct waiting {
    who w;
    lock_what what;
    std::uint64_t id;
  };
  std::array<std::map<who, lock_type>, bytes> held;
  std::vector<waiting> queue;
  std::set<std::uint64_t> granted;

  bool is_free(const who& w, const lock_what& l) const {
    for (std::uint64_t i = l.start; i <= l.end; ++i)
      for (const auto& [other, type] : held[i])
        if (other != w && (type == W || l.type == W)) return false;
    return true;
  }
  void put(const who& w, const lock_what& l) {
    for (std::uint64_t i = l.start; i <= l.end; ++i)
      if (l.type == U)
        held[i].erase(w);
      else
        held[i][w] = l.type;
  }
  void serve() {
    for (bool again = true; again;) {
      again = false;
      for (auto q = queue.begin(); q != queue.end();) {
        if (!is_free(q->w, q->what)) {
          ++q;
          continue;
        }
        put(q->w, q->what);
        granted.insert(q->id);
        q = queue.erase(q);
        again = true;
      }
    }
  }
  bool reaches(const who& from, const who& to, std::set<who>& seen) const {
    if (!seen.insert(from).second) return false;
    for (const waiting& q : queue) {
      if (q.w != from) continue;
      if (blocked_by(q.w, q.what, to, seen)) return true;
    }
    return false;
  }
  bool blocked_by(const who& w, const lock_what& l, const who& to, std::set<who>& seen) const {
    for (std::uint64_t i = l.start; i <= l.end; ++i)
      for (const auto& [other, type] : held[i]) {
        if (other == w || (type != W && l.type != W)) continue;
        if (other == to || reaches(other, to, seen)) return true;
      }
    return false;
  }
};

TEST(LocksByByte, RandomOperationsLeaveTheSame) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    prng random(seed);
    lock_table table;
    table.open();
    byte_table model;
    std::set<byte_table::who> waits;
    std::uint64_t next_id = 0;
    for (int step = 0; step < 1500; ++step) {
      const auto client = static_cast<std::uint8_t>(1 + random.below(3));
      const std::uint64_t owner = 1 + random.below(2);
      const byte_table::who w{client, owner};
      std::uint64_t a = random.below(bytes), b = random.below(bytes);
      if (a > b) std::swap(a, b);
      const auto type = static_cast<lock_type>(random.below(3));
      const lock_what what = posix(owner, type, a, b);
      const bool is_waiting = std::any_of(model.queue.begin(), model.queue.end(),
                                          [&w](const auto& q) { return q.w == w; });
      if (is_waiting) {  // its thread sleeps; sometimes it is woken by a signal
        if (random.below(8) != 0) continue;
        const auto q = std::find_if(model.queue.begin(), model.queue.end(),
                                    [&w](const auto& x) { return x.w == w; });
        EXPECT_FALSE(table.cancel(named(client), 7, q->id));
        model.queue.erase(q);
        continue;
      }
      const bool wait = random.below(2) == 0 && type != U;
      const std::uint64_t id = ++next_id;
      const error_code got = table.set(named(client), what, id, wait);
      if (type == U || model.is_free(w, what)) {
        EXPECT_EQ(got, ok);
        model.put(w, what);
        model.serve();
      } else if (!wait) {
        EXPECT_EQ(got, again);
      } else {
        std::set<byte_table::who> seen;
        const bool circle = model.blocked_by(w, what, w, seen);
        EXPECT_EQ(got, circle ? deadlock : queued);
        if (!circle) model.queue.push_back({w, what, id});
      }
      std::set<std::uint64_t> granted;
      for (std::uint8_t c = 1; c <= 3; ++c)
        for (const lock_notice& n : table.notices(named(c))) {
          EXPECT_EQ(n.status, ok);
          granted.insert(n.lock_id);
        }
      ASSERT_EQ(granted, model.granted) << "seed " << seed << " step " << step;
      for (std::uint8_t c = 1; c <= 3; ++c)
        for (const lock_notice& n : table.notices(named(c)))
          table.noticed(named(c), n.lock_id, true);
      model.granted.clear();
      for (std::uint64_t i = 0; i < bytes; ++i)
        for (const lock_type t : {R, W})
          ASSERT_EQ(table.test(named(9), posix(1, t, i, i)).has_value(),
                    !model.is_free({9, 1}, posix(1, t, i, i)))
              << "seed " << seed << " step " << step << " byte " << i;
    }
  }
}

}  // namespace
}  // namespace tangelo
