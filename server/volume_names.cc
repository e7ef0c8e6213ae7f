// Operations on names: lookup, linking, removing and listing.
#include <fcntl.h>
#include <sys/stat.h>

#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::uint32_t link_count_max = 65'000;
constexpr std::uint64_t cookie_of_parent = 2;  // of ".."; "." has 1
constexpr std::size_t miss_count_max = 256;    // of one readdir attempt

bool is_directory(const inode_record& r) { return S_ISDIR(r.mode); }

}  // namespace

error_code check_name(std::string_view name) {
  if (name.empty()) return error_code::no_entry;
  if (name.size() > name_size_max) return error_code::name_too_long;
  if (name.find('/') != name.npos || name.find('\0') != name.npos) return error_code::invalid;
  return error_code::ok;
}

op_result<inode_record*> volume::directory(transaction& t, std::uint64_t number) {
  op_result<inode_record*> r = t.inode(number);
  if (r && !is_directory(**r)) return failure{error_code::not_directory};
  return r;
}

error_code volume::do_lookup(operation& o, transaction& t) {
  const std::optional<name_call> c = decode<name_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> dir = directory(t, c->parent);
  if (!dir) return dir.error();
  const error_code search = check_may(o, t, caller_of(c->who), c->parent, may::execute);
  if (search != error_code::ok) return search;
  o.form = answer_form::entry;
  if (c->name == "." || c->name == "..") {
    o.subject = c->name == "." ? c->parent : (*dir)->parent;
  } else {
    const op_result<dirent_record> found = t.entry(c->parent, c->name);
    if (!found) return found.error();
    o.subject = found->inode;
  }
  const op_result<inode_record*> r = t.inode(o.subject);
  if (r && known_.size() > 1) looked_up_.note(o.subject, o.client, parts_.time.now_ns());
  return r ? error_code::ok : r.error();
}

error_code volume::do_link(operation& o, transaction& t) {
  const std::optional<link_call> c = decode<link_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> dir = directory(t, c->parent);
  if (!dir) return dir.error();
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  const credential who = caller_of(c->who);
  const error_code search = check_may(o, t, who, c->parent, may::execute);
  if (search != error_code::ok) return search;
  if (c->name == "." || c->name == "..") return error_code::exists;
  const op_result<dirent_record> found = t.entry(c->parent, c->name);
  if (found) return error_code::exists;
  if (found.error() != error_code::no_entry) return found.error();
  const error_code allowed = check_may(o, t, who, c->parent, may::write | may::execute);
  if (allowed != error_code::ok) return allowed;
  if (is_directory(**r)) return error_code::not_permitted;
  const bool nameless = ((*r)->flags & inode_flag::nameless) != 0;
  if ((*dir)->link_count == 0) return error_code::stale;
  if ((*r)->link_count == 0 && !nameless) return error_code::no_entry;
  if (const error_code e = link_into_tree(o, **r, **dir); e != error_code::ok)
    return e;
  if (nameless) {
    (*r)->flags &= ~inode_flag::nameless;
    t.remove(column::orphans, key_of(c->inode));
    t.touch(c->inode, aspect::life);
    o.after_write = [this, inode = c->inode] { orphans_.erase(inode); };
  }
  if ((*r)->link_count >= link_count_max) return error_code::too_many_links;
  ++(*r)->link_count;
  stamp_ctime(o, **r);
  stamp(o, **dir);
  t.touch(c->inode);
  t.touch(c->parent);
  t.put_entry(c->parent, c->name, c->inode, type_of_mode((*r)->mode), 0);
  o.form = answer_form::entry;
  o.subject = c->inode;
  return error_code::ok;
}

error_code volume::is_empty(transaction& t, std::uint64_t number) {
  bool empty = true;
  const std::string from = key_of(number);
  const error_code e = t.scan(column::cookies, from, end_of(from),
                              [&empty](std::string_view, std::string_view) {
                                empty = false;
                                return false;
                              });
  if (e != error_code::ok) return e;
  return empty ? error_code::ok : error_code::not_empty;
}

error_code volume::do_unlink(operation& o, transaction& t) {
  const std::optional<remove_call> c = decode<remove_call>(o.call->body);
  if (!c) return error_code::invalid;
  const bool wants_directory = o.op == opcode::rmdir;
  if (const error_code e = check_name(c->name); e != error_code::ok) return e;
  if (c->name == ".") return wants_directory ? error_code::invalid : error_code::is_directory;
  if (c->name == "..") return wants_directory ? error_code::not_empty : error_code::is_directory;
  const op_result<inode_record*> dir = directory(t, c->parent);
  if (!dir) return dir.error();
  const credential who = caller_of(c->who);
  const error_code search = check_may(o, t, who, c->parent, may::execute);
  if (search != error_code::ok) return search;
  const op_result<dirent_record> found = t.entry(c->parent, c->name);
  if (!found) return found.error();
  const op_result<inode_record*> r = t.inode(found->inode);
  if (!r) return r.error() == error_code::stale ? error_code::io : r.error();
  const error_code allowed = check_may_remove(o, t, who, c->parent, found->inode);
  if (allowed != error_code::ok) return allowed;
  if (is_directory(**r) && !wants_directory) return error_code::is_directory;
  if (!is_directory(**r) && wants_directory) return error_code::not_directory;
  if (wants_directory) {
    const error_code e = is_empty(t, found->inode);
    if (e != error_code::ok) return e;
    --(*dir)->link_count;
  }
  t.remove_entry(c->parent, c->name, found->cookie);
  stamp(o, **dir);
  t.touch(c->parent);
  return drop_link(o, t, found->inode, wants_directory, c->handle);
}

// One name of the inode is gone (of a directory: the name). Without the last one, what can be in
// use without a handle is kept under `handle`, if there is one.
error_code volume::drop_link(operation& o, transaction& t, std::uint64_t number, bool directory,
                             std::uint64_t handle) {
  const op_result<inode_record*> r = t.inode(number);
  if (!r) return r.error();
  stamp_ctime(o, **r);
  t.touch(number);
  if (directory)
    (*r)->link_count = 0;
  else if ((*r)->link_count > 0)
    --(*r)->link_count;
  if ((*r)->link_count > 0) return error_code::ok;
  t.touch(number, aspect::life);
  const bool needs_handle = !S_ISREG((*r)->mode) && !S_ISLNK((*r)->mode);
  const bool is_kept = needs_handle && handle != 0 && (o.replay || known_.contains(o.client));
  if (is_kept) put_answer(o, removed_answer{number});
  const bool lingers = may_linger(number, **r, o.client);
  if (opens_.count(number) == 0 && recovered_ && !is_kept && !lingers)
    return erase_inode(o, t, number);
  t.put(column::orphans, key_of(number), {});
  o.after_write = [this, number, lingers, client = o.client, handle,
                   opens = is_kept && !o.replay] {
    orphans_.insert(number);
    if (lingers) keep_for_a_moment(number);
    if (opens) (void)opens_.open(client, handle, number);  // the client has chosen a new one
  };
  return error_code::ok;
}

error_code volume::erase_inode(operation& o, transaction& t, std::uint64_t number) {
  const op_result<inode_record*> r = t.inode(number);
  if (!r) return r.error();
  if (S_ISREG((*r)->mode)) {
    const error_code e = need_gate(o, number);
    if (e != error_code::ok) return e;
  }
  if (((*r)->flags & inode_flag::xattrs) != 0) {
    const std::string from = key_of(number);
    const error_code e = t.scan(column::xattrs, from, end_of(from),
                                [&t](std::string_view key, std::string_view) {
                                  t.remove(column::xattrs, std::string(key));
                                  return true;
                                });
    if (e != error_code::ok) return e;
  }
  if (S_ISREG((*r)->mode)) block_guards(t, number).cut(0, (*r)->size);
  if (((*r)->flags & inode_flag::object) != 0) {
    t.add_redo({record_version, redo_kind::remove, number, 0}, {});
    o.supersedes = number;
    o.has_action = true;
    o.action = {redo_kind::remove, number, 0, 0, 0};
  } else if (!is_directory(**r)) {
    t.remove(column::inline_data, key_of(number));
  }
  if (is_tree_root(number, **r)) t.edit_quota({quota_kind::tree, (*r)->tree}, std::nullopt);
  t.remove_inode(number);
  return error_code::ok;
}

error_code volume::do_readdir(operation& o, transaction& t) {
  const std::optional<read_call> c = decode<read_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> dir = directory(t, c->inode);
  if (!dir) return dir.error();
  const error_code allowed = check_may_use(o, t, c->who, c->handle, c->inode, may::read);
  if (allowed != error_code::ok) return allowed;
  note_handle(o, c->handle, c->inode);
  const std::size_t room = std::min<std::size_t>(c->size, o.call->payload_out.size());
  bool full = false;
  const auto put = [&o, &full, room](const directory_entry& e) {
    const std::optional<std::size_t> n =
        encode(e, o.call->payload_out.first(room).subspan(o.payload_size));
    if (n)
      o.payload_size += *n;
    else
      full = true;
    return n.has_value();
  };
  directory_entry e;
  e.type = 4;  // DT_DIR
  if (c->offset < 1) {
    e.cookie = 1, e.inode = c->inode, e.name = ".";
    (void)put(e);  // `full` says it
  }
  if (c->offset < cookie_of_parent && !full) {
    e.cookie = cookie_of_parent, e.inode = (*dir)->parent, e.name = "..";
    (void)put(e);  // `full` says it
  }
  error_code blocked = error_code::ok;
  const auto visit = [&](std::string_view key, std::string_view value) {
    const std::optional<cookie_record> found = unpacked<cookie_record>(value);
    if (!found) {
      blocked = error_code::io;  // a name is not to be missing without a word
      return false;
    }
    directory_entry x;
    x.cookie = number_at(key, 8);
    x.inode = found->inode;
    x.type = found->type;
    x.name = found->name;
    if (c->with_attributes != 0) {
      const op_result<inode_record*> r = t.inode(found->inode);
      t.look(aspect::shown, found->inode);
      if (r) x.attr = shown(found->inode, **r);
      if (!r) blocked = r.error();
      if (!r && r.error() != error_code::again_later) return true;
      x.has_attributes = 1;
      x.entry_valid_ms = x.attr_valid_ms = answer_valid_ms;
    }
    return put(x) && t.misses().size() < miss_count_max;
  };
  if (!full) {
    const std::uint64_t after = std::max(c->offset, cookie_of_parent);
    if (after == UINT64_MAX) return error_code::ok;
    const error_code s = t.scan(column::cookies, key_of(c->inode, after + 1),
                                end_of(key_of(c->inode)), visit);
    if (s != error_code::ok) return s;
  }
  if (!t.misses().empty()) return error_code::again_later;
  if (blocked == error_code::io) return error_code::io;
  if (c->keep_atime == 0) note_access(o, c->inode, **dir);
  return full && o.payload_size == 0 ? error_code::invalid : error_code::ok;
}

}  // namespace tangelo
