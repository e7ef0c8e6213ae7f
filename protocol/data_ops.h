// Bodies of the operations on the room and the bytes of files beyond reading and writing (ops.h):
// fallocate, seek, copy_range. (tmpfile has the body of create, without a name.)
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "protocol/ops.h"

namespace tangelo {

// May be answered before it is durable: made again from its call it has the same effect.
constexpr bool may_be_early(opcode op) noexcept {
  return is_mutation(op) && op != opcode::inode_range && op != opcode::copy_range;
}

// As of fallocate(2); other bits are not supported.
namespace space_mode {
inline constexpr std::uint32_t keep_size = 1;
inline constexpr std::uint32_t punch_hole = 2;
inline constexpr std::uint32_t zero_range = 16;
}  // namespace space_mode

struct space_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // of the range
  std::uint32_t mode = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.offset), v(s.size), v(s.mode);
  }
};

// The next byte at or behind `offset` that is in a hole, or is not in one.
struct seek_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint8_t hole = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.offset), v(s.hole);
  }
};

struct seek_answer {
  std::uint64_t offset = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.offset);
  }
};

// From `inode` to `to_inode`, which may be the same one when the ranges do not overlap.
struct copy_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint64_t to_inode = 0;
  std::uint64_t to_handle = 0;
  std::uint64_t to_offset = 0;
  std::uint64_t size = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.offset), v(s.to_inode), v(s.to_handle);
    v(s.to_offset), v(s.size);
  }
};

// Fewer bytes than asked for are no error; none: the source ends there.
struct copy_answer {
  std::uint64_t copied = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.copied);
  }
};

// The bodies of unlink, rmdir, and a rename that may replace something: those of ops.h, and a
// handle of the client's, under which a directory, FIFO, socket or device that has lost its last
// name is kept until it is released; 0: it is not. (Files have handles of those who opened them.)
struct remove_call {
  credential who;
  std::uint64_t parent = 0;
  std::string_view name;
  std::uint64_t handle = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.parent), v.text(s.name), v(s.handle);
  }
};

struct replace_call {
  rename_call names;
  std::uint64_t handle = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.names), v(s.handle);
  }
};

// Left out when nothing is kept.
struct removed_answer {
  std::uint64_t inode = 0;  // that the handle means now

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.inode);
  }
};

// 0: there is none. Behind it is the time of the answer (ops.h).
inline std::uint64_t removed_inode(byte_span body) noexcept {
  if (body.size() <= answer_time_size) return 0;
  const std::optional<removed_answer> kept = decode<removed_answer>(body);
  return kept ? kept->inode : 0;
}

}  // namespace tangelo
