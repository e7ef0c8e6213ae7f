#include "base/loop.h"
#include "rdma/tcp/tcp_provider.h"
#include "tests/unit/rdma_fixture.h"

namespace tangelo::test {
namespace {

using made_call = test_client::made_call;

// A fixed workload: mutations and reads, small and large, pairs of them on one slot.
void run_workload(test_client& client, int count) {
  static constexpr std::size_t sizes[] = {0, 100, 4096, 5000, 70'000};
  client.after_reply = [&client, count](made_call& c) {
    const auto next = static_cast<int>(client.made.size());
    if (next >= count) return;
    const std::size_t size = sizes[static_cast<std::size_t>(next) % 5];
    const bool write = next % 3 != 0;
    client.submit(write ? opcode::write : opcode::read, c.call.slot, write ? size : 0,
                  write ? 0 : size);
  };
  for (std::uint16_t slot = 0; slot < 3; ++slot)
    client.submit(opcode::write, slot, sizes[slot * 2u], 0);
}

void expect_exactly_once(const test_client& client, const counter_store& store) {
  for (const auto& c : client.made) {
    EXPECT_EQ(c->answers, 1) << "xid " << c->call.xid;
    EXPECT_EQ(c->status, error_code::ok) << "xid " << c->call.xid;
    EXPECT_EQ(c->answer, c->body) << "xid " << c->call.xid;
    if (is_mutation(c->call.op)) {
      const auto e = store.effects.find(c->call.xid);
      ASSERT_NE(e, store.effects.end()) << "xid " << c->call.xid;
      EXPECT_EQ(e->second.count, 1) << "xid " << c->call.xid;
      EXPECT_EQ(e->second.payload, c->in) << "xid " << c->call.xid;
    } else {
      EXPECT_EQ(c->payload_size, c->out.size());
      EXPECT_EQ(c->out, pattern(c->out.size(), c->call.xid)) << "xid " << c->call.xid;
    }
  }
}

bool executed_twice(const counter_store& store) {
  for (const auto& [xid, e] : store.effects)
    if (e.count > 1) return true;
  return false;
}

struct world {
  explicit world(loop_options options = {}) : network(time, options) {
    server = std::make_unique<test_server>(network, time, store, host_options);
  }
  ~world() {
    client.session.reset();
    server.reset();
  }
  void start() { client.start(network, time); }
  void restart_server() {
    server.reset();
    server = std::make_unique<test_server>(network, time, store, host_options);
  }
  bool finish() {
    return run_until(time, [this] { return client.all_answered(); });
  }
  virtual_scheduler time;
  loop_network network;
  counter_store store;
  export_options host_options;
  std::unique_ptr<test_server> server;
  test_client client;
};

TEST(Session, CallsOfEverySizeAreAnsweredOnce) {
  world w;
  w.start();
  run_workload(w.client, 30);
  ASSERT_TRUE(w.finish());
  expect_exactly_once(w.client, w.store);
  EXPECT_EQ(w.client.made.size(), 30u);
  EXPECT_EQ(w.client.session->status().state, import_state::full);
  EXPECT_EQ(w.server->fs->remembered, 1);
}

constexpr int workload_size = 12;

std::uint64_t frames_of_workload(std::uint32_t eager_max) {
  world w;
  w.host_options.eager_payload_max = eager_max;
  w.restart_server();
  w.start();
  run_workload(w.client, workload_size);
  EXPECT_TRUE(w.finish());
  return w.network.delivered();
}

class EveryFrame : public testing::TestWithParam<std::uint32_t> {};

TEST_P(EveryFrame, CutThereLosesNothingAndRepeatsNothing) {
  const std::uint64_t frames = frames_of_workload(GetParam());
  ASSERT_GT(frames, 20u);
  for (std::uint64_t n = 1; n <= frames; ++n) {
    SCOPED_TRACE(n);
    world w;
    w.host_options.eager_payload_max = GetParam();
    w.restart_server();
    w.network.cut_at(n);
    w.start();
    run_workload(w.client, workload_size);
    ASSERT_TRUE(w.finish());
    expect_exactly_once(w.client, w.store);
    EXPECT_EQ(w.client.evictions, 0);
  }
}

TEST_P(EveryFrame, LostThereIsNoticedAndRepaired) {
  const std::uint64_t frames = frames_of_workload(GetParam());
  for (std::uint64_t n = 1; n <= frames; ++n) {
    SCOPED_TRACE(n);
    world w;
    w.host_options.eager_payload_max = GetParam();
    w.restart_server();
    w.network.swallow_at(n);
    w.start();
    run_workload(w.client, workload_size);
    ASSERT_TRUE(w.finish());
    expect_exactly_once(w.client, w.store);
  }
}

// Restarts the server when frame `n` was delivered; true if the workload ended.
// What was under way arrives if the process dies, and does not if the machine does.
bool run_with_restart(world& w, std::uint64_t n, bool machine) {
  w.start();
  run_workload(w.client, workload_size);
  if (!run_until(w.time, [&] { return w.network.delivered() >= n; })) return false;
  if (machine) w.network.cut_all();
  w.restart_server();
  return w.finish();
}

TEST_P(EveryFrame, ServerRestartedThereExecutesEachCallOnce) {
  const std::uint64_t frames = frames_of_workload(GetParam());
  for (const int kind : {0, 1, 2, 3}) {
    const bool awaited = (kind & 1) != 0;
    for (std::uint64_t n = 1; n <= frames; ++n) {
      SCOPED_TRACE(testing::Message() << "frame " << n << " kind " << kind);
      world w;
      w.host_options.eager_payload_max = GetParam();
      w.restart_server();
      w.server->fs->awaited = awaited;
      ASSERT_TRUE(run_with_restart(w, n, (kind & 2) != 0));
      expect_exactly_once(w.client, w.store);
      EXPECT_EQ(w.client.evictions, 0);
    }
  }
}

TEST_P(EveryFrame, WithoutReplyRecordsARestartExecutesSomethingTwice) {
  const std::uint64_t frames = frames_of_workload(GetParam());
  bool twice = false;
  for (std::uint64_t n = 1; n <= frames; ++n) {
    world w;
    w.host_options.eager_payload_max = GetParam();
    w.restart_server();
    w.store.records_lost = true;
    ASSERT_TRUE(run_with_restart(w, n, true));
    twice = twice || executed_twice(w.store);
  }
  EXPECT_TRUE(twice) << "the exactly-once tests prove nothing";
}

INSTANTIATE_TEST_SUITE_P(EagerOrPulled, EveryFrame, testing::Values(1u << 20, 0u, 6000u));

TEST(Session, ClientHoldingOpensAndUncommittedAnswersRecoversThem) {
  world w;
  w.server->fs->awaited = true;
  w.start();
  made_call& first = w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  // Given three open handles and two answered mutations that the server lost with its restart.
  w.client.opens = {5, 6, 70};
  for (std::uint64_t i = 1; i <= 2; ++i) {
    replay_entry e;
    e.call = first.call;
    e.call.slot = static_cast<std::uint16_t>(10 + i);
    e.call.slot_seq = 1;
    e.call.xid = 1000 + i;
    e.transno = w.store.last_committed + i;
    w.client.replays.push_back(e);
  }
  w.restart_server();
  w.client.states.clear();
  ASSERT_TRUE(run_until(w.time, [&] {
    return !w.client.states.empty() && w.client.states.back() == import_state::full;
  }));
  // Expect the walk of the document.
  using enum import_state;
  const std::vector<import_state> walk = {discon, connecting, replay, replay_locks, replay_wait,
                                          recover, full};
  EXPECT_TRUE(std::equal(walk.rbegin(), walk.rend() - 2, w.client.states.rbegin()));
  EXPECT_EQ(w.server->fs->reclaimed, (std::set<std::uint64_t>{5, 6, 70}));
  EXPECT_EQ(w.store.effects[1001].count, 1);
  EXPECT_EQ(w.store.effects[1002].count, 1);
  EXPECT_EQ(w.server->fs->windows_ended, 1);
  EXPECT_EQ(w.client.evictions, 0);
}

TEST(Session, RecoveryCutAnywhereReplaysAndClaimsOnce) {
  for (std::uint64_t n = 1; n <= 40; ++n) {
    SCOPED_TRACE(n);
    world w;
    w.server->fs->awaited = true;
    w.start();
    made_call& first = w.client.submit(opcode::mkdir, 0, 0, 0);
    ASSERT_TRUE(w.finish());
    w.client.opens = {5, 6, 70};
    for (std::uint64_t i = 1; i <= 3; ++i) {
      replay_entry e;
      e.call = first.call;
      e.call.slot = static_cast<std::uint16_t>(10 + i);
      e.call.slot_seq = 1;
      e.call.xid = 1000 + i;
      e.transno = w.store.last_committed + i;
      w.client.replays.push_back(e);
    }
    w.restart_server();
    w.network.cut_at(w.network.delivered() + n);
    w.client.submit(opcode::write, 1, 5000, 0);
    ASSERT_TRUE(w.finish());
    for (std::uint64_t xid : {1001u, 1002u, 1003u}) EXPECT_EQ(w.store.effects[xid].count, 1);
    EXPECT_EQ(w.server->fs->reclaimed.size(), 3u);
    EXPECT_EQ(w.client.evictions, 0);
  }
}

TEST(Session, ServerThatForgotUsEvictsAndWeBeginAnew) {
  world w;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  w.client.opens = {5};
  w.store.clients.clear();
  w.restart_server();
  ASSERT_TRUE(run_until(w.time, [&] { return w.client.evictions == 1; }));
  w.client.opens.clear();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  EXPECT_EQ(w.client.evictions, 1);
}

TEST(Session, ServerOfAnOlderBootIsNotBelieved) {
  world w;
  w.store.boot = 10;
  w.restart_server();
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  w.store.boot = 3;  // restored from a snapshot
  w.restart_server();
  ASSERT_TRUE(run_until(w.time, [&] { return w.client.evictions == 1; }));
}

TEST(Session, UnansweredPingEndsTheConnectionAndNothingIsLost) {
  world w;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  w.network.swallow_all(true);
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(run_until(w.time, [&] {
    return w.client.session->status().last_reason == down_reason::timeout;
  }, 20 * ns_per_s));
  w.network.swallow_all(false);
  ASSERT_TRUE(w.finish());
  expect_exactly_once(w.client, w.store);
}

TEST(Session, SlowIsNotDead) {
  world w;
  w.server->fs->delay_ns = 20 * ns_per_s;
  w.start();
  ASSERT_TRUE(run_until(w.time, [&] {
    return w.client.session->status().state == import_state::full;
  }));
  const std::uint32_t before = w.client.session->status().connection_count;
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  EXPECT_EQ(w.client.session->status().connection_count, before);
}

TEST(Session, UnknownVolumeIsToldInWords) {
  world w;
  session_options o;
  o.volume = "nowhere";
  test_client stranger(o);
  stranger.start(w.network, w.time);
  ASSERT_TRUE(run_until(w.time, [&] {
    return stranger.session->status().last_text == "no volume nowhere here";
  }));
}

TEST(Session, StopSaysGoodbyeAndTheServerForgets) {
  world w;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  bool stopped = false;
  const std::uint64_t began = w.time.now_ns();
  w.client.session->stop([&] { stopped = true; });
  ASSERT_TRUE(run_until(w.time, [&] { return stopped; }));
  EXPECT_LT(w.time.now_ns() - began, ns_per_s);
  EXPECT_EQ(w.server->fs->forgotten, 1);
  EXPECT_EQ(w.client.session->status().state, import_state::closed);
}

TEST(Session, StopWithoutAServerEndsAtOnce) {
  world w;
  w.server.reset();
  w.start();
  bool stopped = false;
  run_until(w.time, [&] { return false; }, 3 * ns_per_s);
  w.client.session->stop([&] { stopped = true; });
  ASSERT_TRUE(run_until(w.time, [&] { return stopped; }, ns_per_s));
}

TEST(Session, NewCoreResumesTheSessionOfTheOld) {
  world w;
  w.start();
  w.client.submit(opcode::write, 0, 5000, 0);
  w.server->fs->delay_ns = 5 * ns_per_ms;
  ASSERT_TRUE(run_until(w.time, [&] { return w.server->fs->executed == 1; }));
  // The core dies with a call in execution; the next offers the same call again.
  w.client.session.reset();
  session_options o;
  o.client_id = make_id(1);
  o.incarnation = 100;
  o.volume = "home";
  o.addresses = {"server"};
  o.core_generation = 2;
  o.last_boot_generation = w.store.boot;
  w.client.session = client_session::make(o, w.network, w.time, w.client, w.client);
  w.client.session->start();
  outbound_call again = w.client.made[0]->call;
  again.attempt = 2;
  w.client.session->submit(again);
  ASSERT_TRUE(w.finish());
  expect_exactly_once(w.client, w.store);
  EXPECT_EQ(w.server->fs->executed, 1);
}

TEST(Session, NewerIncarnationWaitsForTheLivingAndReplacesTheDead) {
  world w;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  session_options o;
  o.incarnation = 101;
  test_client newer(o);
  newer.start(w.network, w.time);
  newer.submit(opcode::mkdir, 0, 0, 0);
  EXPECT_FALSE(run_until(w.time, [&] { return newer.all_answered(); }, 20 * ns_per_s));
  EXPECT_EQ(newer.session->status().last_text.substr(0, 20), "mounted already from");
  w.client.session.reset();
  EXPECT_TRUE(run_until(w.time, [&] { return newer.all_answered(); }, 20 * ns_per_s));
  EXPECT_EQ(w.server->fs->forgotten, 1);
}

TEST(Session, SilentAwaitedClientIsEvictedWhenTheWindowEnds) {
  world w;
  w.server->fs->awaited = true;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  w.client.session.reset();
  w.restart_server();
  EXPECT_TRUE(w.server->host->recovering());
  session_options o;
  o.client_id = make_id(2);
  test_client other(o);
  other.start(w.network, w.time);
  other.submit(opcode::mkdir, 0, 0, 0);
  EXPECT_FALSE(run_until(w.time, [&] { return other.all_answered(); }, 40 * ns_per_s));
  EXPECT_TRUE(run_until(w.time, [&] { return other.all_answered(); }, 10 * ns_per_s));
  EXPECT_FALSE(w.server->host->recovering());
  EXPECT_EQ(w.server->fs->windows_ended, 1);
}

TEST(Session, FewBuffersAndFewCreditsOnlySlowThingsDown) {
  for (const std::uint32_t eager : {0u, 6000u, 1u << 20}) {
    world w;
    w.host_options.buffer_count_max = 1;
    w.host_options.credits = 3;
    w.host_options.eager_payload_max = eager;
    w.restart_server();
    w.start();
    for (std::uint16_t slot = 0; slot < 24; ++slot)
      w.client.submit(slot % 4 == 3 ? opcode::read : opcode::write, slot,
                      slot % 4 == 3 ? 0 : 66'000u + slot, slot % 4 == 3 ? 80'000 : 0);
    ASSERT_TRUE(w.finish());
    expect_exactly_once(w.client, w.store);
  }
}

TEST(Session, ServerStopLetsClientsComeBackToTheNext) {
  world w;
  w.start();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  bool stopped = false;
  w.server->host->stop([&] { stopped = true; });
  ASSERT_TRUE(run_until(w.time, [&] { return stopped; }));
  w.restart_server();
  w.client.submit(opcode::mkdir, 0, 0, 0);
  ASSERT_TRUE(w.finish());
  expect_exactly_once(w.client, w.store);
}

// An answer may come before the completion of the sendmsg that carried its call together with
// later ones: this once ended the connection, over and over.
TEST(Session, ManyLargeWritesOverTcpUseOneConnection) {
  auto made = loop::make(256);
  ASSERT_TRUE(made.has_value());
  loop& l = **made;
  tcp_provider fabric(l);
  counter_store store;
  counter_service fs(store, l);
  const std::unique_ptr<export_host> host = export_host::make({}, l);
  host->add_volume("home", fs);
  auto listening = fabric.listen("127.0.0.1:0", [&](std::unique_ptr<endpoint> e) {
    host->accept(std::move(e));
  });
  ASSERT_TRUE(listening.has_value());
  session_options o;
  o.addresses = {(*listening)->address()};
  test_client client(o);
  client.start(fabric, l);
  for (int round = 0; round < 4; ++round) {
    for (std::uint16_t slot = 0; slot < 24; ++slot)
      client.submit(slot % 3 == 2 ? opcode::read : opcode::write, slot,
                    slot % 3 == 2 ? 0 : 1 << 20, slot % 3 == 2 ? 300'000 : 0);
    while (!client.all_answered()) l.run_once();
  }
  expect_exactly_once(client, store);
  EXPECT_EQ(client.session->status().connection_count, 1u);
  bool client_stopped = false;
  bool host_stopped = false;
  client.session->stop([&] { client_stopped = true; });
  while (!client_stopped) l.run_once();
  host->stop([&] { host_stopped = true; });
  while (!host_stopped) l.run_once();
  listening->reset();
  for (int i = 0; i < 10; ++i) {
    l.post([] {});
    l.run_once();
  }
}

}  // namespace
}  // namespace tangelo::test
