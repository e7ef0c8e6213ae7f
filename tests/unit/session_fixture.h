// A server that says exactly what a test tells it to, and the owner of a client session that notes
// all it hears: for the client's rules, which a real server gives no occasion to.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "protocol/ops.h"
#include "rdma/channel.h"
#include "rdma/loop/loop_network.h"
#include "rdma/session.h"

namespace tangelo::test {

struct heard_message {
  wire_header header;
  call_extension extension;
  std::vector<std::byte> body;
  std::vector<std::byte> payload;  // inline
};

// One connection that the server has accepted.
class scripted_link final : public endpoint_events {
 public:
  scripted_link(std::unique_ptr<endpoint> e, std::function<void(scripted_link&)> on_message)
      : endpoint_(std::move(e)), heard_(std::move(on_message)) {
    endpoint_->start(*this);
  }
  void on_up() noexcept override {}
  void on_message(byte_span message) noexcept override {
    message_view view;
    ASSERT_EQ(parse_message(message, view), parse_fault::none);
    last.header = view.header;
    last.extension = decode<call_extension>(view.extension).value_or(call_extension{});
    last.body.assign(view.body.begin(), view.body.end());
    last.payload.assign(view.inline_payload.begin(), view.inline_payload.end());
    heard_(*this);
  }
  void on_done(std::uint64_t, bool) noexcept override {}
  void on_sendable() noexcept override {}
  void on_down(down_reason) noexcept override { down = true; }
  void on_flushed() noexcept override {}

  void send(wire_header h, reply_extension e, byte_span body = {}, byte_span payload = {}) {
    e.body_size = static_cast<std::uint32_t>(body.size());
    e.payload_size = static_cast<std::uint32_t>(payload.size());
    if (!payload.empty()) h.flags |= message_flag::data_inline;
    std::vector<std::byte> out(wire_message_size_max);
    out.resize(build_message(h, encode_extension(e), {}, body, payload, out));
    (void)endpoint_->send(out);
  }
  template <class Body>
  void send(wire_header h, reply_extension e, const Body& body) {
    std::vector<std::byte> bytes(1024);
    bytes.resize(encode(body, bytes).value_or(0));
    send(h, e, byte_span(bytes));
  }
  void close() { endpoint_->close(down_reason::admin); }

  heard_message last;
  std::uint64_t epoch = 0;
  bool down = false;

 private:
  std::unique_ptr<endpoint> endpoint_;
  std::function<void(scripted_link&)> heard_;
};

// Answers HELLO, CONNECT, PING and claims by itself, as it is set; notes everything.
class scripted_server {
 public:
  explicit scripted_server(loop_network& network, std::string address = "server") {
    auto l = network.listen(address, [this](std::unique_ptr<endpoint> e) {
      links.emplace_back(std::move(e), [this](scripted_link& link) { take(link); });
    });
    EXPECT_TRUE(l.has_value());
    listening_ = std::move(*l);
  }
  scripted_link& link() { return links.back(); }
  wire_header header(const scripted_link& link, message_type type) const {
    wire_header h;
    h.type = type;
    h.cookie = cookie;
    h.epoch = link.epoch;
    h.ack = last_committed;
    return h;
  }
  reply_extension extension(error_code status = error_code::ok) const {
    reply_extension e;
    e.status = static_cast<std::uint32_t>(status);
    e.boot_generation = boot;
    return e;
  }
  void answer(const heard_message& call, error_code status = error_code::ok,
              std::uint64_t transno = 0, byte_span body = {}) {
    wire_header h = reply_header(call);
    h.transno = transno;
    link().send(h, extension(status), body);
  }
  wire_header reply_header(const heard_message& call) {
    wire_header h = header(link(), message_type::reply);
    h.xid = call.header.xid;
    h.slot = call.header.slot;
    h.slot_seq = call.header.slot_seq;
    return h;
  }
  void say(message_type type, std::uint64_t xid = 0, error_code status = error_code::ok) {
    wire_header h = header(link(), type);
    h.xid = xid;
    link().send(h, extension(status));
  }
  void say_advice() {
    advice_body body;
    body.boot_generation = boot;
    link().send(header(link(), message_type::advice), extension(), body);
  }
  void say_evicted() {
    close_body body;
    body.code = static_cast<std::uint16_t>(error_code::evicted);
    body.text = "evicted by the admin";
    link().send(header(link(), message_type::error), extension(), body);
  }
  // The replays and ordinary calls heard so far, and not those before forget().
  std::vector<heard_message> calls;
  std::vector<heard_message> claims;
  error_code claim_status = error_code::ok;
  std::vector<connect_body> connects;
  std::vector<close_body> goodbyes;
  std::list<scripted_link> links;

  connect_ack_body ack;  // cookie, boot and last_committed are filled in
  std::uint64_t cookie = 77;
  std::uint64_t boot = 5;
  std::uint64_t last_committed = 0;
  std::uint64_t features = feature::known;
  int connects_to_lose = 0;  // CONNECTs that are not answered: the link ends instead
  bool answers_pings = true;
  bool ends_window = true;
  std::size_t pings = 0;
  std::size_t replays_done = 0;
  std::function<void(const heard_message&)> on_call;

 private:
  void take(scripted_link& link) {
    const message_type type = link.last.header.type;
    if (type == message_type::hello) return take_hello(link);
    if (type == message_type::connect) return take_connect(link);
    if (type == message_type::ping) {
      ++pings;
      if (answers_pings) say(message_type::pong, link.last.header.xid);
    } else if (type == message_type::replay_done) {
      ++replays_done;
      if (ends_window) say(message_type::replay_done_ack);
    } else if (type == message_type::goodbye) {
      goodbyes.push_back(decode<close_body>(link.last.body).value_or(close_body{}));
    } else if (type == message_type::call) {
      const heard_message call = link.last;
      if (call.header.op == opcode::reclaim_open) {
        claims.push_back(call);
        return answer(call, claim_status);
      }
      calls.push_back(call);
      if (on_call) on_call(call);
    }
  }
  void take_hello(scripted_link& link) {
    hello_ack_body body;
    body.features = features;
    body.target_id[0] = std::byte{9};
    body.credits = 64;
    wire_header h;
    h.type = message_type::hello_ack;
    link.send(h, {}, body);
  }
  void take_connect(scripted_link& link) {
    link.epoch = link.last.header.epoch;
    connects.push_back(decode<connect_body>(link.last.body).value_or(connect_body{}));
    if (connects_to_lose > 0) {
      --connects_to_lose;
      return link.close();
    }
    connect_ack_body body = ack;
    body.cookie = cookie;
    body.boot_generation = boot;
    body.last_committed = last_committed;
    if (body.verdict == connect_verdict{}) body.verdict = connect_verdict::fresh;
    link.send(header(link, message_type::connect_ack), extension(), body);
  }
  std::unique_ptr<listener> listening_;
};

// The owner of the session.
class session_probe final : public session_events, public replay_source {
 public:
  void on_reply(const inbound_reply& reply) noexcept override {
    replies.push_back(reply);
    bodies.emplace_back(reply.body.begin(), reply.body.end());
  }
  void on_import_state(import_state state) noexcept override { states.push_back(state); }
  void on_committed(std::uint64_t transno) noexcept override { committed.push_back(transno); }
  void on_evicted(std::uint64_t kept_through, bool) noexcept override {
    evictions.push_back(kept_through);
  }
  void on_replay_failed(const replay_entry& entry, error_code) noexcept override {
    failed.push_back(entry.transno);
    if (unsettled_by_failures) is_settled = false;
  }
  void on_claim_refused(std::uint64_t handle, error_code) noexcept override {
    refused_claims.push_back(handle);
  }
  bool settled() const override { return is_settled; }
  bool next_replay(std::uint64_t after, replay_entry& out) override {
    for (const replay_entry& e : replays) {
      if (e.transno <= after) continue;
      out = e;
      return true;
    }
    return false;
  }
  bool next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                 std::uint32_t& flags) override {
    if (after != 0 || !has_open) return false;
    handle = 3, inode = 30, flags = 0;
    return true;
  }
  std::uint32_t held(std::uint64_t last_committed) const override {
    const bool uncommitted = !replays.empty() && replays.back().transno > last_committed;
    return (has_open ? held_state::opens : 0) | (uncommitted ? held_state::uncommitted : 0);
  }
  void keep(std::uint64_t transno, opcode op = opcode::mkdir) {
    replay_entry e;
    e.transno = transno;
    e.time_ns = static_cast<std::int64_t>(transno * 1000);
    e.call.slot = static_cast<std::uint16_t>(replays.size() % 8);
    e.call.slot_seq = static_cast<std::uint32_t>(replays.size() + 1);
    e.call.xid = 500 + transno;
    e.call.op = op;
    e.call.body = body;
    replays.push_back(e);
  }

  std::vector<std::byte> body = std::vector<std::byte>(16, std::byte{1});
  std::vector<inbound_reply> replies;
  std::vector<std::vector<std::byte>> bodies;  // of the replies
  std::vector<import_state> states;
  std::vector<std::uint64_t> committed;
  std::vector<std::uint64_t> evictions;
  std::vector<std::uint64_t> failed;
  std::vector<std::uint64_t> refused_claims;
  std::vector<replay_entry> replays;
  bool has_open = false;
  bool is_settled = true;
  bool unsettled_by_failures = false;
};

struct session_world {
  session_world() : network(time), server(network) {
    options.client_id[0] = std::byte{1};
    options.incarnation = 100;
    options.volume = "home";
    options.addresses = {"server"};
    server.ack.lease_ms = 30'000;
  }
  void start() {
    session = client_session::make(options, network, time, owner, owner);
    session->start();
  }
  // As a core does that knows this server already.
  void start_known(std::uint64_t boot, std::uint64_t committed = 0) {
    options.last_boot_generation = boot;
    options.last_committed = committed;
    start();
  }
  import_state state() const { return session->status().state; }
  bool reach(import_state wanted, std::uint64_t limit_ns = 100 * ns_per_s) {
    return until([&] { return state() == wanted; }, limit_ns);
  }
  template <class Done>
  bool until(Done done, std::uint64_t limit_ns = 100 * ns_per_s) {
    const std::uint64_t end = time.now_ns() + limit_ns;
    while (!done())
      if (time.now_ns() > end || !time.run_one()) return done();
    return true;
  }
  void wait(std::uint64_t ns) { time.advance(ns); }
  void call(std::uint16_t slot, opcode op = opcode::mkdir, std::uint32_t seq = 1) {
    outbound_call c;
    c.slot = slot;
    c.slot_seq = seq;
    c.xid = 1000u + slot * 100u + seq;
    c.op = op;
    c.body = owner.body;
    session->submit(c);
  }

  virtual_scheduler time;
  loop_network network;
  scripted_server server;
  session_probe owner;
  session_options options;
  std::unique_ptr<client_session> session;
};

}  // namespace tangelo::test
