// frame: what the verbs provider says besides the messages: the private data of rdma_cm, and the
// few bytes in front of everything that travels by Send.
//
//   client                                   server
//   CM REQ, private data: verbs_hello  ->    receives are posted before REQ and before REP
//                                      <-    CM REP, private data: verbs_hello (or a reject)
//   READY                              ->    the initiator sends first (iWARP); the server is up
//   MESSAGE, CREDITS                   <->   each brings back receives that were used
//                                      <-    ASK: where is the memory of this tag?
//   OFFER                              ->    there; a tag that was not exposed ends the connection
//
// Everything in here comes from a peer: parse_*() refuse what is not exactly as described. Pure
// functions, without any library of RDMA, so that they are tested on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::uint32_t verbs_magic = 0x56474e54;  // "TNGV"
inline constexpr std::uint8_t verbs_version = 1;
inline constexpr std::uint16_t receive_count_min = 4;
inline constexpr std::uint16_t receive_count_max = 4096;

namespace verbs_ability {
inline constexpr std::uint8_t remote_invalidate = 1;  // takes Send with Invalidate; nobody sends it
}  // namespace verbs_ability

// The private data of a connect and of an accept.
struct verbs_hello {
  std::uint32_t magic = verbs_magic;        //  0
  std::uint8_t version = verbs_version;     //  4
  std::uint8_t abilities = 0;               //  5  verbs_ability
  std::uint16_t receive_count = 0;          //  6  receives posted: the other side's first credits
  std::uint32_t message_size_max = 0;       //  8  the largest message a receive has room for
  std::uint16_t inline_payload_max = 0;     // 12  the largest payload that comes inside a message
  std::uint16_t reserved = 0;               // 14

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.magic), v(s.version), v(s.abilities), v(s.receive_count), v(s.message_size_max);
    v(s.inline_payload_max), v(s.reserved);
  }
};
inline constexpr std::size_t verbs_hello_size = 16;

enum class hello_fault : std::uint8_t { none, too_short, not_ours, bad_version, bad_value };
std::array<std::byte, verbs_hello_size> encode(const verbs_hello& hello) noexcept;
// The data of the CM is padded with bytes of any value: what is behind ours is ignored.
hello_fault parse_hello(byte_span data, verbs_hello& out) noexcept;

enum class frame_type : std::uint8_t { message = 1, ready = 2, credits = 3, ask = 4, offer = 5 };

struct frame_header {
  frame_type type{};          // 0
  std::uint8_t reserved = 0;  // 1
  std::uint16_t credits = 0;  // 2  receives posted again since the last frame
  std::uint32_t size = 0;     // 4  bytes behind this header

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.type), v(s.reserved), v(s.credits), v(s.size);
  }
};
inline constexpr std::size_t verbs_header_size = 8;
inline constexpr std::size_t verbs_frame_size_max = verbs_header_size + wire_message_size_max;

struct ask_frame {
  std::uint64_t transfer_tag = 0;
  std::uint32_t size = 0;
  std::uint32_t writes = 0;  // 1: it is to be written, 0: to be read

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.transfer_tag), v(s.size), v(s.writes);
  }
};
inline constexpr std::size_t ask_frame_size = 16;

struct offer_frame {
  std::uint64_t transfer_tag = 0;
  std::uint64_t address = 0;
  std::uint32_t remote_key = 0;
  std::uint32_t size = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.transfer_tag), v(s.address), v(s.remote_key), v(s.size);
  }
};
inline constexpr std::size_t offer_frame_size = 24;

// Takes a received frame apart; the type, and with it the size, is one of the known ones.
bool parse_frame(byte_span frame, frame_header& header, byte_span& body) noexcept;
// `out` has room for verbs_header_size bytes.
void put_header(mutable_byte_span out, frame_header header) noexcept;

// Where the memory of a chunk is: fills in `address` and `remote_key` of the chunk with this tag
// in a whole CALL or PING, and its CRC anew. False if there is no such chunk.
struct chunk_place {
  std::uint64_t transfer_tag = 0;
  std::uint64_t address = 0;
  std::uint32_t remote_key = 0;
};
bool place_chunk(mutable_byte_span message, const chunk_place& place) noexcept;
void renew_crc(mutable_byte_span message) noexcept;

// Calls f(chunk) for each chunk of a CALL or PING, until it returns false. False: that, or more
// chunks than there can be. Other messages have none.
template <class F>
bool for_each_chunk(byte_span message, F f) {
  constexpr std::size_t type_offset = 5;
  constexpr std::size_t count_offset = 66;
  constexpr std::size_t chunk_offset = wire_header_size + wire_extension_size;
  if (message.size() < chunk_offset) return false;
  if (!carries_chunks(static_cast<message_type>(message[type_offset]))) return true;
  const std::size_t count = std::to_integer<std::size_t>(message[count_offset]) +
                            std::to_integer<std::size_t>(message[count_offset + 1]);
  if (count > wire_chunk_count_max || message.size() - chunk_offset < count * wire_chunk_size)
    return false;
  for (std::size_t i = 0; i < count; ++i) {
    wire_reader r(message.subspan(chunk_offset + i * wire_chunk_size, wire_chunk_size));
    chunk c;
    r(c);
    if (!f(c, chunk_offset + i * wire_chunk_size)) return false;
  }
  return true;
}

}  // namespace tangelo
