// The export against peers that do not keep to the protocol: only their own connection ends.
#include "base/crc32c.h"
#include "rdma/buffer_pool.h"
#include "tests/unit/rdma_raw_peer.h"

namespace tangelo::test {
namespace {

class Export : public testing::Test {
 protected:
  Export() : network(time), server(network, time, store) {}
  virtual_scheduler time;
  loop_network network;
  counter_store store;
  test_server server;
};

TEST_F(Export, OtherVersionsAreRefusedInWords) {
  raw_peer peer(network, time);
  hello_body b;
  b.version_min = 7;
  b.version_max = 9;
  b.volume = "home";
  peer.send(peer.make(message_type::hello, b));
  peer.settle();
  EXPECT_EQ(peer.error_text, "this server speaks protocol version 1, the client 7 to 9");
  EXPECT_TRUE(peer.flushed);
}

TEST_F(Export, CallsBeforeConnectClose) {
  raw_peer peer(network, time);
  peer.send(peer.hello());
  peer.send(peer.call(0, 1, 1));
  peer.settle();
  EXPECT_TRUE(peer.flushed);
  EXPECT_EQ(server.fs->executed, 0);
}

TEST_F(Export, RepetitionsOfASlotAreAnsweredAsTheRulesSay) {
  raw_peer peer(network, time);
  peer.attach();
  // The same call three times at once: executed once, answered (the copies meet it running).
  for (int i = 0; i < 3; ++i) peer.send(peer.call(0, 5, 50));
  peer.settle();
  EXPECT_EQ(store.effects[50].count, 1);
  EXPECT_EQ(peer.replies(), 1);
  // Again after it is done: answered from the record.
  peer.send(peer.call(0, 5, 50));
  peer.settle();
  EXPECT_EQ(store.effects[50].count, 1);
  EXPECT_EQ(peer.replies(), 2);
  // An older sequence: dropped.
  peer.send(peer.call(0, 4, 40));
  peer.settle();
  EXPECT_EQ(peer.replies(), 2);
  EXPECT_EQ(store.effects.count(40), 0u);
  EXPECT_TRUE(peer.up);
  // The same sequence for another call: a breach.
  peer.send(peer.call(0, 5, 51));
  peer.settle();
  EXPECT_TRUE(peer.flushed);
  EXPECT_EQ(store.effects.count(51), 0u);
}

TEST_F(Export, NewerCallOnABusySlotCloses) {
  raw_peer peer(network, time);
  peer.attach();
  peer.send(peer.call(0, 1, 1));
  peer.send(peer.call(0, 2, 2));
  peer.settle();
  EXPECT_TRUE(peer.flushed);
  EXPECT_EQ(store.effects[1].count, 1);
  EXPECT_EQ(store.effects.count(2), 0u);
}

TEST_F(Export, ReadsAreExecutedAgain) {
  raw_peer peer(network, time);
  peer.attach();
  for (int i = 0; i < 3; ++i) peer.send(peer.call(0, 1, 1, {}, opcode::getattr));
  peer.settle();
  EXPECT_EQ(server.fs->executed, 3);
  EXPECT_EQ(peer.replies(), 3);
}

TEST_F(Export, UnknownOperationIsAnsweredAndHarmless) {
  raw_peer peer(network, time);
  peer.attach();
  peer.send(peer.call(0, 1, 1, {}, static_cast<opcode>(999)));
  peer.settle();
  EXPECT_EQ(peer.replies(), 1);
  EXPECT_EQ(server.fs->executed, 0);
  EXPECT_TRUE(peer.up);
}

TEST_F(Export, SlotsOutOfBoundsAndWrongCookiesClose) {
  raw_peer first(network, time);
  first.attach();
  first.send(first.call(0x4000, 1, 1));
  first.settle();
  EXPECT_TRUE(first.flushed);
  raw_peer second(network, time);
  second.epoch = 2;
  second.last_boot = store.boot;
  second.attach();
  second.cookie ^= 1;
  second.send(second.call(0, 1, 1));
  second.settle();
  EXPECT_TRUE(second.flushed);
  EXPECT_EQ(server.fs->executed, 0);
}

TEST_F(Export, AnOlderEpochDoesNotTakeTheSessionOver) {
  raw_peer first(network, time);
  first.epoch = 5;
  first.attach();
  raw_peer second(network, time);
  second.epoch = 5;
  second.send(second.hello());
  second.send(second.connect_message());
  second.settle();
  EXPECT_TRUE(second.flushed);
  EXPECT_TRUE(first.up);
}

// A real client beside a hostile one: whatever the latter sends, the former is served.
TEST_F(Export, MutatedMessagesEndOnlyTheirOwnConnection) {
  test_client good;
  good.start(network, time);
  prng random(1);
  for (std::uint64_t round = 1; round <= 400; ++round) {
    SCOPED_TRACE(round);
    raw_peer peer(network, time);
    peer.epoch = round;
    // Its own: a mutated CONNECT may have taken any epoch for an earlier one's.
    peer.identity[1] = static_cast<std::byte>(round & 0xff);
    peer.identity[2] = static_cast<std::byte>(round >> 8 | 0x80);
    if (round % 3 != 0) peer.attach();
    chunk c;
    c.kind = random.below(2) != 0 ? chunk_kind::pull : chunk_kind::push;
    c.size = static_cast<std::uint32_t>(random.below(100'000));
    c.transfer_tag = random.below(5);
    c.flags = random.below(2) != 0 ? chunk_flag::eager : 0;
    const std::vector<bytes> choices = {
        peer.hello(),
        peer.connect_message(),
        peer.call(3, static_cast<std::uint32_t>(round), round << 32),
        peer.call(4, static_cast<std::uint32_t>(round), round << 33, {c}),
        peer.make(message_type::ping, empty_answer{}),
        peer.make(message_type::ping, empty_answer{}, {}, {c}),
        peer.make(message_type::replay_done, empty_answer{}),
        peer.make(message_type::goodbye, close_body{}),
    };
    for (int i = 0; i < 4; ++i) {
      bytes m = choices[random.below(choices.size())];
      for (std::uint64_t k = random.below(4); k > 0; --k)
        m[16 + random.below(m.size() - 16)] = static_cast<std::byte>(random.next() & 0xff);
      // Most keep a good checksum, so that they are looked at behind it.
      if (random.below(4) != 0) {
        std::fill_n(m.begin() + 12, 4, std::byte{0});
        const std::uint32_t crc = crc32c(m);
        std::memcpy(m.data() + 12, &crc, sizeof crc);
      }
      peer.send(m);
    }
    peer.settle();
    good.submit(opcode::write, 0, 5000, 0);
    ASSERT_TRUE(run_until(time, [&] { return good.all_answered(); }));
  }
  EXPECT_EQ(good.session->status().connection_count, 1u);
  EXPECT_EQ(good.evictions, 0);
}

// One chunk of a PING that takes `memory` along, or brings it.
chunk ping_chunk(raw_peer& p, chunk_kind kind, std::uint64_t tag, mutable_byte_span memory) {
  chunk c;
  c.kind = kind;
  c.transfer_tag = tag;
  c.size = static_cast<std::uint32_t>(memory.size());
  p.wire().expose(c, memory, false);
  return c;
}

TEST_F(Export, PingIsAnsweredWhenItsPayloadHasBeenMovedBothWays) {
  raw_peer p(network, time);
  bytes out(100'000, std::byte{0x11}), in(200'000, std::byte{0x22});
  for (std::uint64_t round = 0; round < 20; ++round) {
    wire_header h;
    h.xid = round;
    p.send(p.make(message_type::ping, empty_answer{}, h,
                  {ping_chunk(p, chunk_kind::pull, round * 2 + 1, out),
                   ping_chunk(p, chunk_kind::push, round * 2 + 2, in)}));
    p.settle();
    ASSERT_EQ(p.count(message_type::pong), static_cast<int>(round) + 1);
    EXPECT_EQ(p.heard.back().header.xid, round);
    // Never what another peer, or this one, has sent.
    EXPECT_TRUE(std::all_of(in.begin(), in.end(), [](std::byte b) { return b == std::byte{0}; }));
    std::fill(in.begin(), in.end(), std::byte{0x22});
  }
  EXPECT_TRUE(p.up);
}

TEST_F(Export, PingsWithPayloadsTheyCannotHaveClose) {
  bytes memory(5000);
  const std::vector<std::vector<chunk_kind>> cases = {
      {chunk_kind::pull, chunk_kind::pull},
      {chunk_kind::push, chunk_kind::push},
      {chunk_kind::reply},
      {chunk_kind::call_body},
  };
  for (const std::vector<chunk_kind>& kinds : cases) {
    raw_peer p(network, time);
    std::vector<chunk> chunks;
    for (const chunk_kind kind : kinds)
      chunks.push_back(ping_chunk(p, kind, chunks.size() + 1, memory));
    p.send(p.make(message_type::ping, empty_answer{}, {}, chunks));
    p.settle();
    EXPECT_TRUE(p.flushed);
    EXPECT_EQ(p.count(message_type::pong), 0);
  }
}

TEST_F(Export, MorePayloadsOfPingsThanCanBeMovedAtOnceClose) {
  raw_peer p(network, time);
  bytes memory(5000);
  for (std::uint64_t tag = 1; tag <= 9; ++tag) {
    chunk c;
    c.kind = chunk_kind::pull;
    c.transfer_tag = tag;
    c.size = 5000;
    c.flags = chunk_flag::eager;  // the bytes are said to follow, and do not
    p.send(p.make(message_type::ping, empty_answer{}, {}, {c}));
    p.settle();
    EXPECT_EQ(p.flushed, tag == 9);
  }
  raw_peer other(network, time);
  other.send(other.make(message_type::ping, empty_answer{}, {},
                        {ping_chunk(other, chunk_kind::push, 1, memory)}));
  other.settle();
  EXPECT_EQ(other.count(message_type::pong), 1);
}

TEST(BufferPool, GivesBackWhatIsNotUsed) {
  buffer_pool pool(2);
  const mutable_byte_span a = pool.acquire(1 << 20, false);
  const mutable_byte_span b = pool.acquire(70'000, false);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % 4096, 0u);
  EXPECT_TRUE(pool.acquire(100'000, false).empty());
  const mutable_byte_span forced = pool.acquire(100'000, true);
  EXPECT_FALSE(forced.empty());
  for (mutable_byte_span s : {a, b, forced}) pool.release(s);
  EXPECT_EQ(pool.used_count(), 0u);
  EXPECT_TRUE(pool.trim());   // free, but used since the last look
  EXPECT_FALSE(pool.trim());
  EXPECT_EQ(pool.kept_bytes(), 0u);
}

}  // namespace
}  // namespace tangelo::test
