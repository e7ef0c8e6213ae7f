// protection: how a file's bytes are known to be the ones that were written, from the front end's
// slot to the disk and back.
//
// Files are cut into blocks of 4 KiB. The tags of a block are those of T10 protection information,
// wider:
//   guard        CRC32C of the block's bytes, of 4096: behind the file's end come zeros
//   application  which file: the hash of its inode number
//   reference    which block of the file: its number, the low 32 bits
//
// A payload on its way carries them in a trailer, behind the body of its message: the tags of its
// first block once, and one guard for each piece that blocks cut it into, zeros behind a piece that
// ends before its block does. So the guard of a piece that begins with its block, and has nothing
// of the file behind it, is the block's own, and nobody in between makes it anew.
//
//   front end     makes the trailer of a WRITE from the bytes in its slot
//   server        checks the payload, keeps the guards with the data, in the same transaction
//   server        checks what it reads from the disk, and answers with the guards it kept
//   core          checks what came
//
// A payload that does not fit is asked for anew, protection_attempts in all; then the call fails
// with `integrity`, and its answer says what was found (protection_fault).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "protocol/codec.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::size_t protected_block_size = 4096;
// Of the largest payload, when it begins inside a block.
inline constexpr std::size_t piece_count_max = wire_payload_size_max / protected_block_size + 1;
// How often a payload is moved before its call fails.
inline constexpr unsigned protection_attempts = 3;

// call_extension::protection_type. Of a WRITE: it has a trailer; of a READ: its reply shall.
inline constexpr std::uint8_t protection_none = 0;
inline constexpr std::uint8_t protection_crc32c = 1;

// Of a block that begins with `bytes` and is zero behind them.
std::uint32_t guard_of(byte_span bytes) noexcept;
// Of a piece that is `lead` bytes into its block.
std::uint32_t guard_of_piece(byte_span bytes, std::size_t lead) noexcept;
std::uint32_t application_tag_of(std::uint64_t inode) noexcept;
constexpr std::uint32_t reference_tag_of(std::uint64_t offset) noexcept {
  return static_cast<std::uint32_t>(offset / protected_block_size);
}

struct protection_trailer {
  std::uint32_t application = 0;
  std::uint32_t reference = 0;  // of the first piece
  std::uint16_t lead = 0;       // where in its block the first piece begins
  std::uint16_t count = 0;      // of the pieces
  std::array<std::uint32_t, piece_count_max> guards;
};
inline constexpr std::size_t trailer_fixed_size = 12;
inline constexpr std::size_t trailer_size_max = trailer_fixed_size + 4 * piece_count_max;
constexpr std::size_t size_of(const protection_trailer& t) noexcept {
  return trailer_fixed_size + std::size_t{t.count} * 4;
}

// Pieces of `size` bytes that begin `lead` bytes into a block.
constexpr std::size_t piece_count_of(std::size_t lead, std::size_t size) noexcept {
  return size == 0 ? 0 : (lead + size - 1) / protected_block_size + 1;
}
// Piece `i` of such a payload.
byte_span piece_of(byte_span payload, std::size_t lead, std::size_t i) noexcept;

// Of bytes, at most wire_payload_size_max, that are at `offset` in the file.
void protect(std::uint64_t inode, std::uint64_t offset, byte_span bytes,
             protection_trailer& out) noexcept;

// The bytes used of `out`, which has trailer_size_max: the guards, then the fixed part, so that it
// can be found from the end of a body.
std::size_t encode_trailer(const protection_trailer& t, mutable_byte_span out) noexcept;
// Cuts the trailer from the end of a body; false when there is none.
bool take_trailer(byte_span& body, protection_trailer& out) noexcept;

// Never renumber.
enum class protection_kind : std::uint8_t { guard = 1, application = 2, reference = 3, shape = 4 };
constexpr std::string_view name_of(protection_kind k) noexcept {
  switch (k) {
    using enum protection_kind;
    case guard: return "guard";
    case application: return "application tag";
    case reference: return "reference tag";
    case shape: return "number of blocks";
  }
  return {};
}
// Where it was noticed. Never renumber.
enum class protection_hop : std::uint8_t { sent = 1, stored = 2, received = 3 };
constexpr std::string_view name_of(protection_hop h) noexcept {
  switch (h) {
    using enum protection_hop;
    case sent: return "on the way to the server";
    case stored: return "in the server's store";
    case received: return "on the way from the server";
  }
  return {};
}

// What did not fit; the body of an answer with `integrity`.
struct protection_fault {
  protection_kind kind{};
  protection_hop hop{};
  std::uint64_t inode = 0;  // 0: not known where it was noticed
  std::uint64_t block = 0;  // of the file; of a payload whose place is not known: of its pieces
  std::uint32_t expected = 0;
  std::uint32_t found = 0;

  bool operator==(const protection_fault&) const = default;
  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.kind), v(s.hop), v(s.inode), v(s.block), v(s.expected), v(s.found);
  }
};
// "inode 0x2a, block 7: guard: expected 0x1, found 0x2, in the server's store"
std::string text_of(const protection_fault& fault);

// Do the guards fit the bytes? The tags are not looked at.
std::optional<protection_fault> check_guards(const protection_trailer& t,
                                             byte_span payload) noexcept;
// Is it a trailer of bytes at this place? The guards are not looked at. `offset` nothing: it was
// not known when the trailer was made (an append).
std::optional<protection_fault> check_tags(const protection_trailer& t, std::uint64_t inode,
                                           std::optional<std::uint64_t> offset) noexcept;

}  // namespace tangelo
