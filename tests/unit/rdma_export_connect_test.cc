// CONNECT: the table at the head of rdma/export_connect.cc, row by row, and standby.
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

using enum connect_verdict;

TEST(ExportConnect, UnknownWithoutClaimsIsFreshAndMarked) {
  raw_world w;
  raw_peer& p = w.attached();
  EXPECT_EQ(p.verdict, fresh);
  EXPECT_EQ(w.fs().remembered, 1);
  EXPECT_TRUE(w.status().awaited);
  EXPECT_EQ(w.status().phase, client_phase::active);
}

TEST(ExportConnect, UnknownThatHoldsSomethingIsEvicted) {
  raw_world w;
  raw_peer& p = w.peer();
  p.last_boot = 1;
  p.held = held_state::opens;
  EXPECT_EQ(p.connect(), evicted);
  EXPECT_EQ(p.kept_through, 0u);
  raw_peer& q = w.peer();
  q.last_boot = 1;  // holds nothing
  q.connect();
  q.settle();
  EXPECT_EQ(q.verdict, fresh);
}

TEST(ExportConnect, UnknownWaitsForTheWindow) {
  raw_world w;
  w.attached(3);
  w.restart();
  EXPECT_EQ(w.peer(4).connect(), wait);
}

// The first CONNECT_ACK, fresh, was lost: nothing was executed, and another is as good.
TEST(ExportConnect, LostFreshIsSaidAgain) {
  raw_world w;
  w.fs().delay_ns = 20 * ns_per_ms;  // while it is being made durable
  raw_peer& lost = w.peer();
  lost.connect();
  EXPECT_EQ(w.status().phase, client_phase::remembering);
  raw_peer& p = w.attached();
  EXPECT_EQ(p.verdict, fresh);
  EXPECT_EQ(w.fs().remembered, 1);
  EXPECT_TRUE(lost.flushed);
  // And when it was durable already.
  EXPECT_EQ(w.peer().connect(), fresh);
  EXPECT_EQ(w.fs().remembered, 1);
  EXPECT_EQ(w.fs().forgotten, 0);
}

// F3: whatever an active client had is emptied, and it is fresh.
TEST(ExportConnect, NoClaimsEmptiesTheSession) {
  raw_world w;
  raw_peer& p = w.attached();
  p.send(p.call(0, 5, 50));
  p.send(p.call(1, 1, 51, {}, opcode::open));
  p.settle();
  ASSERT_EQ(w.fs().holders.size(), 1u);
  raw_peer& q = w.peer();
  EXPECT_EQ(q.connect(), busy);
  EXPECT_TRUE(p.flushed);
  EXPECT_EQ(w.fs().forgotten, 1);
  EXPECT_TRUE(w.fs().holders.empty());
  q.settle();
  q.send(q.connect_message());
  q.settle();
  EXPECT_EQ(q.verdict, fresh);
  // Its slots are new: the old sequence is not repeated from a record.
  q.send(q.call(0, 1, 60));
  q.settle(100 * ns_per_ms);
  EXPECT_EQ(w.store.effects[60].count, 1);
}

// F3 in the window: it is not waited for any more.
TEST(ExportConnect, NoClaimsEndsTheWaitingForThisClient) {
  raw_world w;
  w.attached(3);
  w.attached(4);
  w.restart();
  EXPECT_EQ(w.peer(3).connect(), busy);
  w.settle();
  EXPECT_TRUE(w.server->host->recovering());
  EXPECT_EQ(w.peer(4).connect(), busy);
  w.settle();
  EXPECT_FALSE(w.server->host->recovering());
  EXPECT_EQ(w.peer(3).connect(), fresh);
}

TEST(ExportConnect, OfThisBootIsResumedWithTheSameCookie) {
  raw_world w;
  const std::uint64_t cookie = w.attached().cookie;
  raw_peer& p = w.peer();
  p.last_boot = w.store.boot;
  EXPECT_EQ(p.connect(), resumed);
  EXPECT_EQ(p.cookie, cookie);
}

TEST(ExportConnect, RecordedInTheWindowRecovers) {
  raw_world w;
  const std::uint64_t boot = w.store.boot;
  w.attached();
  w.restart();
  raw_peer& p = w.peer();
  p.last_boot = boot;
  EXPECT_EQ(p.connect(), recovering_new_boot);
  // That answer was lost, or the core died: joined already, whichever boot it knows.
  for (const std::uint64_t known : {boot, w.store.boot}) {
    raw_peer& q = w.peer();
    q.last_boot = known;
    EXPECT_EQ(q.connect(), recovering_resumed);
  }
}

TEST(ExportConnect, RecordedThatHeldNothingResumesWithoutAWindow) {
  raw_world w;
  w.fs().awaited = false;
  const std::uint64_t boot = w.store.boot;
  w.attached();
  w.restart();
  EXPECT_FALSE(w.server->host->recovering());
  raw_peer& p = w.peer();
  p.last_boot = boot;
  EXPECT_EQ(p.connect(), resumed_new_boot);
  // F6: that answer was lost.
  raw_peer& q = w.peer();
  q.last_boot = boot;
  EXPECT_EQ(q.connect(), resumed_new_boot);
  raw_peer& r = w.peer();
  r.last_boot = w.store.boot;
  EXPECT_EQ(r.connect(), resumed);
}

TEST(ExportConnect, WrittenOffIsToldWhatWasKept) {
  raw_world w;
  raw_peer& p = w.attached();
  p.send(p.call(0, 1, 1));
  p.settle();
  const std::uint64_t transno = p.reply().header.transno;
  ASSERT_NE(transno, 0u);
  w.fs().delay_ns = 10 * ns_per_ms;
  ASSERT_TRUE(w.server->host->evict("home", hex_of(make_id(3)), "by hand").has_value());
  EXPECT_EQ(w.status().phase, client_phase::leaving);
  EXPECT_EQ(w.peer().connect(), busy);  // until the tombstone is durable
  w.settle();
  EXPECT_EQ(p.error_text, "evicted: by hand");
  for (const bool restarted : {false, true}) {
    if (restarted) w.restart();
    EXPECT_EQ(w.status().phase, client_phase::tombstone);
    raw_peer& q = w.peer();
    q.last_boot = 1;
    EXPECT_EQ(q.connect(), evicted);
    EXPECT_EQ(q.kept_through, transno);
    EXPECT_FALSE(q.text.empty());
  }
  // And without claims it is a new client.
  raw_peer& r = w.attached();
  EXPECT_EQ(r.verdict, fresh);
  EXPECT_FALSE(w.store.clients.at(0).tombstone);
}

TEST(ExportConnect, OlderIncarnationsAreDeniedAlsoOverATombstone) {
  raw_world w;
  w.attached();
  for (const bool stone : {false, true}) {
    if (stone) {
      ASSERT_TRUE(w.server->host->evict("home", hex_of(make_id(3)), "by hand").has_value());
      w.settle();
    }
    raw_peer& p = w.peer();
    p.incarnation = 4;
    EXPECT_EQ(p.connect(), denied);
  }
  raw_peer& newer = w.peer();
  newer.incarnation = 6;
  newer.attach();
  EXPECT_EQ(newer.verdict, fresh);
}

TEST(ExportConnect, NewerIncarnationWaitsWhileTheOlderAnswersPings) {
  raw_world w;
  raw_peer& older = w.attached();
  raw_peer& newer = w.peer();
  newer.incarnation = 6;
  EXPECT_EQ(newer.connect(), busy);
  EXPECT_EQ(older.count(message_type::ping), 1);
  older.say(message_type::pong, empty_answer{});
  w.settle(3 * ns_per_s);
  newer.send(newer.connect_message());
  newer.settle();
  EXPECT_TRUE(older.up);
  // It is asked again, and is silent now.
  w.settle(3 * ns_per_s);
  newer.send(newer.connect_message());
  newer.settle();
  EXPECT_TRUE(older.flushed);
  newer.send(newer.connect_message());
  newer.settle();
  EXPECT_EQ(newer.verdict, fresh);
}

TEST(ExportConnect, ClientThatSawMoreThanTheStoreHasIsRefused) {
  raw_world w;
  raw_peer& p = w.attached();
  p.send(p.call(0, 1, 1));
  p.settle(200 * ns_per_ms);
  raw_peer& boot = w.peer();
  boot.last_boot = w.store.boot + 1;
  EXPECT_EQ(boot.connect(), evicted);
  EXPECT_EQ(boot.kept_through, 0u);
  EXPECT_NE(boot.text.find("went back in time"), std::string::npos);
  raw_peer& committed = w.peer();
  committed.last_boot = w.store.boot;
  committed.last_committed = w.store.last_committed + 1;
  EXPECT_EQ(committed.connect(), evicted);
  raw_peer& right = w.peer();
  right.last_boot = w.store.boot;
  right.last_committed = w.store.last_committed;
  EXPECT_EQ(right.connect(), resumed);
}

TEST(ExportConnect, StandbyIsWaitedForAndAdvises) {
  virtual_scheduler time;
  loop_network network(time);
  counter_store store;
  const std::unique_ptr<export_host> host = export_host::make({}, time);
  host->add_standby("home", make_id(9));
  auto listening = network.listen("server", [&](std::unique_ptr<endpoint> e) {
    host->accept(std::move(e));
  });
  ASSERT_TRUE(listening.has_value());
  raw_peer p(network, time);
  EXPECT_EQ(p.connect(), wait);
  EXPECT_EQ(p.text, "standby: the volume is served elsewhere");
  const auto ack = decode<hello_ack_body>(p.last(message_type::hello_ack).body);
  ASSERT_TRUE(ack.has_value());
  EXPECT_EQ(ack->target_id, make_id(9));
  p.ping();
  p.settle(30 * ns_per_s);
  EXPECT_TRUE(p.up);
  EXPECT_EQ(p.count(message_type::advice), 0);
  raw_peer silent(network, time);
  silent.send(silent.hello());
  silent.settle();
  counter_service fs(store, time);
  host->add_volume("home", fs);
  p.settle();
  const auto advice = decode<advice_body>(p.last(message_type::advice).body);
  ASSERT_TRUE(advice.has_value());
  EXPECT_EQ(advice->boot_generation, fs.boot_generation());
  EXPECT_EQ(silent.count(message_type::advice), 0);
  p.send(p.connect_message());
  p.settle();
  EXPECT_EQ(p.verdict, fresh);
  p.send(p.call(0, 1, 1));
  p.settle();
  EXPECT_EQ(store.effects[1].count, 1);
  bool stopped = false;
  host->stop([&] { stopped = true; });
  EXPECT_TRUE(run_until(time, [&] { return stopped; }, ns_per_s));
}

TEST(ExportConnect, EvictionByCommandNamesItsClient) {
  raw_world w;
  w.attached();
  const std::string address = w.status().address;
  export_host& host = *w.server->host;
  EXPECT_FALSE(host.evict("work", address, "x").has_value());
  EXPECT_FALSE(host.evict("home", "nobody", "x").has_value());
  const outcome<client_key> gone = host.evict("home", address, "x");
  ASSERT_TRUE(gone.has_value());
  EXPECT_EQ(gone->client_id, make_id(3));
  EXPECT_FALSE(host.evict("home", hex_of(make_id(3)), "x").has_value());
  w.settle();
  EXPECT_EQ(host.evict("home", hex_of(make_id(3)), "x").error().text,
            "home: written off already: x");
}

}  // namespace
}  // namespace tangelo::test
