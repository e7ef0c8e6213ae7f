// The wire: message header, extensions and chunk descriptors of the Tangelo RPC.
//
// Dialogue (client left, server right), on every connection:
//
//   HELLO           ->           versions, features, identities, nonces
//                   <- HELLO_ACK or ERROR
//   AUTH            ->           with a secret only: the client's proof
//   CONNECT         ->           resume or begin a session, with the epoch of this connection
//                   <- CONNECT_ACK  verdict, cookie, boot generation, slots, lease
//   CALL            ->           one operation in a session slot
//                   <- DATA ...  payload of a read, placed by transfer tag (TCP)
//                   <- REPLY
//                   <- EARLY_REPLY  a call still runs: its deadline begins anew
//                   <- COMMIT_NOTE  last_committed has moved, and nothing else is to be said
//                   <- ADVICE       the volume is served here now: connect at once
//   PING            <->  PONG    lease, last_committed
//   GOODBYE         <->          orderly close
//
// A message is: header (72) | extension (32) | chunk descriptors (32 each) | body | inline payload.
// All integers are little-endian. The shape follows RPC-over-RDMA: small payloads inline, large
// ones described by chunks that the server reads or writes; see docs/PROTOCOL.md.
//
// Every number here is on the wire or on disk: never renumber; a retired value keeps its line.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "protocol/codec.h"

namespace tangelo {

inline constexpr std::uint32_t wire_magic = 0x4f474e54;  // "TNGO"
inline constexpr std::uint8_t wire_version = 1;
inline constexpr std::size_t wire_header_size = 72;
inline constexpr std::size_t wire_extension_size = 32;
inline constexpr std::size_t wire_chunk_size = 32;
inline constexpr std::size_t wire_chunk_count_max = 8;
inline constexpr std::size_t wire_message_size_max = 8192;  // header to inline payload
inline constexpr std::size_t wire_inline_payload_max = 4096;
inline constexpr std::size_t wire_payload_size_max = 1 << 20;  // of one operation
inline constexpr std::uint16_t default_port = 7471;

enum class message_type : std::uint8_t {
  hello = 1,
  hello_ack = 2,
  auth = 3,
  auth_ack = 4,  // retired before it was used: CONNECT_ACK says it
  connect = 7,
  connect_ack = 8,
  call = 9,
  reply = 10,
  early_reply = 11,
  ping = 12,
  pong = 13,
  pull_request = 14,  // TCP: "send me the bytes behind this tag"
  data = 15,          // TCP: the bytes behind a tag
  replay_done = 16,
  replay_done_ack = 17,
  callback = 18,
  callback_ack = 19,
  commit_note = 20,
  credit = 21,
  advice = 22,
  goodbye = 23,
  error = 24,
};

// Whose chunks name the sender's memory; in the provider's own frames they name what follows.
constexpr bool carries_chunks(message_type t) noexcept {
  return t == message_type::call || t == message_type::ping;
}

namespace message_flag {
inline constexpr std::uint16_t resent = 1;
inline constexpr std::uint16_t replay = 2;
inline constexpr std::uint16_t need_commit = 4;
inline constexpr std::uint16_t last = 8;
inline constexpr std::uint16_t mac = 16;
inline constexpr std::uint16_t data_inline = 32;
inline constexpr std::uint16_t allow_in_recovery = 64;
inline constexpr std::uint16_t commit_soon = 128;
inline constexpr std::uint16_t protection = 256;  // reply: its body ends with a trailer
}  // namespace message_flag

// Operations. "M" changes the volume: it runs in a session slot, exactly once, with a durable
// reply record. "R" only reads or changes volatile state idempotently.
enum class opcode : std::uint16_t {
  none = 0,
  lookup = 1,        // R
  getattr = 2,       // R
  setattr = 3,       // M
  readlink = 4,      // R, payload out
  symlink = 5,       // M, payload in: the target
  mknod = 6,         // M
  mkdir = 7,         // M
  unlink = 8,        // M
  rmdir = 9,         // M
  rename = 10,       // M
  link = 11,         // M
  open = 12,         // R: the handle is chosen by the client; opening it twice is opening it once
  create = 13,       // M
  read = 14,         // R, payload out
  write = 15,        // M, payload in
  release = 16,      // R: releasing twice is releasing once
  fsync = 17,        // R: waits until everything executed so far is committed
  readdir = 18,      // R, payload out
  statfs = 19,       // R
  setxattr = 20,     // M, payload in: the value
  getxattr = 21,     // R, payload out
  listxattr = 22,    // R, payload out
  removexattr = 23,  // M
  inode_range = 24,  // M: reserve a range of inode numbers for this client
  reclaim_open = 25, // R, in recovery: an open handle from before the server's restart
  fallocate = 26,    // M
  seek = 27,         // R: the next data or hole of a file
  copy_range = 28,   // M: from one file to another, on the server
  tmpfile = 29,      // M: create without a name
  get_lock = 30,     // R: who stands in the way
  set_lock = 31,     // R: lock or unlock
  cancel_lock = 32,  // R: end the wait for a lock
  reclaim_lock = 33, // R, in recovery: a lock from before the server's restart, or a wait for one
  // 34 and 35 are not used: quotas are extended attributes.
};
inline constexpr std::size_t opcode_count = 34;

constexpr std::string_view name_of(opcode op) noexcept {
  switch (op) {
    using enum opcode;
    case none: return "none";
    case lookup: return "lookup";
    case getattr: return "getattr";
    case setattr: return "setattr";
    case readlink: return "readlink";
    case symlink: return "symlink";
    case mknod: return "mknod";
    case mkdir: return "mkdir";
    case unlink: return "unlink";
    case rmdir: return "rmdir";
    case rename: return "rename";
    case link: return "link";
    case open: return "open";
    case create: return "create";
    case read: return "read";
    case write: return "write";
    case release: return "release";
    case fsync: return "fsync";
    case readdir: return "readdir";
    case statfs: return "statfs";
    case setxattr: return "setxattr";
    case getxattr: return "getxattr";
    case listxattr: return "listxattr";
    case removexattr: return "removexattr";
    case inode_range: return "inode_range";
    case reclaim_open: return "reclaim_open";
    case fallocate: return "fallocate";
    case seek: return "seek";
    case copy_range: return "copy_range";
    case tmpfile: return "tmpfile";
    case get_lock: return "get_lock";
    case set_lock: return "set_lock";
    case cancel_lock: return "cancel_lock";
    case reclaim_lock: return "reclaim_lock";
  }
  return {};
}

constexpr bool is_mutation(opcode op) noexcept {
  switch (op) {
    using enum opcode;
    case setattr:
    case symlink:
    case mknod:
    case mkdir:
    case unlink:
    case rmdir:
    case rename:
    case link:
    case create:
    case write:
    case setxattr:
    case removexattr:
    case inode_range:
    case fallocate:
    case copy_range:
    case tmpfile: return true;
    case none:
    case lookup:
    case getattr:
    case readlink:
    case open:
    case read:
    case release:
    case fsync:
    case readdir:
    case statfs:
    case getxattr:
    case listxattr:
    case reclaim_open:
    case seek:
    case get_lock:
    case set_lock:
    case cancel_lock:
    case reclaim_lock: return false;
  }
  return false;
}

using id128 = std::array<std::byte, 16>;

// Byte offsets as in the table of docs/PROTOCOL.md; `fields` keeps to them.
struct wire_header {
  std::uint32_t magic = wire_magic;      //  0
  std::uint8_t version = wire_version;   //  4
  message_type type{};                   //  5
  std::uint16_t flags = 0;               //  6
  std::uint32_t total_size = 0;          //  8  header to inline payload
  std::uint32_t crc = 0;                 // 12  CRC32C of the whole message with this field zero
  std::uint64_t cookie = 0;              // 16  of the export; 0 before CONNECT
  std::uint64_t epoch = 0;               // 24  core generation << 32 | connection count
  std::uint64_t xid = 0;                 // 32  the op's number, the same over every resend
  std::uint32_t slot_seq = 0;            // 40
  std::uint16_t slot = 0;                // 44
  opcode op = opcode::none;              // 46
  std::uint64_t transno = 0;             // 48  call: 0, or that of a replay; reply: assigned
  // 56  reply, pong, commit_note: last_committed; call: the highest the client has seen; call with
  // REPLAY: transno of the replay before it in this pass, 0 for the first
  std::uint64_t ack = 0;
  std::uint16_t credits = 0;             // 64  call: wanted; reply: granted, absolute
  std::uint8_t read_chunk_count = 0;     // 66  chunks the server reads from (payload in)
  std::uint8_t write_chunk_count = 0;    // 67  chunks the server writes to (payload out)
  std::uint32_t reserved = 0;            // 68

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.magic), v(s.version), v(s.type), v(s.flags), v(s.total_size), v(s.crc), v(s.cookie);
    v(s.epoch), v(s.xid), v(s.slot_seq), v(s.slot), v(s.op), v(s.transno), v(s.ack);
    v(s.credits), v(s.read_chunk_count), v(s.write_chunk_count), v(s.reserved);
  }
};

struct call_extension {
  std::uint32_t relative_deadline_ms = 0;
  std::uint16_t attempt = 0;
  std::uint8_t protection_type = 0;  // protection.h
  std::uint8_t key_id = 0;
  std::uint32_t credential_ref = 0;  // 0: the credential leads the body
  std::uint32_t body_size = 0;
  std::uint64_t trace_id = 0;
  std::int64_t replay_time_ns = 0;  // of a REPLAY: when the change was made, by its first answer

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.relative_deadline_ms), v(s.attempt), v(s.protection_type), v(s.key_id);
    v(s.credential_ref), v(s.body_size), v(s.trace_id), v(s.replay_time_ns);
  }
};

struct reply_extension {
  std::uint32_t status = 0;  // an error_code
  std::uint32_t service_us = 0;
  std::uint32_t estimate_ms = 0;
  std::uint32_t body_size = 0;
  std::uint32_t retry_after_ms = 0;  // early_reply: the new deadline, from its arrival
  std::uint32_t payload_size = 0;  // bytes of payload out, inline or placed
  std::uint64_t boot_generation = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.status), v(s.service_us), v(s.estimate_ms), v(s.body_size), v(s.retry_after_ms);
    v(s.payload_size), v(s.boot_generation);
  }
};

enum class chunk_kind : std::uint16_t {
  pull = 1,       // the server reads it: payload in
  push = 2,       // the server writes it: payload out
  reply = 3,      // a large reply body
  call_body = 4,  // a large call body
};

struct chunk {
  std::uint64_t address = 0;       // verbs: in the peer's registered memory
  std::uint32_t remote_key = 0;    // verbs
  std::uint32_t size = 0;          // bytes
  std::uint64_t transfer_tag = 0;  // fresh for each chunk of each attempt
  chunk_kind kind{};
  std::uint16_t flags = 0;
  std::uint32_t argument = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.address), v(s.remote_key), v(s.size), v(s.transfer_tag), v(s.kind), v(s.flags);
    v(s.argument);
  }
};

// A message taken apart; views into the bytes it was parsed from.
struct message_view {
  wire_header header;
  byte_span extension;  // 32 bytes
  std::array<chunk, wire_chunk_count_max> chunks;
  std::size_t chunk_count = 0;
  byte_span body;            // to the end of what the extension's body_size covers
  byte_span inline_payload;  // only with message_flag::data_inline
};

enum class parse_fault : std::uint8_t {
  none,
  too_short,
  bad_magic,
  bad_version,
  bad_type,
  bad_size,
  bad_crc,
  bad_chunks,
  bad_body,
};
std::string_view name_of(parse_fault fault) noexcept;

// Reads the first 16 bytes of a message far enough to know how long it is. The size is checked
// against wire_message_size_max (or, for DATA, against the header's own size: DATA has a payload
// of `chunk size` bytes behind its header and extension that does not count into total_size).
parse_fault peek_size(byte_span first_bytes, std::uint32_t& total_size) noexcept;
// Takes a whole message apart and checks it: magic, version, type, sizes, CRC, chunk kinds.
parse_fault parse_message(byte_span message, message_view& out) noexcept;

// Builds one message into `out` (at least wire_message_size_max bytes): fills in sizes, counts and
// CRC. `extension` is 32 bytes as encoded from call_extension or reply_extension (whose body_size
// the caller has set to body.size()). Returns the bytes used; 0 when it does not fit.
std::size_t build_message(wire_header header, byte_span extension, std::span<const chunk> chunks,
                          byte_span body, byte_span inline_payload, mutable_byte_span out) noexcept;

}  // namespace tangelo
