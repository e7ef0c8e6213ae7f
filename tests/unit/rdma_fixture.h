// What the rdma tests share: a tiny filesystem of counters behind the `service` seam, with a store
// that outlives its server, and a client that submits calls and notes the answers.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "protocol/ops.h"
#include "rdma/export.h"
#include "rdma/loop/loop_network.h"
#include "rdma/session.h"

namespace tangelo::test {

inline id128 make_id(unsigned char n) {
  id128 id{};
  id[0] = std::byte{n};
  return id;
}

inline std::vector<std::byte> pattern(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> out(size);
  prng random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

// What survives a restart of the server.
struct counter_store {
  struct effect {
    std::uint64_t transno = 0;
    int count = 0;
    std::vector<std::byte> payload;
  };
  std::map<std::uint64_t, effect> effects;  // by xid
  std::vector<client_record> clients;
  std::uint64_t boot = 0;
  std::uint64_t last_committed = 0;
  bool records_lost = false;  // the negative control: the store forgets its reply records
};

// Mutations count how often each xid was executed; reads answer a pattern made from the xid.
class counter_service final : public service {
 public:
  counter_service(counter_store& store, scheduler& time) : store_(store), time_(time) {
    ++store_.boot;
  }
  id128 target_id() const override { return make_id(9); }
  std::uint64_t boot_generation() const override { return store_.boot; }
  std::uint64_t last_committed() const override { return store_.last_committed; }
  void execute(inbound_call& call) override {
    ++executed;
    if (call.op == opcode::reclaim_open) {
      if (const auto body = decode<open_call>(call.body)) reclaimed.insert(body->handle);
      call.complete({});
      return;
    }
    if (hold_all) {
      held.push_back(&call);
      return;
    }
    // A crash between execution and commit loses both effect and answer.
    time_.call_after(delay_ns, [this, &call, alive = std::weak_ptr<int>(alive_)] {
      if (!alive.expired()) finish(call);
    });
  }
  void finish(inbound_call& call) {
    is_mutation(call.op) ? commit(call) : answer_read(call);
  }
  void answered_again(const inbound_call&, byte_span) override {}
  std::vector<client_record> load_clients() override {
    std::vector<client_record> out = store_.clients;
    if (store_.records_lost)
      for (client_record& r : out) r.replies.clear();
    return out;
  }
  void remember_client(const client_key& key, std::function<void(error_code)> done) override {
    std::erase_if(store_.clients,
                  [&](const client_record& r) { return r.key.client_id == key.client_id; });
    client_record r;
    r.key = key;
    r.awaited = awaited;
    store_.clients.push_back(r);
    ++remembered;
    time_.call_after(delay_ns, [done] { done(error_code::ok); });
  }
  void watch_commits(std::function<void()> watcher) override { watch = std::move(watcher); }
  void set_awaited(const client_key&, bool, std::function<void(error_code)> done) override {
    done(error_code::ok);
  }
  bool has_opens(const client_key&) const override { return true; }
  void forget_client(const client_key& key, bool, std::function<void(error_code)> done) override {
    std::erase_if(store_.clients, [&](const client_record& r) { return r.key == key; });
    ++forgotten;
    time_.call_after(delay_ns, [done] { done(error_code::ok); });
  }
  void recovery_ended() override { ++windows_ended; }

  std::function<void()> watch;  // called by tests
  std::uint64_t delay_ns = 50 * ns_per_us;
  bool awaited = false;
  bool hold_all = false;
  std::vector<inbound_call*> held;
  std::set<std::uint64_t> reclaimed;
  int executed = 0;
  int remembered = 0;
  int forgotten = 0;
  int windows_ended = 0;

 private:
  void commit(inbound_call& call) {
    const std::uint64_t transno = ++store_.last_committed;
    counter_store::effect& e = store_.effects[call.xid];
    ++e.count;
    e.transno = transno;
    e.payload.assign(call.payload_in.begin(), call.payload_in.end());
    std::vector<std::byte> body(call.body.begin(), call.body.end());
    for (client_record& c : store_.clients) {
      if (c.key != call.client) continue;
      std::erase_if(c.replies, [&](const reply_record& r) { return r.slot == call.slot; });
      c.replies.push_back({call.client.incarnation, call.slot, call.slot_seq, call.xid, call.op,
                           error_code::ok, transno, body});
    }
    call_result r;
    r.transno = transno;
    r.body = body;
    call.complete(r);
  }
  void answer_read(inbound_call& call) {
    const std::vector<std::byte> bytes = pattern(call.payload_out.size(), call.xid);
    copy_bytes(call.payload_out, bytes);
    const std::vector<std::byte> body(call.body.begin(), call.body.end());
    call_result r;
    r.body = body;
    r.payload_size = bytes.size();
    call.complete(r);
  }

  counter_store& store_;
  scheduler& time_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

// A session with slots, the memory of its calls, and what came of them.
class test_client final : public session_events, public replay_source {
 public:
  struct made_call {
    outbound_call call;
    std::vector<std::byte> body;
    std::vector<std::byte> in;
    std::vector<std::byte> out;
    int answers = 0;
    error_code status = error_code::ok;
    std::size_t payload_size = 0;
    std::vector<std::byte> answer;
  };

  explicit test_client(session_options options = {}) : options_(std::move(options)) {
    if (options_.client_id == id128{}) options_.client_id = make_id(1);
    if (options_.incarnation == 0) options_.incarnation = 100;
    if (options_.volume.empty()) options_.volume = "home";
    if (options_.addresses.empty()) options_.addresses = {"server"};
  }
  void start(provider& fabric, scheduler& time) {
    session = client_session::make(options_, fabric, time, *this, *this);
    session->start();
  }
  made_call& submit(opcode op, std::uint16_t slot, std::size_t in, std::size_t out) {
    auto c = std::make_unique<made_call>();
    c->body = pattern(64, next_xid);
    c->in = pattern(in, next_xid);
    c->out.resize(out);
    c->call.slot = slot;
    c->call.slot_seq = ++sequences[slot];
    c->call.xid = next_xid++;
    c->call.op = op;
    c->call.body = c->body;
    c->call.payload_in = c->in;
    c->call.payload_out = c->out;
    made.push_back(std::move(c));
    by_slot[slot] = made.back().get();
    session->submit(made.back()->call);
    return *made.back();
  }
  bool all_answered() const {
    for (const auto& c : made)
      if (c->answers == 0) return false;
    return true;
  }

  void on_reply(const inbound_reply& reply) noexcept override {
    made_call* c = by_slot[reply.slot];
    ASSERT_NE(c, nullptr);
    ASSERT_EQ(c->call.slot_seq, reply.slot_seq);
    ++c->answers;
    c->status = reply.status;
    c->payload_size = reply.payload_size;
    c->answer.assign(reply.body.begin(), reply.body.end());
    if (after_reply) after_reply(*c);
  }
  void on_import_state(import_state state) noexcept override { states.push_back(state); }
  void on_committed(std::uint64_t) noexcept override {}
  void on_replay_failed(const replay_entry&, error_code) noexcept override {}
  void on_evicted(std::uint64_t) noexcept override {
    ++evictions;
    session->invalidated();
  }
  bool settled() const override { return true; }
  bool next_replay(std::uint64_t after, replay_entry& out) override {
    for (const replay_entry& e : replays) {
      if (e.transno <= after) continue;
      out = e;
      return true;
    }
    return false;
  }
  bool next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                 std::uint32_t& open_flags) override {
    const auto it = opens.upper_bound(after);
    if (it == opens.end()) return false;
    handle = *it;
    inode = *it + 1000;
    open_flags = 0;
    return true;
  }
  std::uint32_t held(std::uint64_t) const override {
    return (opens.empty() ? 0 : held_state::opens) |
           (replays.empty() ? 0 : held_state::uncommitted);
  }

  std::unique_ptr<client_session> session;
  std::vector<std::unique_ptr<made_call>> made;
  std::map<std::uint16_t, made_call*> by_slot;
  std::map<std::uint16_t, std::uint32_t> sequences;
  std::uint64_t next_xid = 1;
  std::vector<import_state> states;
  int evictions = 0;
  std::vector<replay_entry> replays;  // ascending transno
  std::set<std::uint64_t> opens;
  std::function<void(made_call&)> after_reply;

 private:
  session_options options_;
};

// A server that can be killed and started again on the same store.
struct test_server {
  test_server(loop_network& network, scheduler& time, counter_store& store,
              export_options options = {})
      : fs(std::make_unique<counter_service>(store, time)),
        host(export_host::make(options, time)) {
    host->add_volume("home", *fs);
    auto l = network.listen("server", [h = host.get()](std::unique_ptr<endpoint> e) {
      h->accept(std::move(e));
    });
    EXPECT_TRUE(l.has_value());
    listening = std::move(*l);
  }
  std::unique_ptr<counter_service> fs;
  std::unique_ptr<export_host> host;
  std::unique_ptr<listener> listening;
};

// Runs until `done` or until `limit_ns` of virtual time have passed.
template <class Done>
bool run_until(virtual_scheduler& time, Done done, std::uint64_t limit_ns = 300 * ns_per_s) {
  const std::uint64_t end = time.now_ns() + limit_ns;
  while (!done()) {
    if (time.now_ns() > end || !time.run_one()) return done();
  }
  return true;
}

}  // namespace tangelo::test
