// rename(2): the one operation with two names, and all that can be wrong with them.
#include <sys/stat.h>

#include "server/volume.h"

namespace tangelo {

namespace {
constexpr std::uint32_t no_replace = 1;
constexpr std::uint32_t exchange_both = 2;

bool is_dots(std::string_view name) { return name == "." || name == ".."; }
}  // namespace

// `invalid` when `ancestor` is `directory` itself or above it.
error_code volume::is_below(transaction& t, std::uint64_t directory, std::uint64_t ancestor) {
  for (std::uint64_t at = directory; at != root_inode;) {
    if (at == ancestor) return error_code::invalid;
    const op_result<inode_record*> r = t.inode(at);
    if (!r) return r.error();
    if ((*r)->parent == at || (*r)->parent == 0) return error_code::io;
    at = (*r)->parent;
  }
  return ancestor == root_inode ? error_code::invalid : error_code::ok;
}

// The inode has come from one directory into another.
error_code volume::moved(operation& o, transaction& t, std::uint64_t inode, std::uint64_t from,
                         std::uint64_t to) {
  const op_result<inode_record*> r = t.inode(inode);
  if (!r) return r.error() == error_code::stale ? error_code::io : r.error();
  if (const error_code e = move_into_tree(o, t, inode, from, to); e != error_code::ok) return e;
  stamp_ctime(o, **r);
  t.touch(inode);
  if (!S_ISDIR((*r)->mode) || from == to) return error_code::ok;
  t.touch(inode, aspect::life);
  (*r)->parent = to;
  const op_result<inode_record*> a = t.inode(from);
  const op_result<inode_record*> b = t.inode(to);
  CHECK(a.has_value());  // both were read before
  CHECK(b.has_value());
  --(*a)->link_count;
  ++(*b)->link_count;
  return error_code::ok;
}

error_code volume::exchange(operation& o, transaction& t, const rename_call& c,
                            const dirent_record& from, const dirent_record& to) {
  if (from.type == 4) {  // DT_DIR
    const error_code e = is_below(t, c.new_parent, from.inode);
    if (e != error_code::ok) return e;
  }
  if (to.type == 4) {
    const error_code e = is_below(t, c.parent, to.inode);
    if (e != error_code::ok) return e;
  }
  error_code e = moved(o, t, from.inode, c.parent, c.new_parent);
  if (e == error_code::ok) e = moved(o, t, to.inode, c.new_parent, c.parent);
  if (e != error_code::ok) return e;
  t.put_entry(c.parent, c.name, to.inode, to.type, from.cookie);
  t.put_entry(c.new_parent, c.new_name, from.inode, from.type, to.cookie);
  return error_code::ok;
}

// A directory that gets another parent is itself written to: its "..".
error_code volume::check_may_rename(const operation& o, transaction& t, const rename_call& c,
                                    const dirent_record& from, const dirent_record* to) {
  const credential who = caller_of(c.who);
  const bool exchanges = (c.flags & exchange_both) != 0;
  error_code e = check_may_remove(o, t, who, c.parent, from.inode);
  if (e == error_code::ok)
    e = to != nullptr
            ? check_may_remove(o, t, who, c.new_parent, to->inode)
            : check_may(o, t, who, c.new_parent, may::write | may::execute);
  if (c.parent == c.new_parent) return e;
  if (e == error_code::ok && from.type == 4)  // DT_DIR
    e = check_may(o, t, who, from.inode, may::write);
  if (e == error_code::ok && exchanges && to != nullptr && to->type == 4)
    e = check_may(o, t, who, to->inode, may::write);
  return e;
}

error_code volume::do_rename(operation& o, transaction& t) {
  const std::optional<replace_call> call = decode<replace_call>(o.call->body);
  if (!call) return error_code::invalid;
  const rename_call* const c = &call->names;
  if ((c->flags & ~(no_replace | exchange_both)) != 0 ||
      c->flags == (no_replace | exchange_both))
    return error_code::invalid;
  if (const error_code e = check_name(c->name); e != error_code::ok) return e;
  if (const error_code e = check_name(c->new_name); e != error_code::ok) return e;
  if (is_dots(c->name) || is_dots(c->new_name)) return error_code::busy;
  const op_result<inode_record*> dir = directory(t, c->parent);
  if (!dir) return dir.error();
  const op_result<inode_record*> new_dir = directory(t, c->new_parent);
  if (!new_dir) return new_dir.error();
  const credential who = caller_of(c->who);
  error_code search = check_may(o, t, who, c->parent, may::execute);
  if (search == error_code::ok) search = check_may(o, t, who, c->new_parent, may::execute);
  if (search != error_code::ok) return search;
  const op_result<dirent_record> from = t.entry(c->parent, c->name);
  if (!from) return from.error();
  const op_result<dirent_record> to = t.entry(c->new_parent, c->new_name);
  if (!to && to.error() != error_code::no_entry) return to.error();
  if (to && (c->flags & no_replace) != 0) return error_code::exists;
  if (!to && (c->flags & exchange_both) != 0) return error_code::no_entry;
  if ((*new_dir)->link_count == 0) return error_code::stale;
  if (to && to->inode == from->inode) return error_code::ok;
  const error_code allowed = check_may_rename(o, t, *c, *from, to ? &*to : nullptr);
  if (allowed != error_code::ok) return allowed;

  if ((c->flags & exchange_both) != 0) {
    const error_code e = exchange(o, t, *c, *from, *to);
    if (e != error_code::ok) return e;
  } else {
    const bool is_directory = from->type == 4;  // DT_DIR
    if (is_directory) {
      const error_code e = is_below(t, c->new_parent, from->inode);
      if (e != error_code::ok) return e;
    }
    if (to) {
      if (is_directory && to->type != 4) return error_code::not_directory;
      if (!is_directory && to->type == 4) {
        // As Linux: a directory above the file itself is first of all not empty.
        const error_code e = is_below(t, c->parent, to->inode);
        if (e == error_code::invalid) return error_code::not_empty;
        return e == error_code::ok ? error_code::is_directory : e;
      }
      if (is_directory) {
        const error_code e = is_empty(t, to->inode);
        if (e != error_code::ok) return e;
        --(*new_dir)->link_count;
      }
      const error_code e = drop_link(o, t, to->inode, is_directory, call->handle);
      if (e != error_code::ok) return e == error_code::stale ? error_code::io : e;
    }
    const error_code e = moved(o, t, from->inode, c->parent, c->new_parent);
    if (e != error_code::ok) return e;
    t.remove_entry(c->parent, c->name, from->cookie);
    // The name that is there before and after keeps its place, and a new one in the same directory
    // takes that of the old: who renames all he reads comes to an end.
    const std::uint64_t place = to ? to->cookie : c->parent == c->new_parent ? from->cookie : 0;
    t.put_entry(c->new_parent, c->new_name, from->inode, from->type, place);
  }
  stamp(o, **dir);
  stamp(o, **new_dir);
  t.touch(c->parent);
  t.touch(c->new_parent);
  return error_code::ok;
}

}  // namespace tangelo
