// Who is waited for, and who is written off: the mark in a client's record, the recovery window,
// silence.
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

constexpr std::uint64_t silence_ns = 150 * ns_per_s;

export_status status_of(const raw_world& w, unsigned char n) { return w.status(n); }

void expect_phase(const raw_world& w, unsigned char n, client_phase phase) {
  EXPECT_EQ(name_of(status_of(w, n).phase), name_of(phase));
}

TEST(ExportLease, OpensAndEarlyAnswersWaitForTheMark) {
  raw_world w;
  w.fs().awaited = false;
  w.attached();
  const std::uint64_t boot = w.store.boot;
  w.restart();  // its record says that it held nothing
  raw_peer& p = w.peer();
  p.last_boot = boot;
  ASSERT_EQ(p.connect(), connect_verdict::resumed_new_boot);
  w.fs().delay_ns = 20 * ns_per_ms;
  raw_peer::call_options sync;
  sync.flags = message_flag::need_commit;
  p.send(p.call(0, 1, 1));                        // may be answered early
  p.send(p.call(1, 1, 2, {}, opcode::open));
  p.send(p.call(2, 1, 3, {}, opcode::getattr));   // needs no mark
  p.send(p.call_with(3, 1, 4, sync));             // nor does this
  p.settle(5 * ns_per_ms);
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{3, 4}));
  EXPECT_EQ(w.fs().marks, 1);
  p.settle(60 * ns_per_ms);
  EXPECT_EQ(w.fs().order, (std::vector<std::uint64_t>{3, 4, 1, 2}));
  EXPECT_EQ(w.fs().marks, 1);
  EXPECT_EQ(w.fs().unmarked_opens, 0);
  EXPECT_EQ(w.fs().executed_early, 1);
  EXPECT_EQ(p.replies(), 4);
}

TEST(ExportLease, EarlyOnlyWhereItIsAllowed) {
  raw_world w;
  raw_peer& p = w.attached();
  raw_peer::call_options sync;
  sync.flags = message_flag::need_commit;
  p.send(p.call_with(0, 1, 1, sync));
  p.send(p.call(1, 1, 2, {}, opcode::inode_range));
  p.settle(10 * ns_per_ms);
  EXPECT_EQ(w.fs().executed_early, 0);
  p.send(p.call(2, 1, 3));
  p.settle(10 * ns_per_ms);
  EXPECT_EQ(w.fs().executed_early, 1);
  EXPECT_GT(p.reply().header.transno, p.reply().header.ack);
  // A client that does not know of it is never answered early.
  raw_peer& old = w.peer(4);
  hello_body b;
  b.volume = "home";
  b.features = feature::eager_payload;
  old.send(old.make(message_type::hello, b));
  old.send(old.connect_message());
  old.settle();
  old.send(old.call(0, 1, 9));
  old.settle(10 * ns_per_ms);
  EXPECT_EQ(w.fs().executed_early, 1);
  EXPECT_EQ(old.replies(), 1);
}

TEST(ExportLease, MarkGoesAfterAMinuteOfNothing) {
  raw_world w;
  raw_peer& p = w.attached();
  p.send(p.call(0, 1, 1, {}, opcode::open));
  p.live(120 * ns_per_s);
  EXPECT_TRUE(w.store.clients.at(0).awaited);  // a file is open
  w.fs().holders.clear();
  p.live(50 * ns_per_s);
  EXPECT_TRUE(w.store.clients.at(0).awaited);
  p.live(30 * ns_per_s);
  EXPECT_FALSE(w.store.clients.at(0).awaited);
  EXPECT_FALSE(w.status().awaited);
  // And comes back with the next open.
  p.send(p.call(1, 1, 2, {}, opcode::open));
  p.settle();
  EXPECT_TRUE(w.store.clients.at(0).awaited);
  EXPECT_EQ(w.fs().unmarked_opens, 0);
}

TEST(ExportLease, MarkStaysWhileSomethingIsUncommitted) {
  raw_world w;
  w.fs().commit_delay_ns = 1000 * ns_per_s;
  raw_peer& p = w.attached();
  p.send(p.call(0, 1, 1));
  p.live(120 * ns_per_s);
  EXPECT_TRUE(w.status().uncommitted);
  EXPECT_TRUE(w.store.clients.at(0).awaited);
}

TEST(ExportLease, SilentHolderIsEvictedWhileOthersAreHeard) {
  raw_world w;
  raw_peer& p = w.attached(3);
  raw_peer& other = w.attached(4);
  p.send(p.call(0, 1, 1, {}, opcode::open));
  p.settle();
  p.cut();
  other.live(silence_ns - 10 * ns_per_s);
  expect_phase(w, 3, client_phase::active);
  EXPECT_EQ(w.status(3).lease_left_ms, 0u);
  EXPECT_GE(w.status(3).silent_ms, 139'000u);
  other.live(20 * ns_per_s);
  expect_phase(w, 3, client_phase::tombstone);
  expect_phase(w, 4, client_phase::active);
  EXPECT_TRUE(w.store.clients.at(0).tombstone);
  raw_peer& q = w.peer(3);
  q.last_boot = w.store.boot;
  EXPECT_EQ(q.connect(), connect_verdict::evicted);
  EXPECT_EQ(q.text.substr(0, 11), "silent for ");
}

TEST(ExportLease, NobodyIsEvictedWhenNobodyIsHeard) {
  raw_world w;
  raw_peer& p = w.attached(3);
  raw_peer& other = w.attached(4);
  for (raw_peer* one : {&p, &other}) one->send(one->call(0, 1, 1, {}, opcode::open));
  w.settle(2 * silence_ns);
  expect_phase(w, 3, client_phase::active);
  expect_phase(w, 4, client_phase::active);
}

TEST(ExportLease, SilentClientThatHoldsNothingStays) {
  raw_world w;
  w.attached(3).cut();
  raw_peer& other = w.attached(4);
  other.live(2 * silence_ns);
  expect_phase(w, 3, client_phase::active);
}

TEST(ExportLease, AnythingThatComesIsHeard) {
  raw_world w;
  raw_peer& p = w.attached(3);
  p.send(p.call(0, 1, 1, {}, opcode::open));
  w.settle(20 * ns_per_s);
  EXPECT_LE(w.status(3).lease_left_ms, 10'100u);
  p.ping();
  w.settle();
  EXPECT_GE(w.status(3).lease_left_ms, 29'000u);
}

TEST(ExportLease, CallsInExecutionAreWaitedForBeforeTheTombstone) {
  raw_world w;
  raw_peer& p = w.attached();
  w.fs().delay_ns = 30 * ns_per_ms;
  p.send(p.call(0, 1, 1));
  p.settle(5 * ns_per_ms);
  ASSERT_TRUE(w.server->host->evict("home", hex_of(make_id(3)), "x").has_value());
  p.settle(5 * ns_per_ms);
  EXPECT_TRUE(p.flushed);
  EXPECT_EQ(w.fs().forgotten, 0);
  w.settle(200 * ns_per_ms);
  expect_phase(w, 3, client_phase::tombstone);
  // What it did is durable, and it is told so.
  EXPECT_EQ(w.store.effects[1].count, 1);
  EXPECT_EQ(w.status(3).highest_transno, w.store.effects[1].transno);
}

struct window_world : raw_world {
  window_world() {
    attached(3);
    attached(4);
    restart();
    EXPECT_TRUE(server->host->recovering());
  }
  raw_peer& rejoined(unsigned char n) {
    raw_peer& p = peer(n);
    p.last_boot = store.boot - 1;
    EXPECT_EQ(p.connect(), connect_verdict::recovering_new_boot);
    return p;
  }
  void done(raw_peer& p) {
    p.say(message_type::replay_done, empty_answer{});
    p.settle(10 * ns_per_ms);
  }
};

TEST(ExportWindow, EndsAtOnceWhenAllAreDoneAndLetsCallsGo) {
  window_world w;
  raw_peer& p = w.rejoined(3);
  raw_peer& q = w.rejoined(4);
  p.send(p.call(0, 1, 1));
  w.done(p);
  EXPECT_EQ(p.count(message_type::replay_done_ack), 0);
  EXPECT_EQ(w.fs().executed, 0);  // held
  w.done(q);
  EXPECT_FALSE(w.server->host->recovering());
  for (raw_peer* one : {&p, &q}) EXPECT_EQ(one->count(message_type::replay_done_ack), 1);
  EXPECT_EQ(w.fs().executed, 1);
  EXPECT_EQ(w.fs().windows_ended, 1);
}

TEST(ExportWindow, SilentOnesAreWrittenOffBeforeItCloses) {
  window_world w;
  raw_peer& p = w.rejoined(3);
  w.done(p);
  w.fs().delay_ns = 20 * ns_per_s;  // the tombstone takes its time
  w.settle(50 * ns_per_s);
  expect_phase(w, 4, client_phase::leaving);
  EXPECT_TRUE(w.server->host->recovering());
  EXPECT_EQ(w.fs().windows_ended, 0);
  w.settle(30 * ns_per_s);
  expect_phase(w, 4, client_phase::tombstone);
  EXPECT_FALSE(w.server->host->recovering());
  EXPECT_TRUE(w.store.find(make_id(4))->tombstone);
}

TEST(ExportWindow, ProgressExtendsItUpToTheHardLimit) {
  window_world w;
  const std::uint64_t began = w.time.now_ns();
  raw_peer& p = w.rejoined(3);
  w.done(w.rejoined(4));
  std::uint32_t seq = 0;
  while (w.time.now_ns() - began < 100 * ns_per_s) {
    ++seq;
    p.send(p.call(0, seq, seq, {}, opcode::reclaim_open));
    p.settle(5 * ns_per_s);
  }
  expect_phase(w, 3, client_phase::recovering);
  while (w.time.now_ns() - began < 125 * ns_per_s) {
    ++seq;
    p.send(p.call(0, seq, seq, {}, opcode::reclaim_open));
    p.settle(5 * ns_per_s);
  }
  expect_phase(w, 3, client_phase::tombstone);
  EXPECT_FALSE(w.server->host->recovering());
}

// Connected, but it does nothing: the soft limit is its limit, one lease after it came.
TEST(ExportWindow, MereConnectionIsNoProgress) {
  window_world w;
  raw_peer& p = w.rejoined(3);
  w.done(w.rejoined(4));
  p.live(60 * ns_per_s);
  expect_phase(w, 3, client_phase::recovering);
  p.live(20 * ns_per_s);
  expect_phase(w, 3, client_phase::tombstone);
}

TEST(ExportWindow, GoodbyeEndsTheWaiting) {
  window_world w;
  w.done(w.rejoined(3));
  raw_peer& q = w.rejoined(4);
  q.say(message_type::goodbye, close_body{});
  w.settle();
  EXPECT_FALSE(w.server->host->recovering());
  EXPECT_EQ(w.store.clients.size(), 1u);
}

TEST(ExportWindow, EvictionByCommandHoldsItOpenUntilDurable) {
  window_world w;
  w.done(w.rejoined(3));
  w.fs().delay_ns = 20 * ns_per_ms;
  ASSERT_TRUE(w.server->host->evict("home", hex_of(make_id(4)), "x").has_value());
  EXPECT_TRUE(w.server->host->recovering());
  w.settle(10 * ns_per_ms);
  EXPECT_TRUE(w.server->host->recovering());
  w.settle(20 * ns_per_ms);
  EXPECT_FALSE(w.server->host->recovering());
}

// Who held nothing is not waited for, and may join.
TEST(ExportWindow, UnmarkedClientsAreNotWaitedFor) {
  raw_world w;
  w.attached(3);
  w.fs().awaited = false;
  w.attached(4);
  w.restart();
  raw_peer& p = w.peer(3);
  p.last_boot = 1;
  p.connect();
  p.say(message_type::replay_done, empty_answer{});
  p.settle();
  EXPECT_FALSE(w.server->host->recovering());
}

TEST(ExportStop, CallsHeldUnmarkedAndRunningAreDropped) {
  window_world w;
  raw_peer& p = w.rejoined(3);
  p.send(p.call(0, 1, 1));  // held
  p.settle(5 * ns_per_ms);
  bool stopped = false;
  w.server->host->stop([&] { stopped = true; });
  EXPECT_TRUE(run_until(w.time, [&] { return stopped; }, ns_per_s));
  raw_world v;
  raw_peer& q = v.attached();
  v.fs().delay_ns = 100 * ns_per_ms;
  q.send(q.call(0, 1, 1));
  q.settle(5 * ns_per_ms);
  stopped = false;
  v.server->host->stop([&] { stopped = true; });
  EXPECT_FALSE(run_until(v.time, [&] { return stopped; }, 50 * ns_per_ms));
  EXPECT_TRUE(run_until(v.time, [&] { return stopped; }, ns_per_s));
}

}  // namespace
}  // namespace tangelo::test
