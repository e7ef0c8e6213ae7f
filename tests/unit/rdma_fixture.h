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
    std::int64_t time_ns = 0;
    std::vector<std::byte> payload;
  };
  std::map<std::uint64_t, effect> effects;  // by xid
  std::vector<client_record> clients;
  std::uint64_t boot = 0;
  std::uint64_t last_committed = 0;  // the low-water mark
  bool records_lost = false;  // the negative control: the store forgets its reply records
  client_record* find(const id128& id) {
    for (client_record& r : clients)
      if (r.key.client_id == id) return &r;
    return nullptr;
  }
};

// Mutations count how often each xid was executed; reads answer a pattern made from the xid. What
// was written and is not yet durable is a list of changes to the store, and dies with this.
class counter_service final : public service {
 public:
  counter_service(counter_store& store, scheduler& time) : store_(store), time_(time) {
    ++store_.boot;
    next_transno_ = store_.boot << 32;
    for (const client_record& r : store_.clients)
      recovered_ = recovered_ && (!r.awaited || r.tombstone);
  }
  ~counter_service() override { time_.cancel(commit_timer_); }
  id128 target_id() const override { return make_id(9); }
  std::uint64_t boot_generation() const override { return store_.boot; }
  std::uint64_t last_committed() const override { return store_.last_committed; }
  void execute(inbound_call& call) override {
    ++executed;
    if (call.early_answer) ++executed_early;
    order.push_back(call.xid);
    if (call.op == opcode::open || call.op == opcode::create) {
      const client_record* r = store_.find(call.client.client_id);
      unmarked_opens += r == nullptr || !r->awaited ? 1 : 0;
      holders.insert(call.client.client_id);
    }
    if (call.op == opcode::reclaim_open) {
      if (const auto body = decode<open_call>(call.body)) reclaimed.insert(body->handle);
      holders.insert(call.client.client_id);
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
    is_mutation(call.op) ? write(call) : answer_read(call);
  }
  void answered_again(const inbound_call&, byte_span) override {}
  std::vector<client_record> load_clients() override {
    std::vector<client_record> out = store_.clients;
    if (store_.records_lost)
      for (client_record& r : out) r.replies.clear();
    return out;
  }
  void remember_client(const client_key& key, std::function<void(error_code)> done) override {
    ++remembered;
    own([this, key] {
      std::erase_if(store_.clients,
                    [&](const client_record& r) { return r.key.client_id == key.client_id; });
      client_record r;
      r.key = key;
      r.awaited = awaited;
      store_.clients.push_back(r);
    }, std::move(done));
  }
  void watch_commits(std::function<void()> watcher) override { watch = std::move(watcher); }
  void set_awaited(const client_key& key, bool on, std::function<void(error_code)> done) override {
    ++marks;
    own([this, key, on] {
      if (client_record* r = store_.find(key.client_id)) r->awaited = on;
    }, std::move(done));
  }
  bool has_opens(const client_key& key) const override { return holders.contains(key.client_id); }
  void forget_client(const client_key& key, bool tombstone,
                     std::function<void(error_code)> done) override {
    ++forgotten;
    holders.erase(key.client_id);
    own([this, key, tombstone] {
      client_record* r = store_.find(key.client_id);
      if (r == nullptr || r->key != key) return;
      client_record stone;
      stone.key = key;
      stone.tombstone = true;
      stone.highest_transno = r->highest_transno;
      if (tombstone) *r = stone;
      else std::erase_if(store_.clients, [&](const client_record& c) { return c.key == key; });
    }, std::move(done));
  }
  void recovery_ended() override {
    ++windows_ended;
    recovered_ = true;
    low_water_ = std::max(low_water_, store_.boot << 32);
    commit_in(delay_ns);
  }

  std::function<void()> watch;
  std::uint64_t delay_ns = 50 * ns_per_us;
  bool awaited = true;  // what a fresh record says
  bool early = false;   // answers early when it may; else when it is durable
  std::uint64_t commit_delay_ns = 50 * ns_per_ms;  // after an early answer
  error_code status = error_code::ok;              // of mutations
  bool hold_all = false;
  std::vector<inbound_call*> held;
  std::set<std::uint64_t> reclaimed;
  std::set<id128> holders;  // clients with open files
  std::vector<std::uint64_t> order;  // xids in the order of their execution
  int executed = 0;
  int executed_early = 0;
  int unmarked_opens = 0;
  int marks = 0;
  int remembered = 0;
  int forgotten = 0;
  int windows_ended = 0;

  // Makes durable what is written, and answers who waits for it.
  void commit() {
    time_.cancel(std::exchange(commit_timer_, 0));
    const auto written = std::exchange(unsynced_, {});
    const auto waiting = std::exchange(waiting_, {});
    for (const auto& change : written) change();
    const bool moved = low_water_ > store_.last_committed;
    store_.last_committed = std::max(store_.last_committed, low_water_);
    for (const auto& answer : waiting) answer();
    if (moved && watch) watch();
  }

 private:
  void commit_in(std::uint64_t ns) {
    time_.cancel(commit_timer_);
    commit_timer_ = time_.call_after(ns, [this] { commit(); });
  }
  // A change of its own: durable a little later, with all that was written before.
  void own(std::function<void()> change, std::function<void(error_code)> done) {
    time_.call_after(delay_ns, [this, change, done, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired()) return;
      unsynced_.push_back(change);
      waiting_.push_back([done] { done(error_code::ok); });
      commit();
    });
  }
  void write(inbound_call& call) {
    if (status != error_code::ok) {
      call_result r;
      r.status = status;
      return call.complete(r);
    }
    const bool replay = (call.flags & message_flag::replay) != 0;
    const std::uint64_t transno = replay ? call.transno : ++next_transno_;
    if (recovered_) low_water_ = transno;
    const std::vector<std::byte> body(call.body.begin(), call.body.end());
    unsynced_.push_back(change_of(call, transno, body));
    const auto answer = [&call, transno, body] {
      call_result r;
      r.transno = transno;
      r.body = body;
      call.complete(r);
    };
    if (early && call.early_answer) {
      if (commit_timer_ == 0) commit_in(commit_delay_ns);
      return answer();
    }
    waiting_.push_back(answer);
    commit();
  }
  std::function<void()> change_of(const inbound_call& call, std::uint64_t transno,
                                  const std::vector<std::byte>& body) {
    const std::vector<std::byte> payload(call.payload_in.begin(), call.payload_in.end());
    const reply_record record = {call.client.incarnation, call.slot, call.slot_seq, call.xid,
                                 call.op, error_code::ok, transno, body};
    return [this, key = call.client, record, payload, at = call.replay_time_ns] {
      counter_store::effect& e = store_.effects[record.xid];
      ++e.count;
      e.transno = record.transno;
      e.time_ns = at;
      e.payload = payload;
      client_record* c = store_.find(key.client_id);
      if (c == nullptr || c->key != key) return;
      std::erase_if(c->replies, [&](const reply_record& r) { return r.slot == record.slot; });
      c->replies.push_back(record);
      c->highest_transno = std::max(c->highest_transno, record.transno);
    };
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
  std::uint64_t next_transno_ = 0;
  std::uint64_t low_water_ = 0;
  bool recovered_ = true;
  timer_id commit_timer_ = 0;
  std::vector<std::function<void()>> unsynced_;
  std::vector<std::function<void()>> waiting_;
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
  void on_claim_refused(std::uint64_t, error_code) noexcept override {}
  void on_evicted(std::uint64_t, bool) noexcept override {
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
