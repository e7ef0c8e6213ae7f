// The TCP provider against peers that are none, and its parts.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>

#include "base/fd.h"
#include "rdma/tag_map.h"
#include "rdma/tcp/connection.h"
#include "rdma/tcp/send_queue.h"
#include "tests/unit/rdma_provider_fixture.h"

namespace tangelo::test {
namespace {

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

TEST_P(TcpProvider, AddressesOfANameAreTriedOneAfterTheOther) {
  const int port = std::stoi(where_.substr(where_.rfind(':') + 1));
  std::vector<socket_address> all;
  for (const char* text : {"127.0.0.1:1", "[::1]:1", "127.0.0.2:1"})
    all.push_back(address_to_listen(text).value_or(socket_address{}));
  all.push_back(address_to_listen("127.0.0.1:" + std::to_string(port)).value_or(socket_address{}));
  auto* body = new tcp_connection(*loop_, unique_fd(), "a name");
  body->start(client);
  body->lookup_began();
  body->lookup_ended(all);
  EXPECT_TRUE(until([&] { return client.ups + client.downs != 0; }));
  EXPECT_EQ(client.ups, 1);
  body->orphan();
  EXPECT_TRUE(until([&] { return server.flushes == 1; }));
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
}  // namespace tangelo::test
