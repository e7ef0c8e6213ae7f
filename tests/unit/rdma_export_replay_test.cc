// Replays: judged in the order of their arrival, before anybody asks whether the window is open.
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

// A client with `count` early answers that a crash takes away, back in the window.
struct replay_world : raw_world {
  explicit replay_world(unsigned char other = 0, loop_options wire = {}) : raw_world(wire) {
    raw_peer& p = attached();
    if (other != 0) attached(other);
    for (std::uint16_t slot = 0; slot < 4; ++slot) p.send(p.call(slot, 1, 1 + slot));
    p.settle(10 * ns_per_ms);
    EXPECT_EQ(p.replies(), 4);
    first = p.reply().header.transno - 3;
    EXPECT_GT(first, store.last_committed);
    restart();
    EXPECT_TRUE(store.effects.empty());
  }
  raw_peer& rejoined() {
    raw_peer& p = peer();
    p.last_boot = store.boot - 1;
    p.connect();
    return p;
  }
  void replay(raw_peer& p, std::uint16_t index, std::uint64_t before) {
    raw_peer::call_options o;
    o.flags = message_flag::replay;
    o.transno = first + index;
    o.ack = before;
    o.time_ns = 77 + index;
    p.send(p.call_with(index, 1, 1u + index, o));
  }
  std::vector<error_code> statuses(const raw_peer& p) const {
    std::vector<error_code> out;
    for (const raw_peer::message& m : p.heard)
      if (m.header.type == message_type::reply)
        out.push_back(error_of_wire(static_cast<std::uint16_t>(m.extension.status)));
    return out;
  }
  std::uint64_t first = 0;
};

TEST(ExportReplay, EachIsExecutedOnceUnderItsOldNumberAndTime) {
  replay_world w;
  raw_peer& p = w.rejoined();
  const std::uint64_t low_water = w.store.last_committed;
  for (std::uint16_t i = 0; i < 4; ++i) w.replay(p, i, i == 0 ? 0 : w.first + i - 1u);
  p.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(p), std::vector<error_code>(4, error_code::ok));
  EXPECT_EQ(w.fs().executed_early, 4);
  w.fs().commit();
  for (std::uint16_t i = 0; i < 4; ++i) {
    EXPECT_EQ(w.store.effects[1u + i].count, 1);
    EXPECT_EQ(w.store.effects[1u + i].transno, w.first + i);
    EXPECT_EQ(w.store.effects[1u + i].time_ns, 77 + i);
  }
  EXPECT_EQ(w.store.last_committed, low_water);  // while the window is open
  // All of them again on another connection: answered, not executed.
  raw_peer& q = w.rejoined();
  for (std::uint16_t i = 0; i < 4; ++i) w.replay(q, i, i == 0 ? 0 : w.first + i - 1u);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(q), std::vector<error_code>(4, error_code::ok));
  EXPECT_EQ(w.fs().executed, 4);
}

// The slot's record is there for a call that is sent again after the replay.
TEST(ExportReplay, SecondCrashInTheWindowAsksForWhatWasNotDurable) {
  replay_world w;
  raw_peer& p = w.rejoined();
  w.replay(p, 0, 0);
  p.settle(10 * ns_per_ms);
  w.fs().commit();
  w.replay(p, 1, w.first);
  p.settle(10 * ns_per_ms);
  w.restart();  // takes the second away, and leaves the first
  raw_peer& q = w.rejoined();
  for (std::uint16_t i = 0; i < 3; ++i) w.replay(q, i, i == 0 ? 0 : w.first + i - 1u);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(q), std::vector<error_code>(3, error_code::ok));
  w.fs().commit();
  for (const std::uint64_t xid : {1u, 2u, 3u}) EXPECT_EQ(w.store.effects[xid].count, 1);
}

// A payload that is still on the way holds up those behind it.
TEST(ExportReplay, PulledPayloadsKeepTheOrder) {
  for (const bool eager : {false, true}) {
    replay_world w;
    raw_peer& p = w.rejoined();
    bytes payload = pattern(50'000, 1);
    raw_peer::call_options o;
    o.op = opcode::write;
    o.flags = message_flag::replay;
    o.transno = w.first;
    chunk c;
    c.kind = chunk_kind::pull;
    c.size = 50'000;
    c.transfer_tag = 7;
    c.flags = eager ? chunk_flag::eager : 0;
    o.chunks = {c};
    p.wire().expose(c, payload, eager);
    p.send(p.call_with(0, 1, 1, o));
    for (std::uint16_t i = 1; i < 4; ++i) w.replay(p, i, w.first + i - 1u);
    p.settle(10 * ns_per_ms);
    EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{1, 2, 3, 4}));
    w.fs().commit();
    EXPECT_EQ(w.store.effects[1].payload, payload);
  }
}

// A connection that ends while a payload is on the way does not hold up the next one's, whose
// replays are there before the old one is quiet.
TEST(ExportReplay, DeadConnectionsAreOutOfTheLine) {
  replay_world w(0, {1, 0, 0});
  raw_peer& p = w.rejoined();
  raw_peer::call_options o;
  o.op = opcode::write;
  o.flags = message_flag::replay;
  o.transno = w.first;
  chunk c;
  c.kind = chunk_kind::pull;
  c.size = 50'000;
  c.transfer_tag = 7;
  o.chunks = {c};  // never exposed: the bytes do not come
  p.send(p.call_with(0, 1, 1, o));
  w.replay(p, 1, w.first);
  p.settle(10 * ns_per_ms);
  EXPECT_EQ(w.fs().executed, 0);
  raw_peer& q = w.peer();
  q.last_boot = w.store.boot - 1;
  q.cookie = p.cookie;
  q.send(q.hello());
  q.send(q.connect_message());
  w.replay(q, 0, 0);
  w.replay(q, 1, w.first);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(q.verdict, connect_verdict::recovering_resumed);
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{1, 2}));
}

TEST(ExportReplay, LostOneBeforeEndsTheConnection) {
  replay_world w;
  raw_peer& p = w.rejoined();
  w.replay(p, 0, 0);
  w.replay(p, 2, w.first + 1);
  p.settle(10 * ns_per_ms);
  EXPECT_TRUE(p.flushed);
  EXPECT_EQ(p.error_text, "a replay before this one was lost");
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{1}));
  // The next connection goes on, all in order.
  raw_peer& q = w.rejoined();
  for (std::uint16_t i = 1; i < 4; ++i) w.replay(q, i, w.first + i - 1u);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{1, 2, 3, 4}));
}

// What the service refused is refused for ever, and those after it go on.
TEST(ExportReplay, RefusedStaysRefused) {
  replay_world w;
  raw_peer& p = w.rejoined();
  w.fs().status = error_code::io;
  w.replay(p, 0, 0);
  p.settle(10 * ns_per_ms);
  w.fs().status = error_code::ok;
  w.replay(p, 1, w.first);
  p.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(p), (std::vector<error_code>{error_code::io, error_code::ok}));
  raw_peer& q = w.rejoined();
  w.replay(q, 0, 0);
  w.replay(q, 1, w.first);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(q), (std::vector<error_code>{error_code::io, error_code::ok}));
  EXPECT_EQ(w.fs().executed, 2);
}

// F2: a client that has said "done" and whose core dies replays again; the window closes meanwhile.
TEST(ExportReplay, JudgedBeforeTheWindowIsAskedFor) {
  replay_world w(4);
  raw_peer& p = w.rejoined();
  w.replay(p, 0, 0);
  p.settle(10 * ns_per_ms);
  p.say(message_type::replay_done, empty_answer{});
  p.settle(10 * ns_per_ms);
  EXPECT_TRUE(w.server->host->recovering());
  raw_peer& other = w.peer(4);
  other.last_boot = w.store.boot - 1;
  other.connect();
  other.say(message_type::replay_done, empty_answer{});
  w.fs().delay_ns = ns_per_s;  // last_committed does not move yet
  other.settle(10 * ns_per_ms);
  EXPECT_FALSE(w.server->host->recovering());
  ASSERT_GT(w.first, w.store.last_committed);
  raw_peer& q = w.peer();
  q.last_boot = w.store.boot;
  EXPECT_EQ(q.connect(), connect_verdict::resumed);
  w.replay(q, 0, 0);
  w.replay(q, 1, w.first);
  q.settle(10 * ns_per_ms);
  EXPECT_EQ(w.statuses(q), (std::vector<error_code>{error_code::ok, error_code::stale_replay}));
  EXPECT_EQ(w.fs().executed, 1);
}

TEST(ExportReplay, NumbersOfThisBootAndReadsAreNotReplayed) {
  replay_world w;
  raw_peer& p = w.rejoined();
  p.replay(0, w.store.boot << 32 | 1, 0);
  p.settle(10 * ns_per_ms);
  EXPECT_TRUE(p.flushed);
  raw_peer& q = w.rejoined();
  raw_peer::call_options o;
  o.op = opcode::getattr;
  o.flags = message_flag::replay;
  o.transno = w.first;
  q.send(q.call_with(0, 1, 1, o));
  q.settle(10 * ns_per_ms);
  EXPECT_TRUE(q.flushed);
  EXPECT_EQ(w.fs().executed, 0);
}

// A replay that runs when its connection ends is waited for, and not executed again.
TEST(ExportReplay, RunningOneIsNotRunAgain) {
  replay_world w;
  raw_peer& p = w.rejoined();
  w.fs().delay_ns = 20 * ns_per_ms;
  w.replay(p, 0, 0);
  p.settle(2 * ns_per_ms);
  EXPECT_EQ(w.fs().executed, 1);
  raw_peer& q = w.rejoined();
  w.replay(q, 0, 0);
  w.replay(q, 1, w.first);
  q.settle(5 * ns_per_ms);
  EXPECT_EQ(w.fs().executed, 1);
  q.settle(60 * ns_per_ms);
  EXPECT_EQ(w.statuses(q), std::vector<error_code>(2, error_code::ok));
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{1, 2}));
}

TEST(ExportReplay, DoneBeforeTheAnswersIsABreach) {
  replay_world w;
  raw_peer& p = w.rejoined();
  w.fs().delay_ns = 20 * ns_per_ms;
  w.replay(p, 0, 0);
  p.say(message_type::replay_done, empty_answer{});
  p.settle(5 * ns_per_ms);
  EXPECT_TRUE(p.flushed);
  EXPECT_TRUE(w.server->host->recovering());
}

}  // namespace
}  // namespace tangelo::test
