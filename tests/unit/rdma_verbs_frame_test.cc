// What the verbs provider takes from a peer, on machines without RDMA too: private data of the
// connection manager, the headers of frames, and the places of chunks in a message.
#include <gtest/gtest.h>

#include <vector>

#include "base/prng.h"
#include "rdma/channel.h"
#include "rdma/verbs/frame.h"

namespace tangelo {
namespace {

using bytes = std::vector<std::byte>;

verbs_hello good_hello() {
  verbs_hello h;
  h.receive_count = 64;
  h.message_size_max = wire_message_size_max;
  h.inline_payload_max = wire_inline_payload_max;
  return h;
}
hello_fault fault_of(const verbs_hello& h) {
  verbs_hello out;
  return parse_hello(encode(h), out);
}

TEST(VerbsHello, HasTheBytesOfTheDocument) {
  const std::array<std::byte, verbs_hello_size> out = encode(good_hello());
  const std::array<unsigned, verbs_hello_size> expected = {0x54, 0x4e, 0x47, 0x56, 1, 0, 64, 0,
                                                           0,    0x20, 0,    0,    0, 0x10, 0, 0};
  for (std::size_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(std::to_integer<unsigned>(out[i]), expected[i]) << i;
}

TEST(VerbsHello, PaddingBehindItIsIgnored) {
  const auto packed = encode(good_hello());
  bytes padded(packed.begin(), packed.end());
  padded.resize(56, std::byte{0xaa});
  verbs_hello out;
  EXPECT_EQ(parse_hello(padded, out), hello_fault::none);
  EXPECT_EQ(out.receive_count, 64);
}

TEST(VerbsHello, WhatIsNotOursOrNotPossibleIsRefused) {
  verbs_hello h = good_hello();
  h.magic = 7;
  EXPECT_EQ(fault_of(h), hello_fault::not_ours);
  h = good_hello();
  h.version = 2;
  EXPECT_EQ(fault_of(h), hello_fault::bad_version);
  for (const std::uint16_t n : std::array<std::uint16_t, 4>{0, 3, 4097, 65535}) {
    h = good_hello();
    h.receive_count = n;
    EXPECT_EQ(fault_of(h), hello_fault::bad_value) << n;
  }
  h = good_hello();
  h.message_size_max = wire_message_size_max - 1;
  EXPECT_EQ(fault_of(h), hello_fault::bad_value);
  h = good_hello();
  h.inline_payload_max = 0;
  EXPECT_EQ(fault_of(h), hello_fault::bad_value);
  const auto packed = encode(good_hello());
  verbs_hello out;
  for (std::size_t n = 0; n < verbs_hello_size; ++n)
    EXPECT_EQ(parse_hello(byte_span(packed).first(n), out), hello_fault::too_short) << n;
}

bytes frame_of(frame_header header, std::size_t size) {
  bytes out(verbs_header_size + size);
  put_header(out, header);
  return out;
}
bool parses(const bytes& frame) {
  frame_header header;
  byte_span body;
  return parse_frame(frame, header, body);
}

TEST(VerbsFrame, HasExactlyTheSizeOfItsType) {
  const auto sizes_of = [](frame_type type) {
    std::vector<std::size_t> out;
    for (std::uint32_t n = 0; n <= wire_message_size_max + 1; ++n)
      if (parses(frame_of({type, 0, 0, n}, n))) out.push_back(n);
    return out;
  };
  const std::vector<std::size_t> message = sizes_of(frame_type::message);
  EXPECT_EQ(message.front(), wire_header_size + wire_extension_size);
  EXPECT_EQ(message.back(), wire_message_size_max);
  EXPECT_EQ(sizes_of(frame_type::ready), std::vector<std::size_t>{0});
  EXPECT_EQ(sizes_of(frame_type::credits), std::vector<std::size_t>{0});
  EXPECT_EQ(sizes_of(frame_type::ask), std::vector<std::size_t>{ask_frame_size});
  EXPECT_EQ(sizes_of(frame_type::offer), std::vector<std::size_t>{offer_frame_size});
  EXPECT_TRUE(sizes_of(frame_type{0}).empty());
  EXPECT_TRUE(sizes_of(frame_type{6}).empty());
  EXPECT_FALSE(parses(frame_of({frame_type::message, 0, 0, 200}, 199)));
  EXPECT_FALSE(parses(frame_of({frame_type::message, 0, 0, 200}, 201)));
  EXPECT_FALSE(parses(frame_of({frame_type::message, 1, 0, 200}, 200)));
}

TEST(VerbsFrame, GarbageIsTakenApartWithinItsBounds) {
  prng random(5);
  std::size_t taken = 0;
  for (int i = 0; i < 200'000; ++i) {
    bytes junk(random.below(300));
    for (std::byte& b : junk) b = static_cast<std::byte>(random.next() & 0xff);
    if (i % 2 == 0 && junk.size() >= verbs_header_size)  // begins like a frame
      put_header(junk, {static_cast<frame_type>(random.below(7)), 0, 3,
                        static_cast<std::uint32_t>(junk.size() - verbs_header_size)});
    frame_header header;
    byte_span body;
    if (!parse_frame(junk, header, body)) continue;
    ++taken;
    ASSERT_EQ(body.size(), junk.size() - verbs_header_size);
    ASSERT_EQ(body.size(), header.size);
    std::size_t seen = 0;
    (void)for_each_chunk(body, [&](const chunk&, std::size_t offset) {
      EXPECT_LE(offset + wire_chunk_size, body.size());
      return ++seen < 100;
    });
    ASSERT_LE(seen, wire_chunk_count_max);
    verbs_hello hello;
    (void)parse_hello(junk, hello);
  }
  EXPECT_GT(taken, 1000u);
}

bytes call_with(const std::vector<chunk>& chunks) {
  wire_header h;
  h.type = message_type::call;
  call_extension e;
  const bytes body(40, std::byte{3});
  e.body_size = 40;
  bytes out(wire_message_size_max);
  out.resize(build_message(h, encode_extension(e), chunks, body, {}, out));
  return out;
}

TEST(VerbsFrame, ChunksGetTheirPlacesAndTheMessageStaysWhole) {
  chunk in;
  in.kind = chunk_kind::pull;
  in.transfer_tag = 5;
  in.size = 100'000;
  chunk out = in;
  out.kind = chunk_kind::push;
  out.transfer_tag = 6;
  bytes message = call_with({in, out});
  EXPECT_TRUE(place_chunk(message, {6, 0x1122334455667788, 99}));
  EXPECT_FALSE(place_chunk(message, {7, 1, 1}));
  message_view view;
  EXPECT_EQ(parse_message(message, view), parse_fault::bad_crc);
  renew_crc(message);
  ASSERT_EQ(parse_message(message, view), parse_fault::none);
  ASSERT_EQ(view.chunk_count, 2u);
  EXPECT_EQ(view.chunks[0].address, 0u);
  EXPECT_EQ(view.chunks[1].address, 0x1122334455667788u);
  EXPECT_EQ(view.chunks[1].remote_key, 99u);
  EXPECT_EQ(view.chunks[1].size, 100'000u);
  EXPECT_EQ(view.chunks[1].kind, chunk_kind::push);
}

TEST(VerbsFrame, MoreChunksThanAMessageCanHaveAreRefused) {
  bytes message = call_with({});
  message[66] = std::byte{200};
  message[67] = std::byte{200};
  EXPECT_FALSE(for_each_chunk(message, [](const chunk&, std::size_t) { return true; }));
  message[66] = std::byte{2};  // two chunks that are not there
  message[67] = std::byte{0};
  EXPECT_FALSE(for_each_chunk(message, [](const chunk&, std::size_t) { return true; }));
}

}  // namespace
}  // namespace tangelo
