// Making of inodes: mknod, mkdir, symlink, create and files without a name.
#include <fcntl.h>
#include <sys/stat.h>

#include "server/volume.h"

namespace tangelo {

namespace {

std::string_view link_target(const inbound_call& call) { return text_of(call.payload_in); }

// The record of what `c` makes in `dir`; error `invalid` for a type that op does not make.
op_result<inode_record> new_record(const operation& o, const make_call& c, const credential& who,
                                   const inode_record& dir) {
  inode_record r;
  const std::uint32_t type = c.mode & S_IFMT;
  r.mode = c.mode & 07777;
  r.link_count = 1;
  r.uid = who.uid;
  r.gid = (dir.mode & S_ISGID) != 0 ? dir.gid : who.gid;
  r.atime_ns = r.mtime_ns = r.ctime_ns = r.btime_ns = o.time_ns;
  if (o.op == opcode::mkdir) {
    r.mode |= S_IFDIR | (dir.mode & S_ISGID);
    r.link_count = 2;
    r.size = 4096;
    r.blocks = 8;
    r.parent = c.parent;
  } else if (o.op == opcode::symlink) {
    r.mode = S_IFLNK | 0777;
    r.size = o.call->payload_in.size();
  } else if (o.op == opcode::create || o.op == opcode::tmpfile) {
    if (type != 0 && type != S_IFREG) return failure{error_code::invalid};
    r.mode |= S_IFREG;
    if (o.op == opcode::tmpfile) {
      r.link_count = 0;
      if ((c.open_flags & O_EXCL) == 0) r.flags |= inode_flag::nameless;
    }
  } else {
    const bool device = type == S_IFCHR || type == S_IFBLK;
    if (type != 0 && type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && !device)
      return failure{type == S_IFDIR ? error_code::not_permitted : error_code::invalid};
    r.mode |= type == 0 ? S_IFREG : type;
    if (device) r.rdev = c.rdev;
  }
  const bool runs_as_group = !S_ISDIR(r.mode) && (r.mode & S_ISGID) != 0 && (r.mode & S_IXGRP) != 0;
  if (runs_as_group && (dir.mode & S_ISGID) != 0 && loses_setgid(who, dir.gid))
    r.mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return r;
}

}  // namespace

// What the new inode gets from the directory's default ACL; without one the umask counts.
error_code volume::inherit(transaction& t, const make_call& c, const inode_record& dir,
                           inode_record& r) {
  if (S_ISLNK(r.mode)) return error_code::ok;
  op_result<std::optional<acl>> list = acl_of(t, c.parent, dir, default_acl_name);
  if (!list) return list.error();
  if (!*list) {
    r.mode &= ~(c.umask & 0777);
    return error_code::ok;
  }
  if (S_ISDIR(r.mode))
    t.put(column::xattrs, key_of(c.inode, default_acl_name), (*list)->packed());
  (*list)->restrict_to(r.mode);
  if (!(*list)->is_equivalent_to_mode())
    t.put(column::xattrs, key_of(c.inode, access_acl_name), (*list)->packed());
  if (S_ISDIR(r.mode) || !(*list)->is_equivalent_to_mode()) r.flags |= inode_flag::xattrs;
  return error_code::ok;
}

error_code volume::do_make(operation& o, transaction& t) {
  const std::optional<make_call> c = decode<make_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> dir = directory(t, c->parent);
  if (!dir) return dir.error();
  const credential who = caller_of(c->who);
  const error_code search = check_may(o, t, who, c->parent, may::execute);
  if (search != error_code::ok) return search;
  if (c->name == "." || c->name == "..") return error_code::exists;
  const op_result<dirent_record> found = t.entry(c->parent, c->name);
  if (found) {
    if (o.op != opcode::create || (c->open_flags & O_EXCL) != 0) return error_code::exists;
    return create_existing(o, t, *c, *found);
  }
  if (found.error() != error_code::no_entry) return found.error();
  return make_inode(o, t, *c, **dir);
}

error_code volume::do_tmpfile(operation& o, transaction& t) {
  const std::optional<make_call> c = decode<make_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> dir = directory(t, c->parent);
  return dir ? make_inode(o, t, *c, **dir) : dir.error();
}

error_code volume::make_inode(operation& o, transaction& t, const make_call& c,
                              inode_record& dir) {
  // Removed by another client: a kernel that comes with an old name for it looks again.
  if (dir.link_count == 0) return error_code::stale;
  const credential who = caller_of(c.who);
  const error_code allowed = check_may(o, t, who, c.parent, may::write | may::execute);
  if (allowed != error_code::ok) return allowed;
  // A squashed root has no CAP_MKNOD; whiteouts need none.
  const bool is_device = S_ISBLK(c.mode) || (S_ISCHR(c.mode) && c.rdev != 0);
  if (is_device && who.uid != c.who.uid && (!o.replay || !options_.rules.believe_clients()))
    return error_code::not_permitted;
  if (o.op == opcode::symlink && link_target(*o.call).empty()) return error_code::no_entry;
  if (o.op == opcode::symlink && link_target(*o.call).size() > link_target_size_max)
    return error_code::name_too_long;
  // It may be from before the client was evicted; being told, it asks for others.
  if (!ranges_.contains(o.client, c.inode)) return error_code::not_reserved;
  const op_result<inode_record*> used = t.inode(c.inode);
  if (used) return error_code::invalid;
  if (used.error() != error_code::stale) return used.error();

  op_result<inode_record> r = new_record(o, c, who, dir);
  if (!r) return r.error();
  r->tree = quotas_.live_tree(dir.tree);
  if (const error_code e = inherit(t, c, dir, *r); e != error_code::ok) return e;
  t.add_inode(c.inode, *r);
  open_created(o, c, c.inode);
  o.form = answer_form::entry;
  o.subject = c.inode;
  if (o.op == opcode::tmpfile) {
    t.put(column::orphans, key_of(c.inode), {});
    return error_code::ok;
  }
  t.put_entry(c.parent, c.name, c.inode, type_of_mode(r->mode), 0);
  stamp(o, dir);
  if (o.op == opcode::mkdir) ++dir.link_count;
  t.touch(c.parent);
  if (o.op == opcode::symlink)
    t.put(column::inline_data, key_of(c.inode), std::string(link_target(*o.call)));
  return error_code::ok;
}

void volume::open_created(operation& o, const make_call& c, std::uint64_t inode) {
  const bool nameless = o.op == opcode::tmpfile;
  const bool opens = (o.op == opcode::create || nameless) && !o.replay;
  if (!opens && !nameless) return;
  o.after_write = [this, client = o.client, handle = c.handle, inode, opens, nameless,
                   rights = rights_of_open(c.open_flags)] {
    if (nameless) orphans_.insert(inode);
    // A handle in use was refused by the client.
    if (opens) (void)opens_.open(client, handle, inode, rights);
  };
}

error_code volume::create_existing(operation& o, transaction& t, const make_call& c,
                                   const dirent_record& found) {
  const op_result<inode_record*> r = t.inode(found.inode);
  if (!r) return r.error() == error_code::stale ? error_code::io : r.error();
  if (S_ISDIR((*r)->mode)) return error_code::is_directory;
  if (S_ISLNK((*r)->mode)) return error_code::loop_of_links;
  if (!S_ISREG((*r)->mode)) return error_code::exists;
  const error_code allowed = check_may_open(o, t, caller_of(c.who), found.inode, c.open_flags);
  if (allowed != error_code::ok) return allowed;
  if ((c.open_flags & O_TRUNC) != 0) {
    const error_code e = set_size(o, t, found.inode, 0);
    if (e != error_code::ok) return e;
    (*r)->mtime_ns = o.time_ns;
    kill_capability(t, found.inode, **r);
    stamp_ctime(o, **r);
  }
  needs_no_block(o);
  open_created(o, c, found.inode);
  o.form = answer_form::entry;
  o.subject = found.inode;
  return error_code::ok;
}

}  // namespace tangelo
