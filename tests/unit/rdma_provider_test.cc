// The conformance suite of the provider seam: the same sentences must hold for every fabric.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "tests/unit/rdma_provider_fixture.h"

namespace tangelo::test {
namespace {

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

// More than any queue holds, all at once: each read, write and message is taken at some time, ends
// once, and in between nothing is lost or overtakes.
TEST_P(Provider, QueuesFullOfEverythingAreWorkedOff) {
  connect();
  constexpr std::uint64_t count = 400;
  const bytes source = make_bytes(20'000, 5);
  bytes exposed = source;
  bytes read(count * 64), written(count * 64);
  std::deque<std::function<send_status()>> waiting;  // what the server has still to do
  server.on_call = [&](byte_span message) {
    message_view view;
    ASSERT_EQ(parse_message(message, view), parse_fault::none);
    const std::uint64_t i = view.header.xid;
    const chunk pull = view.chunks[0], push = view.chunks[1];
    waiting.push_back([&, pull, i] {
      return server.wire->read_remote(pull, mutable_byte_span(read).subspan(i * 64, 64), i * 2);
    });
    waiting.push_back([&, push, i] {
      return server.wire->write_remote(push, byte_span(source).subspan(i * 8, 64), i * 2 + 1);
    });
    waiting.push_back([&, i] { return server.wire->send(make_message(i, 2000)); });
  };
  std::uint64_t next = 0;
  bool was_full = false;
  ASSERT_TRUE(until([&] {
    for (; next < count; ++next) {
      const chunk pull = make_chunk(chunk_kind::pull, next * 2 + 1, 64);
      const chunk push = make_chunk(chunk_kind::push, next * 2 + 2, 64);
      const mutable_byte_span to = mutable_byte_span(written).subspan(next * 64, 64);
      client.wire->expose(pull, mutable_byte_span(exposed).subspan(next * 16, 64), false);
      client.wire->expose(push, to, false);
      const send_status s = client.wire->send(make_message(next, 10, {pull, push}));
      if (s == send_status::sent) continue;
      EXPECT_TRUE(s == send_status::no_buffers || s == send_status::out_of_memory);
      client.wire->retract(pull.transfer_tag);
      client.wire->retract(push.transfer_tag);
      break;
    }
    while (!waiting.empty() && server.messages.size() == count) {
      const send_status s = waiting.front()();
      if (s != send_status::sent) {
        was_full = true;
        break;
      }
      waiting.pop_front();
    }
    return client.messages.size() == count && server.done.size() == count * 2;
  }));
  EXPECT_TRUE(was_full || GetParam() == fabric_kind::loop_fabric);
  for (std::uint64_t i = 0; i < count; ++i) {
    EXPECT_EQ(client.messages[i], make_message(i, 2000));
    const auto same = [&](const bytes& at, std::size_t from) {
      return std::memcmp(&at[i * 64], &source[from], 64) == 0;
    };
    EXPECT_TRUE(same(read, i * 16) && same(written, i * 8)) << i;
  }
  std::sort(server.done.begin(), server.done.end());
  for (std::uint64_t i = 0; i < count * 2; ++i) EXPECT_EQ(server.done[i], i);
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
                                         fabric_kind::tcp_busy, fabric_kind::verbs_fabric,
                                         fabric_kind::verbs_busy),
                         [](const testing::TestParamInfo<fabric_kind>& p) {
                           switch (p.param) {
                             using enum fabric_kind;
                             case loop_fabric: return "Loop";
                             case tcp_fabric: return "Tcp";
                             case tcp_busy: return "TcpBusyPolling";
                             case verbs_fabric: return "Verbs";
                             case verbs_busy: return "VerbsBusyPolling";
                           }
                           return "";
                         });

}  // namespace
}  // namespace tangelo::test
