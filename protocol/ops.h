// Bodies of the operations: what a CALL asks and what a REPLY answers, per opcode.
//
// The same bytes travel twice: from the front end to the core in an op record (device.h) and from
// the core to the server in a CALL (wire.h); the answers likewise. The core does not look inside.
//
// Every call body begins with the credential of the caller. Sizes and offsets are bytes; times are
// nanoseconds since 1970 (signed). Texts are views (codec.h). Bulk data is never in a body: it is
// the payload of the message (a read's bytes, a write's bytes, a link's target, an xattr's value,
// directory entries).
//
// An encoded call body is at most op_body_size_max bytes, an encoded answer answer_size_max; a
// name is at most name_size_max bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "protocol/codec.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::size_t name_size_max = 255;
inline constexpr std::size_t link_target_size_max = 4095;
inline constexpr std::size_t xattr_value_size_max = 65536;
inline constexpr std::size_t group_count_max = 64;
inline constexpr std::size_t op_body_size_max = 1024;
inline constexpr std::size_t answer_size_max = 384;
inline constexpr std::uint64_t root_inode = 1;

// Behind the body of every successful answer to an op that changes something: the server's time of
// the change (8 bytes, wall clock ns). A replay carries it back, so that the change is the same.
inline constexpr std::size_t answer_time_size = 8;
inline std::int64_t time_of_answer(byte_span body) noexcept {
  if (body.size() < answer_time_size) return 0;
  wire_reader r(body.last(answer_time_size));
  std::int64_t time_ns = 0;
  r(time_ns);
  return time_ns;
}

// What a caller may do beside what its ids allow: the capabilities that it has in effect, of a
// caller whose uid is not 0. Never renumber.
namespace power {
inline constexpr std::uint8_t chown = 1u << 0;
inline constexpr std::uint8_t dac_override = 1u << 1;
inline constexpr std::uint8_t dac_read_search = 1u << 2;
inline constexpr std::uint8_t fowner = 1u << 3;
inline constexpr std::uint8_t fsetid = 1u << 4;
inline constexpr std::uint8_t sys_admin = 1u << 5;
inline constexpr std::uint8_t setfcap = 1u << 6;
// Its groups are not known, or too many: whatever they decide, its own kernel has decided.
inline constexpr std::uint8_t unknown_groups = 1u << 7;
}  // namespace power

// Who asks. `groups` are supplementary; a body with more than group_count_max is malformed.
struct credential {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint8_t group_count = 0;
  std::uint8_t powers = 0;  // power bits
  std::array<std::uint32_t, group_count_max> groups{};

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.uid), v(s.gid), v(s.group_count), v(s.powers);
    if (s.group_count > group_count_max) return v.refuse();
    for (std::size_t i = 0; i < s.group_count; ++i) v(s.groups[i]);
  }
};

// What an inode looks like to stat(2).
struct attributes {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::uint64_t blocks = 0;  // of 512 bytes
  std::int64_t atime_ns = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::int64_t btime_ns = 0;
  std::uint32_t mode = 0;  // type and permission bits, as in struct stat
  std::uint32_t link_count = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rdev = 0;        // as FUSE packs it (new_encode_dev)
  std::uint32_t generation = 0;  // of the inode number
  std::uint64_t change = 0;      // transno of the last change of data, size or attributes

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.inode), v(s.size), v(s.blocks), v(s.atime_ns), v(s.mtime_ns), v(s.ctime_ns);
    v(s.btime_ns), v(s.mode), v(s.link_count), v(s.uid), v(s.gid), v(s.rdev), v(s.generation);
    v(s.change);
  }
};

// Answer of lookup, mknod, mkdir, symlink, link and create. Validity never exceeds the lease.
struct entry_answer {
  attributes attr;
  std::uint32_t entry_valid_ms = 0;
  std::uint32_t attr_valid_ms = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.attr), v(s.entry_valid_ms), v(s.attr_valid_ms);
  }
};

// Answer of getattr, setattr and open (of open: for the decision whether cached pages still hold).
struct attr_answer {
  attributes attr;
  std::uint32_t attr_valid_ms = 0;
  std::uint8_t atime_due = 0;  // of open: a read would move the atime, so the server is to see it

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.attr), v(s.attr_valid_ms), v(s.atime_due);
  }
};

struct empty_answer {
  template <class Self, class V>
  static void fields(Self&, V&) {}
};

// lookup, unlink, rmdir
struct name_call {
  credential who;
  std::uint64_t parent = 0;
  std::string_view name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.parent), v.text(s.name);
  }
};

// getattr, statfs, listxattr (`size`: room of the caller, 0 asks for the size)
struct inode_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint32_t size = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.size);
  }
};

namespace set_attr {
inline constexpr std::uint32_t mode = 1u << 0;
inline constexpr std::uint32_t uid = 1u << 1;
inline constexpr std::uint32_t gid = 1u << 2;
inline constexpr std::uint32_t size = 1u << 3;
inline constexpr std::uint32_t atime = 1u << 4;
inline constexpr std::uint32_t mtime = 1u << 5;
inline constexpr std::uint32_t atime_now = 1u << 6;
inline constexpr std::uint32_t mtime_now = 1u << 7;
inline constexpr std::uint32_t ctime = 1u << 8;
inline constexpr std::uint32_t kill_setid = 1u << 9;  // clear setuid and setgid with this change
}  // namespace set_attr

struct setattr_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint32_t which = 0;  // set_attr bits
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;
  std::int64_t atime_ns = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.which), v(s.mode), v(s.uid), v(s.gid), v(s.size);
    v(s.atime_ns), v(s.mtime_ns), v(s.ctime_ns);
  }
};

// mknod, mkdir, symlink (payload: target) and create (which also opens `handle`).
struct make_call {
  credential who;
  std::uint64_t parent = 0;
  std::uint64_t inode = 0;   // chosen by the client, from a range reserved for it
  std::uint64_t handle = 0;  // create only
  std::uint32_t mode = 0;    // type and permission bits, as the caller gave them
  std::uint32_t rdev = 0;
  std::uint32_t open_flags = 0;  // create only; O_* of the caller
  std::string_view name;
  std::uint32_t umask = 0;  // counts where the parent has no default ACL

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.parent), v(s.inode), v(s.handle), v(s.mode), v(s.rdev), v(s.open_flags);
    v.text(s.name), v(s.umask);
  }
};

struct link_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t parent = 0;
  std::string_view name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.parent), v.text(s.name);
  }
};

// `flags` as of renameat2(2): 1 NOREPLACE, 2 EXCHANGE.
struct rename_call {
  credential who;
  std::uint64_t parent = 0;
  std::uint64_t new_parent = 0;
  std::uint32_t flags = 0;
  std::string_view name;
  std::string_view new_name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.parent), v(s.new_parent), v(s.flags), v.text(s.name), v.text(s.new_name);
  }
};

// open, release, reclaim_open
struct open_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint32_t open_flags = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.open_flags);
  }
};

// read; readdir (`offset`: the cookie after which to go on; `with_attributes`: readdirplus);
// readlink (`inode` and `keep_atime` only)
struct read_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
  std::uint8_t with_attributes = 0;
  std::uint8_t keep_atime = 0;  // opened with O_NOATIME, or the mount is noatime

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.offset), v(s.size), v(s.with_attributes);
    v(s.keep_atime);
  }
};

namespace write_flag {
inline constexpr std::uint32_t append = 1;      // the server chooses the offset
inline constexpr std::uint32_t kill_setid = 2;  // clear setuid and setgid
inline constexpr std::uint32_t of_pages = 4;  // from the page cache: it is not known whose they are
}  // namespace write_flag

struct write_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint64_t offset = 0;
  std::uint32_t size = 0;  // of the payload
  std::uint32_t flags = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.offset), v(s.size), v(s.flags);
  }
};

struct write_answer {
  std::uint32_t written = 0;
  std::uint64_t offset = 0;  // where the bytes went
  std::uint64_t change_before = 0;
  attributes attr;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.written), v(s.offset), v(s.change_before), v(s.attr);
  }
};

struct fsync_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint64_t handle = 0;
  std::uint8_t data_only = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.handle), v(s.data_only);
  }
};

struct statfs_answer {
  std::uint64_t block_size = 4096;
  std::uint64_t blocks = 0;
  std::uint64_t blocks_free = 0;
  std::uint64_t blocks_available = 0;
  std::uint64_t files = 0;
  std::uint64_t files_free = 0;
  std::uint32_t name_size_max = 255;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.block_size), v(s.blocks), v(s.blocks_free), v(s.blocks_available), v(s.files);
    v(s.files_free), v(s.name_size_max);
  }
};

// setxattr (payload: value; `flags` as of setxattr(2)), getxattr (`size`: room of the caller, 0
// asks for the size), removexattr
struct xattr_call {
  credential who;
  std::uint64_t inode = 0;
  std::uint32_t flags = 0;
  std::uint32_t size = 0;
  std::string_view name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.inode), v(s.flags), v(s.size), v.text(s.name);
  }
};

// Answer of getxattr and listxattr; with room, the bytes themselves are the payload.
struct size_answer {
  std::uint32_t size = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.size);
  }
};

struct inode_range_call {
  credential who;
  std::uint32_t count = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.who), v(s.count);
  }
};

struct inode_range_answer {
  std::uint64_t first = 0;
  std::uint32_t count = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.first), v(s.count);
  }
};

// One entry of a readdir payload; they follow each other without padding. `cookie` names the
// position behind this entry and stays valid while the directory changes. "." and ".." have the
// cookies 1 and 2. `attr` is all zero unless attributes were asked for.
struct directory_entry {
  std::uint64_t cookie = 0;
  std::uint64_t inode = 0;
  std::uint8_t type = 0;  // DT_*
  std::uint8_t has_attributes = 0;
  attributes attr;  // on the wire only if has_attributes
  std::uint32_t entry_valid_ms = 0;
  std::uint32_t attr_valid_ms = 0;
  std::string_view name;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.cookie), v(s.inode), v(s.type), v(s.has_attributes);
    if (s.has_attributes != 0) v(s.attr), v(s.entry_valid_ms), v(s.attr_valid_ms);
    v.text(s.name);
  }
};

// Takes the next entry off a readdir payload; nothing at its end or when it is malformed.
inline std::optional<directory_entry> next_entry(byte_span& payload) noexcept {
  if (payload.empty()) return std::nullopt;
  wire_reader r(payload);
  directory_entry e;
  r(e);
  if (!r.ok() || e.name.empty()) return std::nullopt;
  payload = r.rest();
  return e;
}

}  // namespace tangelo
