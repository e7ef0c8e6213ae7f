// The conformance suite of the provider seam: the same sentences must hold for every fabric.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "base/prng.h"
#include "rdma/channel.h"
#include "rdma/fabric.h"
#include "rdma/loop/loop_network.h"
#include "rdma/tag_map.h"
#include "rdma/tcp/send_queue.h"
#include "rdma/tcp/tcp_provider.h"

namespace tangelo {
namespace {

using bytes = std::vector<std::byte>;

bytes make_bytes(std::size_t size, std::uint64_t seed) {
  bytes out(size);
  prng random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

bytes make_message(std::uint64_t xid, std::size_t body_size, std::vector<chunk> chunks = {}) {
  wire_header h;
  h.type = message_type::call;
  h.xid = xid;
  call_extension e;
  e.body_size = static_cast<std::uint32_t>(body_size);
  const bytes body = make_bytes(body_size, xid);
  bytes out(wire_message_size_max);
  out.resize(build_message(h, encode_extension(e), chunks, body, {}, out));
  return out;
}

chunk make_chunk(chunk_kind kind, std::uint64_t tag, std::size_t size, bool eager = false) {
  chunk c;
  c.kind = kind;
  c.transfer_tag = tag;
  c.size = static_cast<std::uint32_t>(size);
  c.flags = eager ? chunk_flag::eager : 0;
  return c;
}

// One end, noting everything that happens to it.
class recorder final : public endpoint_events {
 public:
  void own(std::unique_ptr<endpoint> e) {
    wire = std::move(e);
    wire->start(*this);
  }
  void on_up() noexcept override {
    ++ups;
    quiet();
  }
  void on_message(byte_span message) noexcept override {
    quiet();
    messages.emplace_back(message.begin(), message.end());
    if (on_call) on_call(message);
  }
  void on_done(std::uint64_t cookie, bool ok) noexcept override {
    quiet();
    EXPECT_TRUE(ok);
    done.push_back(cookie);
  }
  void on_sendable() noexcept override {
    quiet();
    ++sendables;
  }
  void on_down(down_reason r) noexcept override {
    quiet();
    ++downs;
    reason = r;
  }
  void on_flushed() noexcept override {
    EXPECT_EQ(downs, 1);
    ++flushes;
  }
  void quiet() const { EXPECT_EQ(flushes, 0) << "an event after on_flushed"; }

  std::unique_ptr<endpoint> wire;
  std::vector<bytes> messages;
  std::vector<std::uint64_t> done;
  std::function<void(byte_span)> on_call;
  down_reason reason = down_reason::none;
  int ups = 0;
  int sendables = 0;
  int downs = 0;
  int flushes = 0;
};

enum class fabric_kind { loop_fabric, tcp_fabric, verbs_fabric };

// The address of an RDMA device of this machine, "10.9.0.1"; empty: there is none to test with.
std::string verbs_address() {
  const char* address = std::getenv("TANGELO_VERBS_ADDRESS");
  return address == nullptr ? "" : address;
}

class Provider : public testing::TestWithParam<fabric_kind> {
 protected:
  void SetUp() override {
    if (GetParam() == fabric_kind::loop_fabric) {
      network_ = std::make_unique<loop_network>(time_);
      fabric_ = network_.get();
      where_ = "here";
    } else {
      auto made = loop::make(64);
      ASSERT_TRUE(made.has_value());
      loop_ = std::move(*made);
      if (GetParam() == fabric_kind::tcp_fabric) {
        wire_ = std::make_unique<tcp_provider>(*loop_);
        where_ = "127.0.0.1:0";
      } else {
        if (verbs_address().empty()) GTEST_SKIP() << "TANGELO_VERBS_ADDRESS names no RDMA device";
        outcome<std::unique_ptr<provider>> verbs = make_verbs(*loop_);
        ASSERT_TRUE(verbs.has_value()) << verbs.error().text;
        wire_ = std::move(*verbs);
        where_ = verbs_address() + ":0";
      }
      fabric_ = wire_.get();
    }
    auto l = fabric_->listen(where_, [this](std::unique_ptr<endpoint> e) {
      server.own(std::move(e));
    });
    ASSERT_TRUE(l.has_value());
    listening_ = std::move(*l);
    where_ = listening_->address();
  }
  void TearDown() override {
    for (recorder* r : {&client, &server}) {
      if (r->wire == nullptr) continue;
      r->wire->close(down_reason::admin);
      EXPECT_TRUE(until([r] { return r->flushes == 1; }));
      EXPECT_EQ(r->downs, 1);
      r->wire.reset();
    }
    listening_.reset();
    settle();
  }
  template <class Done>
  bool until(Done condition) {
    for (int i = 0; i < 200'000 && !condition(); ++i) turn();
    return condition();
  }
  void turn() {
    if (loop_ == nullptr) {
      (void)time_.run_one();
    } else {
      loop_->post([] {});
      loop_->run_once();
    }
  }
  void settle() {
    for (int i = 0; i < 300; ++i) turn();
  }
  void connect() {
    client.own(fabric_->connect(where_));
    ASSERT_TRUE(until([&] { return client.ups == 1 && server.ups == 1; }));
  }

  virtual_scheduler time_;
  std::unique_ptr<loop_network> network_;
  std::unique_ptr<loop> loop_;
  std::unique_ptr<provider> wire_;
  provider* fabric_ = nullptr;
  std::string where_;
  std::unique_ptr<listener> listening_;
  recorder client;
  recorder server;
};

TEST_P(Provider, MessagesOfEverySizeArriveWholeAndInOrder) {
  connect();
  std::vector<bytes> sent;
  for (std::uint64_t i = 0; i < 5000; ++i) sent.push_back(make_message(i, (i * 37) % 8000));
  std::size_t next = 0;
  ASSERT_TRUE(until([&] {
    while (next < sent.size()) {
      const send_status s = client.wire->send(sent[next]);
      if (s == send_status::no_buffers) break;
      EXPECT_EQ(s, send_status::sent);
      ++next;
    }
    return server.messages.size() == sent.size();
  }));
  EXPECT_EQ(server.messages, sent);
  EXPECT_EQ(server.wire->stats().messages_received, sent.size());
}

TEST_P(Provider, FullQueueSaysNoBuffersAndLaterSendable) {
  connect();
  const bytes m = make_message(1, 8000);
  std::size_t sent = 0;
  while (client.wire->send(m) == send_status::sent) ++sent;
  EXPECT_EQ(client.wire->send(m), send_status::no_buffers);
  ASSERT_TRUE(until([&] { return client.sendables >= 1 && server.messages.size() == sent; }));
  EXPECT_EQ(client.wire->send(m), send_status::sent);
}

TEST_P(Provider, SendNeedsAConnectionAndAPermittedSize) {
  client.own(fabric_->connect(where_));
  EXPECT_EQ(client.wire->send(make_message(1, 10)), send_status::not_connected);
  ASSERT_TRUE(until([&] { return client.ups == 1 && server.ups == 1; }));
  EXPECT_EQ(client.wire->send(bytes(wire_message_size_max + 1)), send_status::io_error);
  EXPECT_EQ(client.wire->send(bytes(10)), send_status::io_error);
  client.wire->close(down_reason::admin);
  EXPECT_EQ(client.wire->send(make_message(1, 10)), send_status::not_connected);
}

TEST_P(Provider, ConnectToNobodyIsRefused) {
  listening_.reset();
  settle();
  client.own(fabric_->connect(where_));
  ASSERT_TRUE(until([&] { return client.flushes == 1; }));
  EXPECT_EQ(client.ups, 0);
  EXPECT_EQ(client.reason, down_reason::refused);
}

TEST_P(Provider, CloseIsIdempotentAndTellsThePeer) {
  connect();
  client.wire->close(down_reason::epoch_superseded);
  client.wire->close(down_reason::admin);
  EXPECT_EQ(client.downs, 0) << "an event from inside a call";
  ASSERT_TRUE(until([&] { return client.flushes == 1 && server.flushes == 1; }));
  EXPECT_EQ(client.reason, down_reason::epoch_superseded);
  EXPECT_EQ(server.reason, down_reason::peer_closed);
  client.wire->close(down_reason::admin);
  settle();
  EXPECT_EQ(client.flushes, 1);
}

TEST_P(Provider, CloseBeforeUpEndsTheAttempt) {
  client.own(fabric_->connect(where_));
  client.wire->close(down_reason::timeout);
  ASSERT_TRUE(until([&] { return client.flushes == 1; }));
  EXPECT_EQ(client.reason, down_reason::timeout);
}

TEST_P(Provider, WhatWasSentBeforeCloseArrives) {
  connect();
  const bytes m = make_message(1, 100);
  EXPECT_EQ(client.wire->send(m), send_status::sent);
  client.wire->close(down_reason::admin);
  ASSERT_TRUE(until([&] { return server.flushes == 1; }));
  ASSERT_EQ(server.messages.size(), 1u);
  EXPECT_EQ(server.messages[0], m);
}

TEST_P(Provider, PullChunksAreReadWholeEagerOrAsked) {
  connect();
  std::uint64_t tag = 1;
  for (const bool eager : {false, true}) {
    for (const std::size_t size : {1u, 5000u, 65536u, 300'000u, 1u << 20}) {
      SCOPED_TRACE(testing::Message() << size << (eager ? " eager" : ""));
      bytes source = make_bytes(size, tag);
      bytes into(size);
      const chunk c = make_chunk(chunk_kind::pull, tag, size, eager);
      server.on_call = [&](byte_span) {
        EXPECT_EQ(server.wire->read_remote(c, into, tag), send_status::sent);
      };
      client.wire->expose(c, source, eager);
      ASSERT_EQ(client.wire->send(make_message(tag, 50, {c})), send_status::sent);
      ASSERT_TRUE(until([&] { return !server.done.empty() && server.done.back() == tag; }));
      EXPECT_EQ(into, source);
      settle();
      client.wire->retract(tag++);
    }
  }
  EXPECT_EQ(server.downs + client.downs, 0);
}

TEST_P(Provider, MemoryThatMayNotBeWrittenIsRead) {
  connect();
  const bytes source = make_bytes(20'000, 1);
  const unique_fd file(::memfd_create("read-only", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), source.data(), source.size()),
            static_cast<ssize_t>(source.size()));
  void* mapped = ::mmap(nullptr, source.size(), PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  bytes into(source.size());
  const chunk c = make_chunk(chunk_kind::pull, 1, source.size());
  server.on_call = [&](byte_span) {
    EXPECT_EQ(server.wire->read_remote(c, into, 7), send_status::sent);
  };
  client.wire->expose(c, {static_cast<std::byte*>(mapped), source.size()}, false);
  ASSERT_EQ(client.wire->send(make_message(1, 50, {c})), send_status::sent);
  ASSERT_TRUE(until([&] { return !server.done.empty(); }));
  EXPECT_EQ(into, source);
  client.wire->retract(1);
  (void)::munmap(mapped, source.size());
}

TEST_P(Provider, WhatFollowsEagerBytesWaitsForTheirRead) {
  connect();
  bytes source = make_bytes(200'000, 1);
  bytes into(source.size());
  const chunk c = make_chunk(chunk_kind::pull, 1, source.size(), true);
  client.wire->expose(c, source, true);
  ASSERT_EQ(client.wire->send(make_message(1, 50, {c})), send_status::sent);
  ASSERT_EQ(client.wire->send(make_message(2, 50)), send_status::sent);
  ASSERT_TRUE(until([&] { return server.messages.size() == 1; }));
  settle();
  EXPECT_EQ(server.messages.size(), 1u);
  EXPECT_EQ(server.wire->read_remote(c, into, 7), send_status::sent);
  ASSERT_TRUE(until([&] { return server.messages.size() == 2; }));
  EXPECT_EQ(server.done, (std::vector<std::uint64_t>{7}));
  EXPECT_EQ(into, source);
}

TEST_P(Provider, UnwantedBytesAreDropped) {
  connect();
  bytes source = make_bytes(200'000, 1);
  for (const bool eager : {true, false}) {
    const std::uint64_t tag = eager ? 1 : 2;
    const chunk c = make_chunk(chunk_kind::pull, tag, source.size(), eager);
    server.on_call = [&, c, tag](byte_span) {
      EXPECT_EQ(server.wire->read_remote(c, {}, tag), send_status::sent);
    };
    client.wire->expose(c, source, eager);
    ASSERT_EQ(client.wire->send(make_message(tag, 50, {c})), send_status::sent);
    ASSERT_TRUE(until([&] { return !server.done.empty() && server.done.back() == tag; }));
  }
  server.on_call = nullptr;
  ASSERT_EQ(client.wire->send(make_message(3, 50)), send_status::sent);
  ASSERT_TRUE(until([&] { return server.messages.size() == 3; }));
}

TEST_P(Provider, PushedBytesAreThereBeforeTheMessageBehindThem) {
  connect();
  for (const std::size_t size : {1u, 5000u, 65536u, 1u << 20}) {
    SCOPED_TRACE(size);
    const std::uint64_t tag = size;
    bytes memory(size);
    const bytes from = make_bytes(size, tag);
    const chunk c = make_chunk(chunk_kind::push, tag, size);
    client.wire->expose(c, memory, false);
    bool complete = false;
    client.on_call = [&](byte_span) { complete = memory == from; };
    ASSERT_EQ(server.wire->write_remote(c, from, tag), send_status::sent);
    ASSERT_EQ(server.wire->send(make_message(tag, 50)), send_status::sent);
    const std::size_t before = client.messages.size();
    ASSERT_TRUE(until([&] { return client.messages.size() > before; }));
    EXPECT_TRUE(complete);
    ASSERT_TRUE(until([&] { return !server.done.empty() && server.done.back() == tag; }));
    client.wire->retract(tag);
  }
}

TEST_P(Provider, WriteToMemoryNotExposedCloses) {
  connect();
  const bytes from = make_bytes(5000, 1);
  ASSERT_EQ(server.wire->write_remote(make_chunk(chunk_kind::push, 5, 5000), from, 1),
            send_status::sent);
  ASSERT_TRUE(until([&] { return client.flushes == 1; }));
  EXPECT_EQ(client.reason, down_reason::protocol);
}

TEST_P(Provider, WriteBeyondExposedMemoryCloses) {
  connect();
  bytes memory(4999);
  const bytes from = make_bytes(5000, 1);
  client.wire->expose(make_chunk(chunk_kind::push, 5, 4999), memory, false);
  ASSERT_EQ(server.wire->write_remote(make_chunk(chunk_kind::push, 5, 5000), from, 1),
            send_status::sent);
  ASSERT_TRUE(until([&] { return client.flushes == 1; }));
  EXPECT_EQ(client.reason, down_reason::protocol);
  EXPECT_EQ(memory, bytes(4999));
}

TEST_P(Provider, ReadOfAChunkNobodyOfferedIsRefused) {
  connect();
  bytes into(100);
  EXPECT_EQ(server.wire->read_remote(make_chunk(chunk_kind::pull, 9, 100), into, 1),
            send_status::io_error);
}

TEST_P(Provider, CutInTheMiddleOfBulkEndsBothSidesAndMovesNothingMore) {
  connect();
  bytes source = make_bytes(1 << 20, 1);
  bytes into(source.size());
  const chunk c = make_chunk(chunk_kind::pull, 1, source.size(), true);
  client.wire->expose(c, source, true);
  ASSERT_EQ(client.wire->send(make_message(1, 50, {c})), send_status::sent);
  server.on_call = [&](byte_span) {
    EXPECT_EQ(server.wire->read_remote(c, into, 1), send_status::sent);
    server.wire->close(down_reason::admin);
  };
  ASSERT_TRUE(until([&] { return client.flushes == 1 && server.flushes == 1; }));
  EXPECT_TRUE(server.done.empty());
  const bytes then = into;
  std::fill(source.begin(), source.end(), std::byte{0xee});
  settle();
  EXPECT_EQ(into, then);
}

TEST_P(Provider, GarbageClosesWithProtocol) {
  connect();
  ASSERT_EQ(client.wire->send(make_bytes(300, 4)), send_status::sent);
  ASSERT_TRUE(until([&] { return server.flushes == 1; }));
  EXPECT_EQ(server.reason, down_reason::protocol);
  EXPECT_TRUE(server.messages.empty());
}

TEST_P(Provider, EndpointDestroyedEarlyIsSilent) {
  connect();
  ASSERT_EQ(client.wire->send(make_message(1, 100)), send_status::sent);
  client.wire.reset();
  ASSERT_TRUE(until([&] { return server.flushes == 1; }));
  EXPECT_EQ(client.downs + client.flushes, 0);
}

INSTANTIATE_TEST_SUITE_P(Fabrics, Provider,
                         testing::Values(fabric_kind::loop_fabric, fabric_kind::tcp_fabric,
                                         fabric_kind::verbs_fabric),
                         [](const testing::TestParamInfo<fabric_kind>& p) {
                           switch (p.param) {
                             using enum fabric_kind;
                             case loop_fabric: return "Loop";
                             case tcp_fabric: return "Tcp";
                             case verbs_fabric: return "Verbs";
                           }
                           return "";
                         });

class TcpProvider : public Provider {
 protected:
  unique_fd raw_connection() {
    unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(static_cast<std::uint16_t>(std::stoi(where_.substr(where_.rfind(':') + 1))));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a), 0);
    return fd;
  }
};

TEST_P(TcpProvider, MessageInSingleBytesIsPutTogether) {
  const unique_fd fd = raw_connection();
  ASSERT_TRUE(until([&] { return server.ups == 1; }));
  const bytes m = make_message(3, 40);
  for (const std::byte b : m) {
    ASSERT_EQ(::send(fd.get(), &b, 1, 0), 1);
    turn();
  }
  ASSERT_TRUE(until([&] { return server.messages.size() == 1; }));
  EXPECT_EQ(server.messages[0], m);
}

TEST_P(TcpProvider, RandomBytesNeverDoMoreThanClose) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    server = recorder();
    const unique_fd fd = raw_connection();
    ASSERT_TRUE(until([&] { return server.ups == 1; }));
    // Half of them begin like a message, or are a real one with some bytes changed.
    bytes junk = make_message(seed, 100, {make_chunk(chunk_kind::pull, seed, 64, seed % 2 == 0)});
    prng random(seed);
    for (int i = 0; i < 3; ++i)
      junk[random.below(junk.size())] = static_cast<std::byte>(random.next() & 0xff);
    if (seed % 4 == 0) junk = make_bytes(5000, seed);
    ASSERT_EQ(::send(fd.get(), junk.data(), junk.size(), 0), static_cast<ssize_t>(junk.size()));
    ASSERT_EQ(::shutdown(fd.get(), SHUT_WR), 0);
    ASSERT_TRUE(until([&] { return server.flushes == 1 || !server.messages.empty(); }));
    server.wire->close(down_reason::admin);
    ASSERT_TRUE(until([&] { return server.flushes == 1; }));
    server.wire.reset();
  }
}

TEST_P(TcpProvider, DataNobodyAskedForCloses) {
  const unique_fd fd = raw_connection();
  ASSERT_TRUE(until([&] { return server.ups == 1; }));
  wire_header h;
  h.type = message_type::data;
  bytes frame(wire_message_size_max);
  const chunk c = make_chunk(chunk_kind::pull, 77, 1000);
  frame.resize(build_message(h, encode_extension(call_extension{}), {&c, 1}, {}, {}, frame));
  ASSERT_GT(::send(fd.get(), frame.data(), frame.size(), 0), 0);
  ASSERT_TRUE(until([&] { return server.flushes == 1; }));
  EXPECT_EQ(server.reason, down_reason::protocol);
}

TEST_P(TcpProvider, NameIsLookedUpWithoutWaiting) {
  client.own(fabric_->connect("localhost" + where_.substr(where_.rfind(':'))));
  ASSERT_TRUE(until([&] { return client.ups == 1 || client.flushes == 1; }));
}

TEST_P(TcpProvider, BadAddressIsUnreachable) {
  client.own(fabric_->connect("no port"));
  ASSERT_TRUE(until([&] { return client.flushes == 1; }));
  EXPECT_EQ(client.reason, down_reason::unreachable);
}

INSTANTIATE_TEST_SUITE_P(Fabrics, TcpProvider, testing::Values(fabric_kind::tcp_fabric));

TEST(SendQueue, PartialSendsAreContinuedAndItemsReportedOnce) {
  send_queue q;
  const bytes payload = make_bytes(1000, 1);
  bytes expected;
  bytes got;
  std::vector<std::uint64_t> done;
  prng random(1);
  std::uint64_t next = 1;
  while (done.size() < 5000) {
    while (q.has_room(700, 1) && next <= 5000 && random.below(4) != 0) {
      const bytes m = make_bytes(random.below(700) + 1, next);
      const byte_span p = byte_span(payload).first(next % 3 == 0 ? random.below(1000) : 0);
      expected.insert(expected.end(), m.begin(), m.end());
      expected.insert(expected.end(), p.begin(), p.end());
      q.push(m, p, {sent_kind::written, next++});
    }
    const std::size_t count = q.gather();
    bytes offered;
    for (std::size_t i = 0; i < count; ++i) {
      const auto* from = static_cast<const std::byte*>(q.entries()[i].iov_base);
      offered.insert(offered.end(), from, from + q.entries()[i].iov_len);
    }
    const std::size_t taken = random.below(offered.size() + 1);
    got.insert(got.end(), offered.begin(), offered.begin() + static_cast<std::ptrdiff_t>(taken));
    q.advance(taken);
    sent_item item;
    while (q.pop_done(item)) done.push_back(item.id);
  }
  EXPECT_TRUE(got == expected);
  for (std::size_t i = 0; i < done.size(); ++i) EXPECT_EQ(done[i], i + 1);
}

TEST(TagMap, HoldsWhatWasPutInThroughManyErasures) {
  tag_map<std::uint64_t> map;
  std::map<std::uint64_t, std::uint64_t> model;
  prng random(7);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t tag = random.below(300) + 1;
    if (model.contains(tag)) {
      EXPECT_EQ(*map.find(tag), model[tag]);
      EXPECT_TRUE(map.erase(tag));
      model.erase(tag);
    } else {
      EXPECT_EQ(map.find(tag), nullptr);
      EXPECT_FALSE(map.erase(tag));
      map.insert(tag, model[tag] = random.next());
    }
    ASSERT_EQ(map.size(), model.size());
  }
}

}  // namespace
}  // namespace tangelo
