// records: what a volume saves in its key-value store, byte by byte.
//
// Format final: these structures are on disk. A record begins with a version; fields are only ever
// added at the end (a record that ends early has zeros there, codec.h rule 1).
//
// Keys are big-endian, so that they sort as numbers do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "protocol/codec.h"
#include "protocol/ops.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::uint8_t record_version = 1;
inline constexpr std::size_t inline_size_max = 4096;        // of a file's data kept in the store
inline constexpr std::size_t redo_payload_max = 64 * 1024;  // of a write; larger: no redo record

namespace inode_flag {
inline constexpr std::uint32_t object = 1;   // the data is in an object file, not inline_data
inline constexpr std::uint32_t xattrs = 2;   // has, or once had, extended attributes
// 4 is not used: what has guards is said by them.
inline constexpr std::uint32_t nameless = 8;  // made without a name, and may be given one
inline constexpr std::uint32_t hole = 16;  // nothing in inline_data: zeros up to its size
}  // namespace inode_flag

struct inode_record {
  std::uint8_t version = record_version;
  std::uint32_t flags = 0;  // inode_flag bits
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t link_count = 0;
  std::uint32_t rdev = 0;
  std::uint32_t generation = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;
  std::int64_t atime_ns = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::int64_t btime_ns = 0;
  std::uint64_t change = 0;
  std::uint64_t parent = 0;  // directories only
  std::uint64_t tree = 0;    // the tree it is counted in (quotas.h); it may be one no more

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.flags), v(s.mode), v(s.uid), v(s.gid), v(s.link_count), v(s.rdev);
    v(s.generation), v(s.size), v(s.blocks), v(s.atime_ns), v(s.mtime_ns), v(s.ctime_ns);
    v(s.btime_ns), v(s.change), v(s.parent), v(s.tree);
  }
};

struct dirent_record {
  std::uint8_t version = record_version;
  std::uint8_t type = 0;  // DT_*
  std::uint64_t inode = 0;
  std::uint64_t cookie = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.type), v(s.inode), v(s.cookie);
  }
};

struct cookie_record {
  std::uint8_t version = record_version;
  std::uint8_t type = 0;
  std::uint64_t inode = 0;
  std::string_view name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.type), v(s.inode), v.text(s.name);
  }
};

// Never renumber.
enum class redo_kind : std::uint8_t {
  write = 1,
  truncate = 2,  // cut what is behind `offset`
  remove = 3,
  punch = 4,     // these four as space_change (objects.h) has them
  zero = 5,
  allocate = 6,
  trim = 7,
};

// What has to be done to an object file again after a crash. Behind it follow a write's bytes, or
// the size of the range that is punched, zeroed or allocated (key_of).
struct redo_record {
  std::uint8_t version = record_version;
  redo_kind kind{};
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;  // of a truncate and a trim the new size

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.kind), v(s.inode), v(s.offset);
  }
};

struct saved_client {
  std::uint8_t version = record_version;
  std::uint8_t awaited = 0;
  std::uint64_t incarnation = 0;
  std::uint8_t tombstone = 0;         // written off
  std::uint64_t highest_transno = 0;  // of a tombstone: of all its changes that are in the store

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.awaited), v(s.incarnation), v(s.tombstone), v(s.highest_transno);
  }
};

// Inode numbers that a client may give to what it makes.
struct saved_range {
  std::uint8_t version = record_version;
  std::uint64_t incarnation = 0;
  std::uint64_t count = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.incarnation), v(s.count);
  }
};

struct saved_reply {
  std::uint8_t version = record_version;
  std::uint64_t incarnation = 0;
  std::uint32_t slot_seq = 0;
  std::uint64_t xid = 0;
  std::uint16_t op = 0;
  std::uint16_t status = 0;
  std::uint64_t transno = 0;
  std::string_view body;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.incarnation), v(s.slot_seq), v(s.xid), v(s.op), v(s.status);
    v(s.transno), v.text(s.body);
  }
};

template <class Record>
std::string packed(const Record& record) {
  std::byte room[1024];
  const std::optional<std::size_t> size = encode(record, room);
  CHECK(size.has_value());
  return std::string(text_of({room, *size}));
}
// Nothing when malformed or of a version that we do not know.
template <class Record>
std::optional<Record> unpacked(std::string_view value) {
  std::optional<Record> record = decode<Record>(bytes_of(value));
  if (record && record->version != record_version) return std::nullopt;
  return record;
}

template <class Number>
void append_number(std::string& key, Number n) {
  for (int shift = (static_cast<int>(sizeof n) - 1) * 8; shift >= 0; shift -= 8)
    key.push_back(static_cast<char>((n >> shift) & 0xff));
}
inline std::uint64_t number_at(std::string_view key, std::size_t position) {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < 8 && position + i < key.size(); ++i)
    n = (n << 8) | static_cast<unsigned char>(key[position + i]);
  return n;
}
inline std::string key_of(std::uint64_t n) {
  std::string key;
  append_number(key, n);
  return key;
}
inline std::string key_of(std::uint64_t n, std::string_view name) {
  std::string key = key_of(n);
  key.append(name);
  return key;
}
inline std::string key_of(std::uint64_t n, std::uint64_t m) {
  std::string key = key_of(n);
  append_number(key, m);
  return key;
}
inline std::string redo_key(std::uint64_t transno, std::uint16_t index) {
  std::string key = key_of(transno);
  append_number(key, index);
  return key;
}
inline std::string client_record_key(const id128& id) { return std::string(text_of(id)); }
inline std::string range_key(const id128& id, std::uint64_t first) {
  std::string key(text_of(id));
  append_number(key, first);
  return key;
}
inline std::string reply_key(const id128& id, std::uint16_t slot) {
  std::string key(text_of(id));
  append_number(key, slot);
  return key;
}
// The first key behind all keys that begin with `prefix`.
inline std::string end_of(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

// Keys of column::meta; values are key_of(number).
inline constexpr std::string_view meta_boot = "boot";
inline constexpr std::string_view meta_transno = "transno";
inline constexpr std::string_view meta_next_inode = "next_inode";
// The last boot generation that has counted usage (quotas.h); not the last one: count anew.
inline constexpr std::string_view meta_counted = "counted";

}  // namespace tangelo
