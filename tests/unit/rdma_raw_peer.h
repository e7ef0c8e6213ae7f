// raw_peer: a peer of the export without a session: sends what it is told, notes what it hears.
#pragma once

#include <algorithm>

#include "rdma/channel.h"
#include "tests/unit/rdma_fixture.h"

namespace tangelo::test {

using bytes = std::vector<std::byte>;

class raw_peer final : public endpoint_events {
 public:
  struct message {
    wire_header header;
    reply_extension extension;
    bytes body;
  };
  // What a call says besides its name.
  struct call_options {
    opcode op = opcode::mkdir;
    std::uint16_t flags = 0;
    std::uint64_t transno = 0;
    std::uint64_t ack = 0;
    std::uint32_t deadline_ms = 0;
    std::int64_t time_ns = 0;
    std::vector<chunk> chunks;
  };

  raw_peer(loop_network& network, virtual_scheduler& time) : time_(time) {
    wire_ = network.connect("server");
    wire_->start(*this);
    run_until(time_, [&] { return up || flushed; });
  }
  void on_up() noexcept override { up = true; }
  void on_message(byte_span raw) noexcept override {
    message_view view;
    ASSERT_EQ(parse_message(raw, view), parse_fault::none);
    message m;
    m.header = view.header;
    m.extension = decode<reply_extension>(view.extension).value_or(reply_extension{});
    m.body.assign(view.body.begin(), view.body.end());
    heard.push_back(std::move(m));
    if (const auto body = decode<close_body>(view.body);
        body && view.header.type == message_type::error)
      error_text = std::string(body->text);
    if (view.header.type != message_type::connect_ack) return;
    if (const auto ack = decode<connect_ack_body>(view.body)) {
      verdict = ack->verdict;
      text = std::string(ack->text);
      kept_through = ack->kept_through;
      if (ack->cookie != 0) cookie = ack->cookie;
    }
  }
  void on_done(std::uint64_t, bool) noexcept override {}
  void on_sendable() noexcept override {}
  void on_down(down_reason) noexcept override { up = false; }
  void on_flushed() noexcept override { flushed = true; }

  template <class Body>
  bytes make(message_type type, const Body& body, wire_header h = {},
             std::vector<chunk> chunks = {}, call_extension e = {}) const {
    bytes encoded(1024);
    encoded.resize(encode(body, encoded).value_or(0));
    h.type = type;
    h.cookie = cookie;
    h.epoch = epoch;
    e.body_size = static_cast<std::uint32_t>(encoded.size());
    bytes out(wire_message_size_max);
    out.resize(build_message(h, encode_extension(e), chunks, encoded, {}, out));
    return out;
  }
  void send(const bytes& m) { (void)wire_->send(m); }
  template <class Body>
  void say(message_type type, const Body& body) {
    send(make(type, body));
  }
  void ping() { say(message_type::ping, empty_answer{}); }
  void settle(std::uint64_t ns = 50 * ns_per_ms) { time_.advance(ns); }
  // Stays connected: a PING every second.
  void live(std::uint64_t ns) {
    for (std::uint64_t gone = 0; gone < ns; gone += ns_per_s) {
      ping();
      settle(std::min(ns - gone, ns_per_s));
    }
  }
  bytes hello() const {
    hello_body b;
    b.volume = "home";
    return make(message_type::hello, b);
  }
  bytes connect_message() const {
    connect_body b;
    b.client_id = identity;
    b.incarnation = incarnation;
    b.last_boot_generation = last_boot;
    b.last_committed = last_committed;
    b.held = held;
    return make(message_type::connect, b);
  }
  // The verdict on a CONNECT.
  connect_verdict connect() {
    verdict = {};
    send(hello());
    send(connect_message());
    settle(2 * ns_per_ms);
    return verdict;
  }
  void attach() {
    connect();
    settle();
    ASSERT_NE(cookie, 0u);
  }
  bytes call(std::uint16_t slot, std::uint32_t seq, std::uint64_t xid,
             std::vector<chunk> chunks = {}, opcode op = opcode::mkdir) const {
    call_options o;
    o.op = op;
    o.chunks = std::move(chunks);
    return call_with(slot, seq, xid, o);
  }
  bytes call_with(std::uint16_t slot, std::uint32_t seq, std::uint64_t xid,
                  const call_options& o) const {
    wire_header h;
    h.slot = slot;
    h.slot_seq = seq;
    h.xid = xid;
    h.op = o.op;
    h.flags = o.flags;
    h.transno = o.transno;
    h.ack = o.ack;
    call_extension e;
    e.relative_deadline_ms = o.deadline_ms;
    e.replay_time_ns = o.time_ns;
    return make(message_type::call, name_call{{}, 1, "x"}, h, o.chunks, e);
  }
  void replay(std::uint16_t slot, std::uint64_t transno, std::uint64_t before) {
    call_options o;
    o.flags = message_flag::replay;
    o.transno = transno;
    o.ack = before;
    send(call_with(slot, 1, 1000 + transno, o));
  }
  int count(message_type type) const {
    return static_cast<int>(std::count_if(heard.begin(), heard.end(), [type](const message& m) {
      return m.header.type == type;
    }));
  }
  int replies() const { return count(message_type::reply); }
  // The last message of this type; it must be there.
  const message& last(message_type type) const {
    static const message none;
    const auto it = std::find_if(heard.rbegin(), heard.rend(), [type](const message& m) {
      return m.header.type == type;
    });
    EXPECT_NE(it, heard.rend());
    return it == heard.rend() ? none : *it;
  }
  const message& reply() const { return last(message_type::reply); }
  error_code status() const {
    return error_of_wire(static_cast<std::uint16_t>(reply().extension.status));
  }
  void cut() { wire_->close(down_reason::admin); }
  endpoint& wire() { return *wire_; }

  bool up = false;
  bool flushed = false;
  id128 identity = make_id(3);
  std::uint64_t incarnation = 5;
  std::uint64_t last_boot = 0;
  std::uint64_t last_committed = 0;
  std::uint32_t held = 0;
  std::uint64_t cookie = 0;
  std::uint64_t epoch = 1;
  connect_verdict verdict{};
  std::string text;
  std::uint64_t kept_through = 0;
  std::vector<message> heard;
  std::string error_text;

 private:
  virtual_scheduler& time_;
  std::unique_ptr<endpoint> wire_;
};

// One server that can be restarted, and peers of one client that come one after the other.
struct raw_world {
  explicit raw_world(loop_options wire = {}) : network(time, wire) { restart(); }
  ~raw_world() { peers.clear(); }
  void restart() {
    server.reset();
    server = std::make_unique<test_server>(network, time, store, options);
    server->fs->early = true;
  }
  // The next connection of client `n`, which has acted upon the present boot unless told otherwise.
  raw_peer& peer(unsigned char n = 3) {
    peers.push_back(std::make_unique<raw_peer>(network, time));
    peers.back()->identity = make_id(n);
    peers.back()->epoch = peers.size();
    return *peers.back();
  }
  raw_peer& attached(unsigned char n = 3) {
    raw_peer& p = peer(n);
    p.attach();
    return p;
  }
  void settle(std::uint64_t ns = 50 * ns_per_ms) { time.advance(ns); }
  // What the server says of client `n`.
  export_status status(unsigned char n = 3) const {
    for (const export_status& s : server->host->status())
      if (s.client.client_id == make_id(n)) return s;
    return {};
  }
  counter_service& fs() { return *server->fs; }
  virtual_scheduler time;
  loop_network network;
  counter_store store;
  export_options options;
  std::unique_ptr<test_server> server;
  std::vector<std::unique_ptr<raw_peer>> peers;
};

}  // namespace tangelo::test
