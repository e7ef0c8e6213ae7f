// Operations on attributes: stat, chmod and the like, links' targets, extended attributes.
#include <sys/stat.h>
#include <sys/xattr.h>

#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::uint64_t size_max = INT64_MAX;
constexpr std::size_t xattr_list_size_max = 65536;
constexpr std::string_view capability_name = "security.capability";

// As the kernel does at a write: setuid always, setgid only where it means execution.
void kill_setid(inode_record& r) {
  if (!S_ISREG(r.mode)) return;
  r.mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((r.mode & S_IXGRP) != 0) r.mode &= ~static_cast<std::uint32_t>(S_ISGID);
}

}  // namespace

attributes attributes_of(std::uint64_t number, const inode_record& r) {
  attributes a;
  a.inode = number;
  a.size = r.size;
  a.blocks = r.blocks;
  if (S_ISREG(r.mode) && (r.flags & inode_flag::object) == 0)
    a.blocks = r.size == 0 || (r.flags & inode_flag::hole) != 0 ? 0 : 8;
  a.atime_ns = r.atime_ns;
  a.mtime_ns = r.mtime_ns;
  a.ctime_ns = r.ctime_ns;
  a.btime_ns = r.btime_ns;
  a.mode = r.mode;
  a.link_count = r.link_count;
  a.uid = r.uid;
  a.gid = r.gid;
  a.rdev = r.rdev;
  a.generation = r.generation;
  a.change = r.change;
  return a;
}

void volume::kill_privileges(transaction& t, std::uint64_t number, inode_record& r) {
  kill_setid(r);
  if ((r.flags & inode_flag::xattrs) != 0)
    t.remove(column::xattrs, key_of(number, capability_name));
  t.touch(number, aspect::life);
}

// Of replays the one with the highest transno has the last word, in whichever order they come.
void volume::stamp_ctime(const operation& o, inode_record& r) {
  if (!o.replay || r.change < o.call->transno) r.ctime_ns = o.time_ns;
}

void volume::stamp(const operation& o, inode_record& directory) {
  if (!o.replay || directory.change < o.call->transno)
    directory.mtime_ns = directory.ctime_ns = o.time_ns;
}

error_code volume::do_getattr(operation& o, transaction& t) {
  const std::optional<inode_call> c = decode<inode_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  note_handle(o, c->handle, c->inode);
  o.form = answer_form::attr;
  o.subject = c->inode;
  return error_code::ok;
}

// Changes the size of a regular file; data operations of it are kept out by the gate. What lies
// behind the end of an object may be old bytes, so growing cuts it to its old size first.
error_code volume::set_size(operation& o, transaction& t, std::uint64_t number,
                            std::uint64_t size) {
  const op_result<inode_record*> r = t.inode(number);
  if (!r) return r.error();
  if (S_ISDIR((*r)->mode)) return error_code::is_directory;
  if (!S_ISREG((*r)->mode)) return error_code::invalid;
  if (size > size_max) return error_code::file_too_big;
  if (const error_code e = need_gate(o, number); e != error_code::ok) return e;
  t.look(aspect::data, number);
  t.touch(number, aspect::data);
  const std::uint64_t before = (*r)->size;
  if (((*r)->flags & inode_flag::object) == 0) {
    if (size == 0) (*r)->flags &= ~inode_flag::hole;
    if (before == 0 && size != 0) (*r)->flags |= inode_flag::hole;
    if (size < before) {
      const std::string key = key_of(number);
      op_result<std::string> data = t.value(column::inline_data, key);
      if (!data && data.error() != error_code::no_data) return data.error();
      if (size == 0)
        t.remove(column::inline_data, key);
      else if (data && data->size() > size)
        t.put(column::inline_data, key, data->substr(0, size));
    }
  } else if (size < before) {
    if (size != 0 && o.stage == 0) return measure_rest(o, number, size, size_max);
    if (o.io_error != error_code::ok) return o.io_error;
    t.add_redo({record_version, redo_kind::trim, number, size}, {});
    if (size == 0) o.supersedes = number;
    (*r)->blocks = size == 0 ? 0 : o.io_count;
    o.has_action = true;
    o.action = {redo_kind::trim, number, size, 0, (*r)->blocks};
  } else if (size > before) {
    if (o.stage == 0) {
      o.working = true;
      parts_.objects.truncate(number, before,
                              guarded([this, &o](error_code e) { resume(o, e); }));
      return error_code::again_later;
    }
    if (o.io_error != error_code::ok) return o.io_error;
    t.add_redo({record_version, redo_kind::truncate, number, before}, {});
  }
  (*r)->size = size;
  return error_code::ok;
}

error_code volume::do_setattr(operation& o, transaction& t) {
  const std::optional<setattr_call> c = decode<setattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> found = t.inode(c->inode);
  if (!found) return found.error();
  note_handle(o, c->handle, c->inode);
  const std::int64_t at = o.time_ns;
  if ((c->which & set_attr::size) != 0) {
    const error_code e = set_size(o, t, c->inode, c->size);
    if (e != error_code::ok) return e;
  }
  inode_record& r = **found;
  if ((c->which & set_attr::size) != 0) r.mtime_ns = at;
  if ((c->which & set_attr::kill_setid) != 0) kill_privileges(t, c->inode, r);
  if ((c->which & set_attr::mode) != 0) r.mode = (r.mode & S_IFMT) | (c->mode & 07777);
  if ((c->which & set_attr::uid) != 0) r.uid = c->uid;
  if ((c->which & set_attr::gid) != 0) r.gid = c->gid;
  if ((c->which & set_attr::atime) != 0) r.atime_ns = c->atime_ns;
  if ((c->which & set_attr::atime_now) != 0) r.atime_ns = at;
  if ((c->which & set_attr::mtime) != 0) r.mtime_ns = c->mtime_ns;
  if ((c->which & set_attr::mtime_now) != 0) r.mtime_ns = at;
  if ((c->which & set_attr::ctime) != 0)
    r.ctime_ns = c->ctime_ns;
  else
    stamp_ctime(o, r);
  t.touch(c->inode, aspect::life);
  o.form = answer_form::attr;
  o.subject = c->inode;
  return error_code::ok;
}

error_code volume::do_readlink(operation& o, transaction& t) {
  const std::optional<inode_call> c = decode<inode_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (!S_ISLNK((*r)->mode)) return error_code::invalid;
  const op_result<std::string> target = t.value(column::inline_data, key_of(c->inode));
  if (!target) return target.error() == error_code::no_data ? error_code::io : target.error();
  if (target->size() > o.call->payload_out.size()) return error_code::range;
  o.payload_size = copy_bytes(o.call->payload_out, bytes_of(*target));
  return error_code::ok;
}

error_code volume::do_statfs(operation& o, transaction&) {
  const op_result<store_space> s = parts_.objects.space();
  if (!s) return s.error();
  statfs_answer a;
  a.block_size = s->block_size;
  a.blocks = s->blocks;
  a.blocks_free = s->blocks_free;
  a.blocks_available = s->blocks_available;
  a.files = s->files;
  a.files_free = s->files_free;
  put_answer(o, a);
  return error_code::ok;
}

namespace {

error_code check_xattr_name(std::string_view name) {
  if (name.empty() || name.size() > name_size_max) return error_code::range;
  if (name.find('\0') != name.npos) return error_code::invalid;
  // POSIX ACLs would have to change what the mode allows; nothing here enforces them.
  if (name.starts_with("system.")) return error_code::not_supported;
  return error_code::ok;
}

// The answer of getxattr and listxattr: the size, and the bytes where they are wanted.
error_code answer_bytes(operation& o, std::string_view bytes, std::uint32_t room) {
  put_answer(o, size_answer{static_cast<std::uint32_t>(bytes.size())});
  if (room == 0) return error_code::ok;
  if (bytes.size() > room || bytes.size() > o.call->payload_out.size()) return error_code::range;
  o.payload_size = copy_bytes(o.call->payload_out, bytes_of(bytes));
  return error_code::ok;
}

}  // namespace

error_code volume::do_setxattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  if (o.call->payload_in.size() > xattr_value_size_max) return error_code::range;
  if ((c->flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0)
    return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  std::string key = key_of(c->inode, c->name);
  if (c->flags != 0) {
    const op_result<std::string> old = t.value(column::xattrs, key);
    if (!old && old.error() != error_code::no_data) return old.error();
    if (old && (c->flags & XATTR_CREATE) != 0) return error_code::exists;
    if (!old && (c->flags & XATTR_REPLACE) != 0) return error_code::no_data;
  }
  t.put(column::xattrs, std::move(key), std::string(text_of(o.call->payload_in)));
  (*r)->flags |= inode_flag::xattrs;
  stamp_ctime(o, **r);
  t.touch(c->inode, aspect::life);
  return error_code::ok;
}

error_code volume::do_getxattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (((*r)->flags & inode_flag::xattrs) == 0) return error_code::no_data;
  const op_result<std::string> value = t.value(column::xattrs, key_of(c->inode, c->name));
  return value ? answer_bytes(o, *value, c->size) : value.error();
}

error_code volume::do_listxattr(operation& o, transaction& t) {
  const std::optional<inode_call> c = decode<inode_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  std::string names;
  if (((*r)->flags & inode_flag::xattrs) != 0) {
    const std::string from = key_of(c->inode);
    const error_code e = t.scan(column::xattrs, from, end_of(from),
                                [&names](std::string_view key, std::string_view) {
                                  names.append(key.substr(8));
                                  names.push_back('\0');
                                  return true;
                                });
    if (e != error_code::ok) return e;
  }
  if (names.size() > xattr_list_size_max) return error_code::range;
  return answer_bytes(o, names, c->size);
}

error_code volume::do_removexattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  std::string key = key_of(c->inode, c->name);
  const op_result<std::string> old = t.value(column::xattrs, key);
  if (!old) return old.error();
  t.remove(column::xattrs, std::move(key));
  stamp_ctime(o, **r);
  t.touch(c->inode, aspect::life);
  return error_code::ok;
}

}  // namespace tangelo
