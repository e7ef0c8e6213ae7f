// wire: the header's bytes are where the table says, and nothing damaged or cut is ever accepted.
#include "protocol/wire.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/crc32c.h"

namespace tangelo {
namespace {

std::uint64_t number_at(byte_span bytes, std::size_t offset, std::size_t size) {
  std::uint64_t v = 0;
  for (std::size_t i = size; i-- > 0;)
    v = v << 8 | std::to_integer<std::uint64_t>(bytes[offset + i]);
  return v;
}

using message = std::vector<std::byte>;

struct shape {
  std::size_t chunks, body, inline_payload;
};

message build(message_type type, const shape& s) {
  std::byte raw[wire_message_size_max];
  call_extension ext;
  ext.body_size = static_cast<std::uint32_t>(s.body);
  ext.attempt = 3;
  ext.trace_id = 0x1122334455667788u;
  std::byte ext_bytes[wire_extension_size];
  EXPECT_EQ(encode(ext, ext_bytes), wire_extension_size);
  std::vector<chunk> chunks(s.chunks);
  for (std::size_t i = 0; i < s.chunks; ++i) {
    chunks[i].kind = i % 2 == 0 ? chunk_kind::pull : chunk_kind::push;
    chunks[i].size = static_cast<std::uint32_t>(4096 * (i + 1));
    chunks[i].transfer_tag = 77 + i;
  }
  wire_header h;
  h.type = type;
  h.cookie = 0x0102030405060708u;
  h.epoch = 0x1112131415161718u;
  h.xid = 0x2122232425262728u;
  h.slot_seq = 0x31323334u;
  h.slot = 0x4142;
  h.op = opcode::write;
  h.transno = 0x5152535455565758u;
  h.ack = 0x6162636465666768u;
  h.credits = 0x7172;
  const std::vector<std::byte> body(s.body, std::byte{0xb0});
  const std::vector<std::byte> payload(s.inline_payload, std::byte{0xd1});
  const std::size_t n = build_message(h, ext_bytes, chunks, body, payload, raw);
  EXPECT_NE(n, 0u);
  return message(raw, raw + n);
}

constexpr message_type all_types[] = {
    message_type::hello,        message_type::hello_ack,       message_type::auth,
    message_type::auth_ack,     message_type::connect,         message_type::connect_ack,
    message_type::call,         message_type::reply,           message_type::early_reply,
    message_type::ping,         message_type::pong,            message_type::pull_request,
    message_type::data,         message_type::replay_done,     message_type::replay_done_ack,
    message_type::callback,     message_type::callback_ack,    message_type::commit_note,
    message_type::credit,       message_type::advice,          message_type::goodbye,
    message_type::error,
};

TEST(WireHeader, HasItsFieldsAtTheOffsetsOfTheTable) {
  const message m = build(message_type::call, {2, 5, 3});
  struct field {
    const char* name;
    std::size_t offset, size;
    std::uint64_t value;
  };
  const field fields[] = {
      {"magic", 0, 4, 0x4f474e54},
      {"version", 4, 1, 1},
      {"type", 5, 1, 9},
      {"flags", 6, 2, message_flag::data_inline},
      {"total_size", 8, 4, 72 + 32 + 2 * 32 + 5 + 3},
      {"cookie", 16, 8, 0x0102030405060708u},
      {"epoch", 24, 8, 0x1112131415161718u},
      {"xid", 32, 8, 0x2122232425262728u},
      {"slot_seq", 40, 4, 0x31323334u},
      {"slot", 44, 2, 0x4142},
      {"opcode", 46, 2, 15},
      {"transno", 48, 8, 0x5152535455565758u},
      {"ack", 56, 8, 0x6162636465666768u},
      {"credits", 64, 2, 0x7172},
      {"read chunks", 66, 1, 1},
      {"write chunks", 67, 1, 1},
      {"reserved", 68, 4, 0},
      {"extension: deadline", 72, 4, 0},
      {"extension: attempt", 76, 2, 3},
      {"extension: body_size", 84, 4, 5},
      {"extension: trace", 88, 8, 0x1122334455667788u},
      {"chunk 0: size", 104 + 12, 4, 4096},
      {"chunk 0: tag", 104 + 16, 8, 77},
      {"chunk 0: kind", 104 + 24, 2, 1},
      {"chunk 1: kind", 136 + 24, 2, 2},
      {"body", 168, 1, 0xb0},
      {"payload", 173, 1, 0xd1},
  };
  for (const field& f : fields) EXPECT_EQ(number_at(m, f.offset, f.size), f.value) << f.name;
  message zeroed = m;
  for (std::size_t i = 12; i < 16; ++i) zeroed[i] = std::byte{0};
  EXPECT_EQ(number_at(m, 12, 4), crc32c(zeroed));
}

TEST(WireHeader, IsAsLongAsItsConstantsSay) {
  std::byte raw[256];
  EXPECT_EQ(encode(wire_header{}, raw), wire_header_size);
  EXPECT_EQ(encode(call_extension{}, raw), wire_extension_size);
  EXPECT_EQ(encode(reply_extension{}, raw), wire_extension_size);
  EXPECT_EQ(encode(chunk{}, raw), wire_chunk_size);
}

TEST(WireMessage, OfEveryTypeAndShapeComesBackAsItWasBuilt) {
  for (const message_type type : all_types)
    for (const shape& s : {shape{0, 0, 0}, shape{1, 100, 0}, shape{0, 0, 1}, shape{8, 1000, 500},
                           shape{0, 0, wire_inline_payload_max}}) {
      const message m = build(type, s);
      message_view v;
      ASSERT_EQ(parse_message(m, v), parse_fault::none);
      EXPECT_EQ(v.header.type, type);
      EXPECT_EQ(v.chunk_count, s.chunks);
      EXPECT_EQ(v.body.size(), s.body);
      EXPECT_EQ(v.inline_payload.size(), s.inline_payload);
      EXPECT_EQ(v.extension.size(), wire_extension_size);
      for (std::size_t i = 0; i < s.chunks; ++i) EXPECT_EQ(v.chunks[i].transfer_tag, 77 + i);
      std::uint32_t size = 0;
      EXPECT_EQ(peek_size(byte_span(m).first(16), size), parse_fault::none);
      EXPECT_EQ(size, m.size());
    }
}

TEST(WireMessage, EveryTruncationIsRefused) {
  const message whole = build(message_type::call, {3, 40, 30});
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const message cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    message_view v;
    EXPECT_NE(parse_message(cut, v), parse_fault::none) << n << " bytes";
  }
}

TEST(WireMessage, EveryTruncationWithARepairedSizeAndChecksumIsRefusedOrStaysWithinItsBytes) {
  const message whole = build(message_type::call, {3, 40, 30});
  for (std::size_t n = 104; n < whole.size(); ++n) {
    message cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    wire_writer(mutable_byte_span(cut).subspan(8, 4))(static_cast<std::uint32_t>(n));
    for (std::size_t i = 12; i < 16; ++i) cut[i] = std::byte{0};
    wire_writer(mutable_byte_span(cut).subspan(12, 4))(crc32c(cut));
    message_view v;
    const parse_fault fault = parse_message(cut, v);
    EXPECT_EQ(fault == parse_fault::none, n >= 104 + 96 + 40) << n;
    if (fault != parse_fault::none) continue;
    EXPECT_EQ(104 + 96 + v.body.size() + v.inline_payload.size(), n);
  }
}

TEST(WireMessage, EverySingleBitFlipIsRefused) {
  for (const shape& s : {shape{0, 0, 0}, shape{2, 20, 10}}) {
    const message good = build(message_type::reply, s);
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
      message bad = good;
      bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
      message_view v;
      EXPECT_NE(parse_message(bad, v), parse_fault::none) << "bit " << bit;
    }
  }
}

TEST(WireMessage, EveryByteValueInEveryCountAndSizeFieldIsRefusedOrStaysWithinItsBytes) {
  const message good = build(message_type::call, {2, 20, 10});
  for (std::size_t at = 0; at < 168; ++at)
    for (int value = 0; value < 256; ++value) {
      message bad = good;
      bad[at] = static_cast<std::byte>(value);
      if (at < 8 || at > 15) {
        for (std::size_t i = 12; i < 16; ++i) bad[i] = std::byte{0};
        wire_writer(mutable_byte_span(bad).subspan(12, 4))(crc32c(bad));
      }
      message_view v;
      if (parse_message(bad, v) != parse_fault::none) continue;
      const std::size_t used = wire_header_size + wire_extension_size +
                               v.chunk_count * wire_chunk_size + v.body.size() +
                               v.inline_payload.size();
      EXPECT_EQ(used, bad.size());
      EXPECT_LE(v.chunk_count, wire_chunk_count_max);
    }
}

TEST(WireMessage, NamesTheFaultItFound) {
  const message good = build(message_type::call, {0, 4, 0});
  const auto fault_with = [&good](std::size_t at, std::byte value) {
    message bad = good;
    bad[at] = value;
    message_view v;
    return parse_message(bad, v);
  };
  EXPECT_EQ(fault_with(0, std::byte{0}), parse_fault::bad_magic);
  EXPECT_EQ(fault_with(4, std::byte{2}), parse_fault::bad_version);
  EXPECT_EQ(fault_with(5, std::byte{0}), parse_fault::bad_type);
  EXPECT_EQ(fault_with(5, std::byte{200}), parse_fault::bad_type);
  EXPECT_EQ(fault_with(8, std::byte{1}), parse_fault::bad_size);
  EXPECT_EQ(fault_with(12, ~good[12]), parse_fault::bad_crc);
  message_view v;
  EXPECT_EQ(parse_message({}, v), parse_fault::too_short);
  EXPECT_EQ(name_of(parse_fault::bad_chunks), "bad_chunks");
}

TEST(WireMessage, IsNotBuiltWhenItDoesNotFit) {
  std::byte out[wire_message_size_max];
  std::byte ext[wire_extension_size]{};
  const std::vector<std::byte> big(wire_message_size_max);
  wire_header h;
  h.type = message_type::call;
  EXPECT_EQ(build_message(h, ext, {}, big, {}, out), 0u);
  EXPECT_EQ(build_message(h, byte_span(ext).first(8), {}, {}, {}, out), 0u);
  const std::vector<chunk> many(wire_chunk_count_max + 1);
  EXPECT_EQ(build_message(h, ext, many, {}, {}, out), 0u);
  EXPECT_EQ(build_message(h, ext, {}, {}, {}, mutable_byte_span(out).first(103)), 0u);
  EXPECT_EQ(build_message(h, ext, {}, {}, {}, mutable_byte_span(out).first(104)), 104u);
}

}  // namespace
}  // namespace tangelo
