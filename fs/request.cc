#include "fs/request.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>

#include "fs/claims.h"
#include "fs/fuse_abi.h"
#include "fs/request_decoding.h"
#include "protocol/data_ops.h"

namespace tangelo {

namespace {

void want_payload(op_draft& draft, slot_class kind, std::uint32_t size) noexcept {
  draft.cell.payload_out = {kind, 0, 0, size};
}

request_kind decode_name(decoding& d, opcode op) noexcept {
  name_call body{d.who, d.header.nodeid, d.in.name()};
  if (too_long(body.name)) return refuse(d.draft, error_code::name_too_long);
  return as_op(d, op, body);
}

request_kind decode_removal(decoding& d, opcode op) noexcept {
  const remove_call body{d.who, d.header.nodeid, d.in.name(), 0};
  if (too_long(body.name)) return refuse(d.draft, error_code::name_too_long);
  return as_op(d, op, body, request_kind::removing);
}

request_kind decode_getattr(decoding& d) noexcept {
  const auto in = d.in.take<fuse_getattr_in>();
  const bool has_handle = (in.getattr_flags & FUSE_GETATTR_FH) != 0;
  return as_op(d, opcode::getattr,
               inode_call{d.who, d.header.nodeid, has_handle ? in.fh : 0, 0});
}

// A time that nanoseconds in 64 bits cannot say (before 1677, after 2262) is the nearest they can.
std::int64_t nanoseconds(std::uint64_t seconds, std::uint32_t part) noexcept {
  constexpr std::int64_t seconds_max = INT64_MAX / 1'000'000'000 - 1;
  std::int64_t s = static_cast<std::int64_t>(seconds);
  if (part > 999'999'999) part = 999'999'999;
  if (s > seconds_max) s = seconds_max;
  if (s < -seconds_max) s = -seconds_max;
  return s * 1'000'000'000 + part;
}

std::uint32_t set_attr_bits(std::uint32_t valid) noexcept {
  struct pair {
    std::uint32_t kernel, ours;
  };
  constexpr pair pairs[] = {
      {FATTR_MODE, set_attr::mode},           {FATTR_UID, set_attr::uid},
      {FATTR_GID, set_attr::gid},             {FATTR_SIZE, set_attr::size},
      {FATTR_ATIME, set_attr::atime},         {FATTR_MTIME, set_attr::mtime},
      {FATTR_ATIME_NOW, set_attr::atime_now}, {FATTR_MTIME_NOW, set_attr::mtime_now},
      {FATTR_CTIME, set_attr::ctime},         {FATTR_KILL_SUIDGID, set_attr::kill_setid},
  };
  std::uint32_t bits = 0;
  for (const pair& p : pairs)
    if ((valid & p.kernel) != 0) bits |= p.ours;
  return bits;
}

request_kind decode_setattr(decoding& d) noexcept {
  const auto in = d.in.take<fuse_setattr_in>();
  setattr_call body;
  body.inode = d.header.nodeid;
  body.handle = (in.valid & FATTR_FH) != 0 ? in.fh : 0;
  body.which = set_attr_bits(in.valid);
  // Each takes setgid away from whoever may not set it.
  const bool sets_setgid = (body.which & set_attr::mode) != 0 && (in.mode & S_ISGID) != 0;
  constexpr std::uint32_t takes = set_attr::uid | set_attr::gid | set_attr::kill_setid;
  if (sets_setgid || body.which == 0 || (body.which & takes) != 0) d.read_caller_anew();
  body.who = d.who;
  body.mode = in.mode;
  body.uid = in.uid;
  body.gid = in.gid;
  body.size = in.size;
  body.atime_ns = nanoseconds(in.atime, in.atimensec);
  body.mtime_ns = nanoseconds(in.mtime, in.mtimensec);
  body.ctime_ns = nanoseconds(in.ctime, in.ctimensec);
  return as_op(d, opcode::setattr, body);
}

request_kind decode_make(decoding& d, opcode op, std::uint32_t mode, std::uint32_t umask,
                         std::uint32_t rdev, std::uint32_t open_flags) noexcept {
  make_call body;
  if ((mode & S_ISGID) != 0) d.read_caller_anew();
  body.who = d.who;
  body.parent = d.header.nodeid;
  body.mode = mode;
  body.umask = umask & 0777;
  body.rdev = rdev;
  body.open_flags = open_flags;
  body.name = d.in.name();
  if (too_long(body.name)) return refuse(d.draft, error_code::name_too_long);
  if (op == opcode::symlink) {
    const std::string_view target = d.in.name();
    if (target.empty()) return refuse(d.draft, error_code::no_entry);
    if (target.size() > link_target_size_max) return refuse(d.draft, error_code::name_too_long);
    d.draft.payload = bytes_of(target);
  }
  return as_op(d, op, body, op == opcode::create ? request_kind::opening : request_kind::op);
}

request_kind decode_rename(decoding& d, std::uint64_t new_parent, std::uint32_t flags) noexcept {
  replace_call body;
  rename_call& c = body.names;
  c.who = d.who;
  c.parent = d.header.nodeid;
  c.new_parent = new_parent;
  c.flags = flags;
  c.name = d.in.name();
  c.new_name = d.in.name();
  if (too_long(c.name) || too_long(c.new_name)) return refuse(d.draft, error_code::name_too_long);
  return as_op(d, opcode::rename, body, flags == 0 ? request_kind::removing : request_kind::op);
}

request_kind decode_link(decoding& d) noexcept {
  const auto in = d.in.take<fuse_link_in>();
  const link_call body{d.who, in.oldnodeid, d.header.nodeid, d.in.name()};
  if (too_long(body.name)) return refuse(d.draft, error_code::name_too_long);
  return as_op(d, opcode::link, body);
}

request_kind decode_open(decoding& d) noexcept {
  const auto in = d.in.take<fuse_open_in>();
  d.draft.cell.kernel_flags = in.flags;
  return as_op(d, opcode::open, open_call{d.who, d.header.nodeid, 0, in.flags},
               request_kind::opening);
}

request_kind decode_release(decoding& d) noexcept {
  const auto in = d.in.take<fuse_release_in>();
  d.draft.cell.handle = in.fh;
  return as_op(d, opcode::release, open_call{d.who, d.header.nodeid, in.fh, in.flags});
}

request_kind decode_read(decoding& d, bool is_directory, bool with_attributes) noexcept {
  const auto in = d.in.take<fuse_read_in>();
  std::uint32_t room = in.size;
  slot_class kind = slot_class::directory;
  if (!is_directory) {
    if (room > wire_payload_size_max) room = wire_payload_size_max;
    constexpr std::size_t small = static_cast<std::size_t>(slot_class::read_small);
    kind = room <= slot_shapes[small].size ? slot_class::read_small : slot_class::read_large;
  } else {
    constexpr std::size_t shape = static_cast<std::size_t>(slot_class::directory);
    if (room > slot_shapes[shape].size) room = slot_shapes[shape].size;
  }
  op_cell& cell = d.draft.cell;
  cell.handle = in.fh;
  cell.offset = in.offset;
  cell.room = in.size;
  cell.kernel_flags = in.flags;
  want_payload(d.draft, kind, room);
  // The server knows nothing of open directories: they are opened and closed here.
  const bool keeps = (in.flags & O_NOATIME) != 0 || d.policy.noatime ||
                     (is_directory && d.policy.nodiratime);
  const read_call body{d.who, d.header.nodeid, is_directory ? 0 : in.fh, in.offset, room,
                       static_cast<std::uint8_t>(with_attributes ? 1 : 0),
                       static_cast<std::uint8_t>(keeps ? 1 : 0)};
  return as_op(d, is_directory ? opcode::readdir : opcode::read, body);
}

request_kind decode_write(decoding& d) noexcept {
  const auto in = d.in.take<fuse_write_in>();
  const bool whole = d.header.len == receive_head_size + std::size_t{in.size};
  if (!d.in.ok() || !whole || in.size > wire_payload_size_max)
    return refuse(d.draft, error_code::io);
  if (in.offset > std::uint64_t{INT64_MAX} - in.size)
    return refuse(d.draft, error_code::file_too_big);
  op_cell& cell = d.draft.cell;
  cell.handle = in.fh;
  cell.offset = in.offset;
  cell.kernel_flags = in.flags;
  d.draft.write_size = in.size;
  write_call body{d.who, d.header.nodeid, in.fh, in.offset, in.size, 0};
  if ((in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0) body.flags |= write_flag::kill_setid;
  // Mapped pages of such a file go back to where they are mapped from.
  const bool of_pages = (in.write_flags & FUSE_WRITE_CACHE) != 0;
  if (of_pages) body.flags |= write_flag::of_pages;
  if ((in.flags & O_APPEND) != 0 && !of_pages) body.flags |= write_flag::append;
  return as_op(d, opcode::write, body);
}

request_kind decode_getxattr(decoding& d, opcode op) noexcept {
  const auto in = d.in.take<fuse_getxattr_in>();
  const std::uint32_t room = in.size < xattr_value_size_max ? in.size : xattr_value_size_max;
  d.draft.cell.room = in.size;
  const std::string_view name = op == opcode::getxattr ? d.in.name() : std::string_view();
  // To others these do not exist.
  if (name.starts_with("trusted.") || name.starts_with("system.tangelo.")) d.read_caller_anew();
  if (room != 0) want_payload(d.draft, slot_class::read_small, room);
  if (op == opcode::listxattr)
    return as_op(d, op, inode_call{d.who, d.header.nodeid, 0, room});
  const xattr_call body{d.who, d.header.nodeid, 0, room, name};
  if (too_long(body.name)) return refuse(d.draft, error_code::range);
  return as_op(d, op, body);
}

// The kernel asks nobody who sets attributes of the system's, and the server only for root.
bool may_set(const decoding& d, std::string_view name) noexcept {
  return d.known == nullptr || !name.starts_with("system.tangelo.") ||
         d.known->is_administrator(d.header.pid, d.header.uid, d.header.gid);
}

request_kind decode_setxattr(decoding& d) noexcept {
  struct short_setxattr_in {  // without FUSE_SETXATTR_EXT
    std::uint32_t size, flags;
  };
  const auto in = d.in.take<short_setxattr_in>();
  const std::string_view name = d.in.name();
  if (name == "system.posix_acl_access") d.read_caller_anew();  // may take setgid away
  const xattr_call body{d.who, d.header.nodeid, in.flags, in.size, name};
  if (too_long(body.name)) return refuse(d.draft, error_code::range);
  if (!may_set(d, body.name)) return refuse(d.draft, error_code::not_permitted);
  if (in.size > xattr_value_size_max || d.in.rest().size() < in.size)
    return refuse(d.draft, error_code::io);
  d.draft.payload = d.in.rest().first(in.size);
  return as_op(d, opcode::setxattr, body);
}

request_kind decode_removexattr(decoding& d) noexcept {
  const xattr_call body{d.who, d.header.nodeid, 0, 0, d.in.name()};
  if (too_long(body.name)) return refuse(d.draft, error_code::range);
  if (!may_set(d, body.name)) return refuse(d.draft, error_code::not_permitted);
  return as_op(d, opcode::removexattr, body);
}

request_kind decode_fsync(decoding& d) noexcept {
  const auto in = d.in.take<fuse_fsync_in>();
  const std::uint8_t data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0 ? 1 : 0;
  d.draft.cell.handle = in.fh;
  const std::uint64_t handle = d.header.opcode == FUSE_FSYNCDIR ? 0 : in.fh;
  return as_op(d, opcode::fsync, fsync_call{d.who, d.header.nodeid, handle, data_only});
}

request_kind decode_directory(decoding& d, bool opening) noexcept {
  d.draft.cell.inode = d.header.nodeid;
  if (opening) {
    d.draft.cell.kernel_flags = d.in.take<fuse_open_in>().flags;
    return request_kind::open_directory;
  }
  d.draft.cell.handle = d.in.take<fuse_release_in>().fh;
  return request_kind::close_directory;
}

request_kind decode_creation(decoding& d) noexcept {
  switch (d.header.opcode) {
    case FUSE_SYMLINK: return decode_make(d, opcode::symlink, S_IFLNK | 0777, 0, 0, 0);
    case FUSE_MKNOD: {
      const auto in = d.in.take<fuse_mknod_in>();
      return decode_make(d, opcode::mknod, in.mode, in.umask, in.rdev, 0);
    }
    case FUSE_MKDIR: {
      const auto in = d.in.take<fuse_mkdir_in>();
      return decode_make(d, opcode::mkdir, in.mode | S_IFDIR, in.umask, 0, 0);
    }
    case FUSE_CREATE: {
      const auto in = d.in.take<fuse_create_in>();
      d.draft.cell.kernel_flags = in.flags;
      return decode_make(d, opcode::create, in.mode, in.umask, 0, in.flags);
    }
    default: return decode_space(d);
  }
}

request_kind decode_names(decoding& d) noexcept {
  switch (d.header.opcode) {
    case FUSE_LOOKUP: return decode_name(d, opcode::lookup);
    case FUSE_UNLINK: return decode_removal(d, opcode::unlink);
    case FUSE_RMDIR: return decode_removal(d, opcode::rmdir);
    case FUSE_RENAME: return decode_rename(d, d.in.take<fuse_rename_in>().newdir, 0);
    case FUSE_RENAME2: {
      const auto in = d.in.take<fuse_rename2_in>();
      return decode_rename(d, in.newdir, in.flags);
    }
    case FUSE_LINK: return decode_link(d);
    default: return decode_creation(d);
  }
}

request_kind decode_attributes(decoding& d) noexcept {
  switch (d.header.opcode) {
    case FUSE_GETATTR: return decode_getattr(d);
    case fuse_opcode_statx:
      return as_op(d, opcode::getattr, inode_call{d.who, d.header.nodeid, 0, 0});
    case FUSE_SETATTR: return decode_setattr(d);
    case FUSE_READLINK:
      want_payload(d.draft, slot_class::read_small, link_target_size_max);
      return as_op(d, opcode::readlink,
                   read_call{d.who, d.header.nodeid, 0, 0, link_target_size_max, 0,
                             static_cast<std::uint8_t>(d.policy.noatime ? 1 : 0)});
    case FUSE_STATFS: return as_op(d, opcode::statfs, inode_call{d.who, d.header.nodeid, 0, 0});
    case FUSE_SETXATTR: return decode_setxattr(d);
    case FUSE_GETXATTR: return decode_getxattr(d, opcode::getxattr);
    case FUSE_LISTXATTR: return decode_getxattr(d, opcode::listxattr);
    case FUSE_REMOVEXATTR: return decode_removexattr(d);
    default: return decode_names(d);
  }
}

credential caller_of(const fuse_in_header& header, const op_draft& draft,
                     credentials* known) noexcept {
  if (known != nullptr && wants_groups(header.opcode))
    return known->of(header.pid, header.uid, header.gid, draft.cell.arrived_ns);
  const std::uint8_t powers = header.uid == 0 ? 0 : power::unknown_groups;
  return {header.uid, header.gid, 0, powers, {}};
}

request_kind decode_any(byte_span request, op_draft& draft, credentials* known,
                        const cache_policy& policy) noexcept {
  arguments in(request);
  const auto header = in.take<fuse_in_header>();
  op_cell& cell = draft.cell;
  draft.reply_id = header.unique;
  cell.kernel_id = header.unique & ~kernel_id_resent_bit;
  cell.kernel_opcode = header.opcode;
  cell.inode = header.nodeid;
  cell.pid = header.pid;
  if (!in.ok()) return refuse(draft, error_code::io);
  decoding d{header, in, draft, caller_of(header, draft, known), policy, known};
  switch (header.opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET: return request_kind::no_answer;
    case FUSE_INTERRUPT:
      draft.interrupted = d.in.take<fuse_interrupt_in>().unique & ~kernel_id_resent_bit;
      return request_kind::interrupt;
    case FUSE_FLUSH: return decode_flush(header, d.in.rest(), draft);
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW: return decode_lock(header, d.in.rest(), d.who, draft);
    case FUSE_DESTROY: return refuse(draft, error_code::ok);
    case FUSE_OPEN: return decode_open(d);
    case FUSE_RELEASE: return decode_release(d);
    case FUSE_OPENDIR: return decode_directory(d, true);
    case FUSE_RELEASEDIR: return decode_directory(d, false);
    case FUSE_READ: return decode_read(d, false, false);
    case FUSE_READDIR: return decode_read(d, true, false);
    case FUSE_READDIRPLUS: return decode_read(d, true, true);
    case FUSE_WRITE: return decode_write(d);
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR: return decode_fsync(d);
    default: return decode_attributes(d);
  }
}

}  // namespace

request_kind decode_request(byte_span request, op_draft& draft, credentials* known,
                            const cache_policy& policy) noexcept {
  const request_kind kind = decode_any(request, draft, known, policy);
  if (kind == request_kind::op || kind == request_kind::opening || kind == request_kind::lock ||
      kind == request_kind::flush || kind == request_kind::removing)
    draft.claim_count = claims_of(draft.cell, draft.claims);
  return kind;
}

bool is_direct(const op_cell& op) noexcept {
  return (op.op == opcode::read || op.op == opcode::write) && (op.kernel_flags & O_DIRECT) != 0;
}

}  // namespace tangelo
