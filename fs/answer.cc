#include "fs/answer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "fs/request.h"
#include "protocol/data_ops.h"
#include "protocol/lock_ops.h"

namespace tangelo {

namespace {

constexpr std::size_t directory_room =
    slot_shapes[static_cast<std::size_t>(slot_class::directory)].size;
constexpr std::uint32_t preferred_io_size = 128 << 10;

std::uint64_t seconds_of(std::int64_t ns) noexcept {
  const std::int64_t s = ns / 1'000'000'000;
  return static_cast<std::uint64_t>(ns % 1'000'000'000 < 0 ? s - 1 : s);
}
std::uint32_t part_of(std::int64_t ns) noexcept {
  const std::int64_t p = ns % 1'000'000'000;
  return static_cast<std::uint32_t>(p < 0 ? p + 1'000'000'000 : p);
}

struct validity {
  std::uint64_t seconds;
  std::uint32_t nanoseconds;
};
validity valid_for(std::uint32_t ms) noexcept {
  return {ms / 1000, (ms % 1000) * 1'000'000};
}

fuse_attr kernel_attributes(const attributes& a) noexcept {
  fuse_attr out{};
  out.ino = a.inode;
  out.size = a.size;
  out.blocks = a.blocks;
  out.atime = seconds_of(a.atime_ns);
  out.atimensec = part_of(a.atime_ns);
  out.mtime = seconds_of(a.mtime_ns);
  out.mtimensec = part_of(a.mtime_ns);
  out.ctime = seconds_of(a.ctime_ns);
  out.ctimensec = part_of(a.ctime_ns);
  out.mode = a.mode;
  out.nlink = a.link_count;
  out.uid = a.uid;
  out.gid = a.gid;
  out.rdev = a.rdev;
  out.blksize = preferred_io_size;
  return out;
}

fuse_entry_out kernel_entry(const attributes& a, std::uint32_t entry_ms,
                            std::uint32_t attr_ms) noexcept {
  fuse_entry_out out{};
  out.nodeid = a.inode;
  out.generation = a.generation;
  const validity entry = valid_for(entry_ms);
  const validity attr = valid_for(attr_ms);
  out.entry_valid = entry.seconds;
  out.entry_valid_nsec = entry.nanoseconds;
  out.attr_valid = attr.seconds;
  out.attr_valid_nsec = attr.nanoseconds;
  out.attr = kernel_attributes(a);
  return out;
}

fuse_statx_reply kernel_statx(const attributes& a, std::uint32_t attr_ms) noexcept {
  constexpr std::uint32_t basic_and_birth = 0xfff;
  fuse_statx_reply out{};
  const validity attr = valid_for(attr_ms);
  out.attr_valid = attr.seconds;
  out.attr_valid_nsec = attr.nanoseconds;
  out.mask = basic_and_birth;
  out.blksize = preferred_io_size;
  out.nlink = a.link_count;
  out.uid = a.uid;
  out.gid = a.gid;
  out.mode = static_cast<std::uint16_t>(a.mode);
  out.ino = a.inode;
  out.size = a.size;
  out.blocks = a.blocks;
  const auto time = [](std::int64_t ns) noexcept {
    return fuse_statx_time{static_cast<std::int64_t>(seconds_of(ns)), part_of(ns), 0};
  };
  out.atime = time(a.atime_ns);
  out.btime = time(a.btime_ns);
  out.ctime = time(a.ctime_ns);
  out.mtime = time(a.mtime_ns);
  out.rdev_major = (a.rdev & 0xfff00) >> 8;
  out.rdev_minor = (a.rdev & 0xff) | ((a.rdev >> 12) & 0xfff00);
  return out;
}

}  // namespace

answer_builder::answer_builder() : entries_in_(directory_room), entries_out_(directory_room) {}

void answer_builder::limit_validity(std::uint64_t ns) noexcept {
  valid_ms_max_ =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(ns / ns_per_ms, valid_ms_max));
}

std::uint32_t answer_builder::valid_ms(std::uint32_t by_server) const noexcept {
  const bool is_set = caching_.ac != policy_off;
  return std::min(is_set ? caching_.ac * 1000 : by_server, valid_ms_max_);
}

template <class T>
void answer_builder::append(const T& value) noexcept {
  static_assert(sizeof(T) <= sizeof body_);
  CHECK(body_size_ + sizeof value <= sizeof body_);
  std::memcpy(body_ + body_size_, &value, sizeof value);
  body_size_ += sizeof value;
}

void answer_builder::finish(std::uint64_t kernel_id, error_code error) noexcept {
  if (error != error_code::ok) {
    body_size_ = 0;
    bulk_ = {};
  }
  header_.unique = kernel_id;
  header_.error = -errno_of(error);
  header_.len = static_cast<std::uint32_t>(sizeof header_ + body_size_ + bulk_.size());
  part_count_ = 0;
  parts_[part_count_++] = {&header_, sizeof header_};
  if (body_size_ != 0) parts_[part_count_++] = {body_, body_size_};
  if (!bulk_.empty())
    parts_[part_count_++] = {const_cast<std::byte*>(bulk_.data()), bulk_.size()};
}

void answer_builder::build_error(std::uint64_t kernel_id, error_code error) noexcept {
  body_size_ = 0;
  bulk_ = {};
  finish(kernel_id, error);
}

void answer_builder::build_body(std::uint64_t kernel_id, byte_span body) noexcept {
  body_size_ = copy_bytes(body_, body);
  CHECK(body_size_ == body.size());
  bulk_ = {};
  finish(kernel_id, error_code::ok);
}

answer_facts answer_builder::build(const op_cell& op, const downcall_cell& downcall,
                                   byte_span payload, cache_hints& hints) noexcept {
  answer_facts facts;
  body_size_ = 0;
  bulk_ = {};
  facts.status = error_of_wire(downcall.status);
  if (facts.status == error_code::ok) facts.status = fill(op, downcall, payload, hints, facts);
  finish(op.kernel_id, facts.status);
  return facts;
}

error_code answer_builder::fill(const op_cell& op, const downcall_cell& downcall,
                                byte_span payload, cache_hints& hints,
                                answer_facts& facts) noexcept {
  const byte_span body{downcall.body, downcall.body_size};
  switch (op.op) {
    case opcode::getattr:
    case opcode::setattr: return fill_attributes(op, body, hints);
    case opcode::lookup:
    case opcode::symlink:
    case opcode::mknod:
    case opcode::mkdir:
    case opcode::link:
    case opcode::create:
    case opcode::tmpfile: return fill_entry(op, body, hints, facts);
    case opcode::open: return fill_open(op, body, hints, facts);
    case opcode::write: return fill_written(op, body, hints, facts);
    case opcode::statfs: return fill_statfs(body);
    case opcode::read:
    case opcode::readlink: bulk_ = payload; return error_code::ok;
    case opcode::readdir: return fill_directory(op, payload, hints);
    case opcode::getxattr:
    case opcode::listxattr: return fill_xattr(op, body, payload);
    case opcode::inode_range: {
      const std::optional<inode_range_answer> in = decode<inode_range_answer>(body);
      if (!in) return error_code::io;
      facts.range_first = in->first;
      facts.range_count = in->count;
      return error_code::ok;
    }
    case opcode::get_lock: return fill_lock(body);
    case opcode::unlink:
    case opcode::rmdir:
    case opcode::rename: {
      facts.inode = removed_inode(body);
      return error_code::ok;
    }
    case opcode::release:
    case opcode::fsync:
    case opcode::set_lock:
    case opcode::cancel_lock:
    case opcode::setxattr:
    case opcode::removexattr:
    case opcode::fallocate: return error_code::ok;
    case opcode::seek: return fill_seek(body);
    case opcode::copy_range: return fill_copied(op, body);
    case opcode::none:
    case opcode::reclaim_lock:
    case opcode::reclaim_open: return error_code::io;
  }
  return error_code::io;
}

error_code answer_builder::fill_attributes(const op_cell& op, byte_span body,
                                           cache_hints& hints) noexcept {
  const std::optional<attr_answer> in = decode<attr_answer>(body);
  if (!in || in->attr.inode != op.inode) return error_code::io;
  hints.told(op.inode, in->attr.change);
  if (op.kernel_opcode == fuse_opcode_statx) {
    append(kernel_statx(in->attr, valid_ms(in->attr_valid_ms)));
    return error_code::ok;
  }
  fuse_attr_out out{};
  const validity attr = valid_for(valid_ms(in->attr_valid_ms));
  out.attr_valid = attr.seconds;
  out.attr_valid_nsec = attr.nanoseconds;
  out.attr = kernel_attributes(in->attr);
  append(out);
  return error_code::ok;
}

error_code answer_builder::fill_entry(const op_cell& op, byte_span body, cache_hints& hints,
                                      answer_facts& facts) noexcept {
  const std::optional<entry_answer> in = decode<entry_answer>(body);
  if (!in || in->attr.inode == 0) return error_code::io;
  append(kernel_entry(in->attr, valid_ms(in->entry_valid_ms), valid_ms(in->attr_valid_ms)));
  facts.inode = in->attr.inode;
  hints.told(in->attr.inode, in->attr.change);
  if (opens_new_file(op.op)) append(opened(op, in->attr, hints));
  return error_code::ok;
}

fuse_open_out answer_builder::opened(const op_cell& op, const attributes& a,
                                     cache_hints& hints) const noexcept {
  fuse_open_out out{};
  out.fh = op.handle;
  const bool keeps = hints.opened(a.inode, a.change);
  if (caching_.direct_io || goes_past_pages(op))
    out.open_flags = FOPEN_DIRECT_IO;
  else if (keeps)
    out.open_flags = FOPEN_KEEP_CACHE;
  return out;
}

// An append: the kernel does not know where the bytes will be. (With write-back it decides.)
bool answer_builder::goes_past_pages(const op_cell& op) const noexcept {
  const std::uint32_t access = op.kernel_flags & O_ACCMODE;
  const bool can_be_so = access == O_WRONLY || (access == O_RDWR && direct_maps_);
  return (op.kernel_flags & O_APPEND) != 0 && can_be_so && !caching_.writeback;
}

// An answer to OPEN has no attributes: the kernel asks for those that it has to forget.
error_code answer_builder::fill_open(const op_cell& op, byte_span body, cache_hints& hints,
                                     answer_facts& facts) noexcept {
  const std::optional<attr_answer> in = decode<attr_answer>(body);
  if (!in) return error_code::io;
  fuse_open_out out = opened(op, in->attr, hints);
  // What the cache answers the server does not see.
  const bool reads = (op.kernel_flags & O_ACCMODE) != O_WRONLY &&
                     (op.kernel_flags & O_NOATIME) == 0 && !caching_.noatime;
  if (reads && in->atime_due != 0) out.open_flags &= ~static_cast<std::uint32_t>(FOPEN_KEEP_CACHE);
  append(out);
  if (!hints.knows(op.inode, in->attr.change)) facts.stale_attributes = op.inode;
  return error_code::ok;
}

error_code answer_builder::fill_written(const op_cell& op, byte_span body,
                                        cache_hints& hints, answer_facts& facts) noexcept {
  const std::optional<write_answer> in = decode<write_answer>(body);
  if (!in || in->written > op.payload_in.size) return error_code::io;
  facts.is_elsewhere = in->offset != op.offset;
  if (!facts.is_elsewhere) hints.written(op.inode, in->change_before, in->attr.change);
  fuse_write_out out{};
  out.size = in->written;
  append(out);
  return error_code::ok;
}

error_code answer_builder::fill_seek(byte_span body) noexcept {
  const std::optional<seek_answer> in = decode<seek_answer>(body);
  if (!in || in->offset > INT64_MAX) return error_code::io;
  append(fuse_lseek_out{in->offset});
  return error_code::ok;
}

error_code answer_builder::fill_copied(const op_cell& op, byte_span body) noexcept {
  const std::optional<copy_answer> in = decode<copy_answer>(body);
  if (!in || in->copied > UINT32_MAX) return error_code::io;
  if (op.kernel_opcode == fuse_opcode_copy_range_64) {
    append(in->copied);
    return error_code::ok;
  }
  fuse_write_out out{};
  out.size = static_cast<std::uint32_t>(in->copied);
  append(out);
  return error_code::ok;
}

error_code answer_builder::fill_statfs(byte_span body) noexcept {
  const std::optional<statfs_answer> in = decode<statfs_answer>(body);
  if (!in) return error_code::io;
  fuse_statfs_out out{};
  out.st.blocks = in->blocks;
  out.st.bfree = in->blocks_free;
  out.st.bavail = in->blocks_available;
  out.st.files = in->files;
  out.st.ffree = in->files_free;
  out.st.bsize = static_cast<std::uint32_t>(in->block_size);
  out.st.frsize = static_cast<std::uint32_t>(in->block_size);
  out.st.namelen = in->name_size_max;
  append(out);
  return error_code::ok;
}

error_code answer_builder::fill_lock(byte_span body) noexcept {
  const std::optional<lock_answer> in = decode<lock_answer>(body);
  if (!in) return error_code::io;
  fuse_lk_out out{};
  out.lk.type = F_UNLCK;
  if (in->what.type != lock_type::unlock) {
    if (!is_sound(in->what)) return error_code::io;
    out.lk.type = in->what.type == lock_type::write ? F_WRLCK : F_RDLCK;
    out.lk.start = in->what.start;
    out.lk.end = in->what.end;
    out.lk.pid = in->what.pid;
  }
  append(out);
  return error_code::ok;
}

error_code answer_builder::fill_xattr(const op_cell& op, byte_span body,
                                      byte_span payload) noexcept {
  const std::optional<size_answer> in = decode<size_answer>(body);
  if (!in) return error_code::io;
  if (op.room == 0) {
    fuse_getxattr_out out{};
    out.size = in->size;
    append(out);
    return error_code::ok;
  }
  if (in->size > op.room) return error_code::range;
  if (payload.size() < in->size) return error_code::io;
  bulk_ = payload.first(in->size);
  return error_code::ok;
}

error_code answer_builder::fill_directory(const op_cell& op, byte_span payload,
                                          cache_hints& hints) noexcept {
  const bool plus = op.kernel_opcode == FUSE_READDIRPLUS;
  const std::size_t room = op.room < entries_out_.size() ? op.room : entries_out_.size();
  byte_span in{entries_in_.data(), copy_bytes(entries_in_, payload)};
  std::size_t used = 0;
  while (!in.empty()) {
    const std::optional<directory_entry> e = next_entry(in);
    if (!e || e->name.size() > name_size_max) return error_code::io;
    const std::size_t fixed = (plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET);
    const std::size_t size = FUSE_DIRENT_ALIGN(fixed + e->name.size());
    if (used + size > room) break;
    std::byte* at = entries_out_.data() + used;
    std::memset(at, 0, size);
    fuse_direntplus out{};
    // "." and ".." are not looked up by this: their node id stays 0.
    const bool is_dot = e->name == "." || e->name == "..";
    if (plus && !is_dot && e->has_attributes != 0) {
      out.entry_out =
          kernel_entry(e->attr, valid_ms(e->entry_valid_ms), valid_ms(e->attr_valid_ms));
      hints.told(e->attr.inode, e->attr.change);
    }
    out.dirent.ino = e->inode;
    out.dirent.off = e->cookie;
    out.dirent.namelen = static_cast<std::uint32_t>(e->name.size());
    out.dirent.type = e->type;
    if (plus)
      std::memcpy(at, &out, FUSE_NAME_OFFSET_DIRENTPLUS);
    else
      std::memcpy(at, &out.dirent, FUSE_NAME_OFFSET);
    std::memcpy(at + fixed, e->name.data(), e->name.size());
    used += size;
  }
  bulk_ = {entries_out_.data(), used};
  return error_code::ok;
}

}  // namespace tangelo
