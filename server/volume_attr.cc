// Operations on attributes: stat, chmod and the like, links' targets.
#include <sys/stat.h>

#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::uint64_t size_max = INT64_MAX;
constexpr std::string_view capability_name = "security.capability";

}  // namespace

attributes attributes_of(std::uint64_t number, const inode_record& r) {
  attributes a;
  a.inode = number;
  a.size = r.size;
  a.blocks = shown_blocks(r);
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

attributes volume::shown(std::uint64_t number, const inode_record& r) const {
  attributes a = attributes_of(number, r);
  a.atime_ns = access_.of(number, r.atime_ns);
  return a;
}

// Whoever changes a program's bytes or owner takes its capabilities away.
void volume::kill_capability(transaction& t, std::uint64_t number, const inode_record& r) {
  if ((r.flags & inode_flag::xattrs) == 0) return;
  t.remove(column::xattrs, key_of(number, capability_name));
  t.touch(number, aspect::life);
}

void volume::kill_privileges(transaction& t, const credential& who, std::uint64_t number,
                             inode_record& r) {
  kill_setid(who, r);
  kill_capability(t, number, r);
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
      const std::string_view old = data ? std::string_view(*data) : std::string_view();
      const error_code e =
          guarded_file(*this, o, t, number, **r).changed_inline(old, old.substr(0, size));
      if (e != error_code::ok) return e;
    }
  } else if (size < before) {
    if (o.io_error != error_code::ok) return o.io_error;
    if (const error_code e = guarded_file(*this, o, t, number, **r).cut(size);
        e != error_code::ok)
      return e;
    if (size != 0 && o.stage == 0) return measure_rest(o, number, size, size_max);
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

// What the record says after chmod, in the access ACL, too.
error_code volume::set_mode(transaction& t, const credential& who, std::uint64_t number,
                            inode_record& r, std::uint32_t mode) {
  if (loses_setgid(who, r.gid)) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  op_result<std::optional<acl>> list = acl_of(t, number, r, access_acl_name);
  if (!list) return list.error();
  if (*list) {
    (*list)->set_mode(mode);
    t.put(column::xattrs, key_of(number, access_acl_name), (*list)->packed());
  }
  r.mode = (r.mode & S_IFMT) | (mode & 07777);
  return error_code::ok;
}

error_code volume::check_may_setattr(const operation& o, transaction& t, const credential& who,
                                     const setattr_call& c, const inode_record& r) {
  if ((o.replay && options_.rules.believe_clients()) || o.stage != 0) return error_code::ok;
  if (c.handle != 0 && (c.which & (set_attr::size | set_attr::ctime)) != 0)
    if (const error_code e = check_may_use(o, t, c.who, c.handle, c.inode, may::write);
        e != error_code::ok)
      return e;
  bool needs_write = false;
  const error_code e = check_setattr(who, r, c, needs_write);
  if (e != error_code::ok || !needs_write) return e;
  return check_may(o, t, who, c.inode, may::write);
}

error_code volume::do_setattr(operation& o, transaction& t) {
  const std::optional<setattr_call> c = decode<setattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> found = t.inode(c->inode);
  if (!found) return found.error();
  note_handle(o, c->handle, c->inode);
  const credential who = caller_of(c->who);
  inode_record& r = **found;
  if (const error_code e = check_may_setattr(o, t, who, *c, r); e != error_code::ok) return e;
  const std::int64_t at = o.time_ns;
  const auto has = [&c](std::uint32_t bits) { return (c->which & bits) != 0; };
  if (has(set_attr::size)) {
    const error_code e = set_size(o, t, c->inode, c->size);
    if (e != error_code::ok) return e;
    r.mtime_ns = at;
    kill_capability(t, c->inode, r);
  }
  if (has(set_attr::uid)) r.uid = c->uid;
  if (has(set_attr::gid)) r.gid = c->gid;
  // A chown that names no ids comes without any bit, as does the end of a write by anybody that
  // takes a program's capabilities away.
  const bool no_ids = c->which == 0 && owns(who, r);
  const bool chown = (has(set_attr::uid | set_attr::gid) || no_ids) && !S_ISDIR(r.mode);
  if (chown || has(set_attr::kill_setid)) kill_privileges(t, who, c->inode, r);
  if (has(set_attr::mode)) {
    const error_code e = set_mode(t, who, c->inode, r, c->mode);
    if (e != error_code::ok) return e;
  }
  if (has(set_attr::atime | set_attr::atime_now)) access_.forget(c->inode);
  if (has(set_attr::atime)) r.atime_ns = c->atime_ns;
  if (has(set_attr::atime_now)) r.atime_ns = at;
  if (has(set_attr::mtime)) r.mtime_ns = c->mtime_ns;
  if (has(set_attr::mtime_now)) r.mtime_ns = at;
  if (has(set_attr::ctime))
    r.ctime_ns = c->ctime_ns;
  else
    stamp_ctime(o, r);
  t.touch(c->inode, aspect::life);
  o.form = answer_form::attr;
  o.subject = c->inode;
  return error_code::ok;
}

error_code volume::do_readlink(operation& o, transaction& t) {
  const std::optional<read_call> c = decode<read_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (!S_ISLNK((*r)->mode)) return error_code::invalid;
  const op_result<std::string> target = t.value(column::inline_data, key_of(c->inode));
  if (!target) return target.error() == error_code::no_data ? error_code::io : target.error();
  if (target->size() > o.call->payload_out.size()) return error_code::range;
  o.payload_size = copy_bytes(o.call->payload_out, bytes_of(*target));
  if (c->keep_atime == 0) note_access(o, c->inode, **r);
  return error_code::ok;
}

error_code volume::do_statfs(operation& o, transaction& t) {
  const std::optional<inode_call> c = decode<inode_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<store_space> s = disk_.shown(redo_.size());
  if (!s) return s.error();
  statfs_answer a;
  a.block_size = s->block_size;
  a.blocks = s->blocks;
  a.blocks_free = s->blocks_free;
  a.blocks_available = s->blocks_available;
  a.files = s->files;
  a.files_free = s->files_free;
  if (const error_code e = add_tree_room(t, c->inode, a); e != error_code::ok) return e;
  put_answer(o, a);
  return error_code::ok;
}

}  // namespace tangelo
