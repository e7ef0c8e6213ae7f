#include "protocol/protection.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/crc32c.h"
#include "base/prng.h"
#include "protocol/kept_trailers.h"

namespace tangelo {
namespace {

std::vector<std::byte> random_bytes(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> out(size);
  prng random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

protection_trailer made(std::uint64_t inode, std::uint64_t offset, byte_span bytes) {
  protection_trailer t;
  protect(inode, offset, bytes, t);
  return t;
}

std::vector<std::byte> encoded(const protection_trailer& t) {
  std::vector<std::byte> out(trailer_size_max);
  out.resize(encode_trailer(t, out));
  return out;
}

// RFC 3720, B.4, and the sum that every implementation is tried with.
TEST(Protection, SumsAreCrc32c) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(guard_of({}), crc32c(std::vector<std::byte>(4096)));
  EXPECT_EQ(guard_of({}), 0x98f94189u) << "a block of zeros";
}

TEST(Protection, EachOfManyIsAsTheOneAlone) {
  const std::vector<std::byte> bytes = random_bytes(20 * 4096, 1);
  for (const std::size_t size : {1u, 7u, 8u, 64u, 4096u})
    for (std::size_t count = 0; count <= 20; ++count) {
      std::vector<std::uint32_t> sums(count);
      crc32c_each(byte_span(bytes).first(count * size), size, sums);
      for (std::size_t i = 0; i < count; ++i)
        ASSERT_EQ(sums[i], crc32c(byte_span(bytes).subspan(i * size, size)))
            << size << " " << count << " " << i;
    }
}

TEST(Protection, PiecesAreCutWhereBlocksEnd) {
  const std::vector<std::byte> bytes = random_bytes(3 * 4096 + 17, 2);
  for (const std::size_t lead : {0u, 1u, 100u, 4095u})
    for (const std::size_t size : {1u, 2u, 4095u, 4096u, 4097u, 8192u, 12305u}) {
      const byte_span payload = byte_span(bytes).first(size);
      const std::size_t count = piece_count_of(lead, size);
      EXPECT_EQ(count, (lead + size + 4095) / 4096);
      std::size_t total = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const byte_span piece = piece_of(payload, lead, i);
        ASSERT_FALSE(piece.empty());
        EXPECT_EQ(piece.data(), payload.data() + total);
        total += piece.size();
        const std::size_t in_block = (i == 0 ? lead : 0) + piece.size();
        EXPECT_TRUE(in_block == 4096 || (i + 1 == count && in_block < 4096));
      }
      EXPECT_EQ(total, size);
    }
  EXPECT_EQ(piece_count_of(0, 0), 0u);
  EXPECT_EQ(piece_count_of(4095, wire_payload_size_max), piece_count_max);
}

// What a piece's guard is of: itself from its place on, zeros to the end of its block.
TEST(Protection, AGuardIsOfThePieceAndZerosBehindIt) {
  const std::vector<std::byte> bytes = random_bytes(9000, 3);
  const std::uint64_t offset = 5 * 4096 + 100;
  const protection_trailer t = made(7, offset, bytes);
  EXPECT_EQ(t.application, application_tag_of(7));
  EXPECT_EQ(t.reference, 5u);
  EXPECT_EQ(t.lead, 100u);
  ASSERT_EQ(t.count, 3u);
  EXPECT_EQ(t.guards[0], crc32c(byte_span(bytes).first(3996)));
  EXPECT_EQ(t.guards[1], crc32c(byte_span(bytes).subspan(3996, 4096)));
  std::vector<std::byte> last(bytes.begin() + 3996 + 4096, bytes.end());
  last.resize(4096);
  EXPECT_EQ(t.guards[2], crc32c(last));
  EXPECT_EQ(t.guards[2], guard_of(byte_span(bytes).subspan(3996 + 4096)));
}

TEST(Protection, ATrailerComesBackFromTheEndOfABody) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5000},
                                 wire_payload_size_max}) {
    const std::vector<std::byte> bytes = random_bytes(size, size);
    const protection_trailer t = made(9, 4095, bytes);
    std::vector<std::byte> body(33, std::byte{1});
    const std::vector<std::byte> tail = encoded(t);
    EXPECT_EQ(tail.size(), size_of(t));
    body.insert(body.end(), tail.begin(), tail.end());
    byte_span rest = body;
    protection_trailer back;
    ASSERT_TRUE(take_trailer(rest, back));
    EXPECT_EQ(rest.size(), 33u);
    EXPECT_EQ(encoded(back), tail);
    EXPECT_FALSE(check_guards(back, bytes));
    EXPECT_FALSE(check_tags(back, 9, 4095));
  }
}

TEST(Protection, WhatCannotBeATrailerIsRefused) {
  const std::vector<std::byte> bytes = random_bytes(5000, 4);
  const std::vector<std::byte> whole = encoded(made(9, 0, bytes));
  protection_trailer t;
  for (std::size_t cut = 1; cut <= whole.size(); ++cut) {
    byte_span body = byte_span(whole).subspan(cut);
    const std::size_t before = body.size();
    EXPECT_FALSE(take_trailer(body, t)) << cut;
    EXPECT_EQ(body.size(), before) << "left as it was";
  }
  const auto with = [&whole](std::size_t at, std::uint16_t value) {
    std::vector<std::byte> out(2 * trailer_size_max);
    out.insert(out.end(), whole.begin(), whole.end());
    out[out.size() - at] = static_cast<std::byte>(value & 0xff);
    out[out.size() - at + 1] = static_cast<std::byte>(value >> 8);
    return out;
  };
  std::vector<std::byte> body = with(2, piece_count_max + 1);
  byte_span view = body;
  EXPECT_FALSE(take_trailer(view, t)) << "more pieces than the largest payload has";
  body = with(4, 4096);
  view = body;
  EXPECT_FALSE(take_trailer(view, t)) << "a lead of a whole block";
  body = with(2, piece_count_max);
  view = body;
  EXPECT_TRUE(take_trailer(view, t));
  EXPECT_EQ(check_guards(t, bytes)->kind, protection_kind::shape);
}

TEST(Protection, EveryFlippedBitIsFoundInItsBlock) {
  std::vector<std::byte> bytes = random_bytes(3 * 4096, 5);
  const protection_trailer t = made(9, 4096 + 10, bytes);
  for (std::size_t at = 0; at < bytes.size(); at += 97) {
    bytes[at] ^= std::byte{0x10};
    const auto fault = check_guards(t, bytes);
    ASSERT_TRUE(fault) << at;
    EXPECT_EQ(fault->kind, protection_kind::guard);
    EXPECT_EQ(fault->block, (4096 + 10 + at) / 4096);
    EXPECT_EQ(fault->expected, t.guards[fault->block - 1]);
    EXPECT_NE(fault->found, fault->expected);
    bytes[at] ^= std::byte{0x10};
  }
  EXPECT_FALSE(check_guards(t, bytes));
  EXPECT_EQ(check_guards(t, byte_span(bytes).first(100))->kind, protection_kind::shape);
  EXPECT_EQ(check_guards(t, {})->kind, protection_kind::shape);
}

TEST(Protection, TagsNameFileAndPlace) {
  const std::vector<std::byte> bytes = random_bytes(100, 6);
  const std::uint64_t far = (std::uint64_t{1} << 45) + 5;
  const protection_trailer t = made(9, far, bytes);
  EXPECT_FALSE(check_tags(t, 9, far));
  EXPECT_EQ(check_tags(t, 10, far)->kind, protection_kind::application);
  EXPECT_EQ(check_tags(t, 9, far + 4096)->kind, protection_kind::reference);
  EXPECT_EQ(check_tags(t, 9, far + 4096)->block, far / 4096 + 1);
  EXPECT_EQ(check_tags(t, 9, far + 1)->kind, protection_kind::reference) << "its lead";
  const protection_trailer appended = made(9, 0, bytes);
  EXPECT_FALSE(check_tags(appended, 9, std::nullopt));
  EXPECT_EQ(check_tags(appended, 8, std::nullopt)->kind, protection_kind::application);
}

TEST(Protection, AFaultReadsAsItIsSaid) {
  protection_fault f;
  f.kind = protection_kind::guard;
  f.hop = protection_hop::stored;
  f.inode = 42;
  f.block = 7;
  f.expected = 1;
  f.found = 2;
  EXPECT_EQ(text_of(f),
            "inode 0x2a, block 7: guard: expected 0x1, found 0x2, in the server's store");
}

// What is kept is what is sent; a slot without a trailer says nothing of its last owner's.
TEST(KeptTrailers, BelongToTheirSlot) {
  const auto tables = std::make_unique<trailer_tables>();
  const std::vector<std::byte> bytes = random_bytes(64 << 10, 7);
  const protection_trailer t = made(9, 100, bytes);
  ASSERT_EQ(t.count, small_piece_count_max);
  const slot_ref small{slot_class::write_small, 0, 511, 64 << 10};
  const slot_ref large{slot_class::write_large, 0, 63, 64 << 10};
  for (const slot_ref& slot : {small, large}) {
    EXPECT_TRUE(trailer_of(*tables, slot).empty());
    keep_trailer(*tables, slot, &t);
    const byte_span kept = trailer_of(*tables, slot);
    EXPECT_EQ(std::vector<std::byte>(kept.begin(), kept.end()), encoded(t));
    keep_trailer(*tables, slot, nullptr);
    EXPECT_TRUE(trailer_of(*tables, slot).empty());
  }
  const std::vector<std::byte> whole = random_bytes(wire_payload_size_max, 8);
  const protection_trailer longest = made(9, 100, whole);
  keep_trailer(*tables, large, &longest);
  EXPECT_EQ(trailer_of(*tables, large).size(), trailer_size_max);
  tables->large[63].size = trailer_size_max + 1;  // of a front end that cannot be believed
  EXPECT_TRUE(trailer_of(*tables, large).empty());
  EXPECT_TRUE(trailer_of(*tables, slot_ref{slot_class::read_small, 0, 0, 1}).empty());
}

}  // namespace
}  // namespace tangelo
