// Operations on extended attributes, and what each namespace asks for:
//
//   user       regular files and directories only; who may read or write the file
//   trusted    privileged callers only, who alone see that there are any
//   security   everybody reads; privileged callers write (capabilities: with CAP_SETFCAP)
//   system     the two ACLs, of the owner: kept as one with the mode; quotas (volume_quota.cc)
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>

#include "server/quota_names.h"
#include "server/volume.h"

namespace tangelo {

namespace {

constexpr std::size_t xattr_list_size_max = 65536;

bool is_private(std::string_view name) { return name.starts_with("trusted."); }

error_code check_xattr_name(std::string_view name) {
  if (name.empty() || name.size() > name_size_max) return error_code::range;
  if (name.find('\0') != name.npos) return error_code::invalid;
  if (name.starts_with("system."))
    return is_acl_name(name) || is_quota_name(name) ? error_code::ok : error_code::not_supported;
  constexpr std::array<std::string_view, 3> namespaces{"user.", "trusted.", "security."};
  for (const std::string_view prefix : namespaces)
    if (name.starts_with(prefix))
      return name.size() > prefix.size() ? error_code::ok : error_code::invalid;
  return error_code::not_supported;
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

// What each namespace allows `who` (see above); `writes`: set or remove.
error_code volume::check_may_xattr(const operation& o, transaction& t, const credential& who,
                                   std::uint64_t number, const inode_record& r,
                                   std::string_view name, bool writes) {
  if (o.replay && options_.rules.believe_clients()) return error_code::ok;
  if (is_acl_name(name)) {
    if (S_ISLNK(r.mode)) return error_code::not_supported;
    return !writes || owns(who, r) ? error_code::ok : error_code::not_permitted;
  }
  const error_code refused = writes ? error_code::not_permitted : error_code::no_data;
  if (is_private(name)) return has_power(who, power::sys_admin) ? error_code::ok : refused;
  if (name.starts_with("user.")) {
    if (!S_ISREG(r.mode) && !S_ISDIR(r.mode)) return refused;
    if (writes && S_ISDIR(r.mode) && (r.mode & S_ISVTX) != 0 && !owns(who, r))
      return error_code::not_permitted;
    return check_may(o, t, who, number, writes ? may::write : may::read);
  }
  if (!writes) return error_code::ok;
  const bool capability = name == "security.capability";
  return has_power(who, capability ? power::setfcap : power::sys_admin)
             ? error_code::ok
             : error_code::not_permitted;
}

// The value as it is saved; empty: none, since the mode says it all. May change the mode.
op_result<std::string> volume::take_acl(const credential& who, inode_record& r,
                                        std::string_view name, std::string_view value) {
  std::optional<acl> list = acl::parse(value);
  if (!list) return failure{error_code::invalid};
  if (name == default_acl_name) {
    if (!S_ISDIR(r.mode)) return failure{error_code::access_denied};
    return list->packed();
  }
  r.mode = (r.mode & ~0777u) | list->mode_bits();
  if (loses_setgid(who, r.gid)) r.mode &= ~static_cast<std::uint32_t>(S_ISGID);
  return list->is_equivalent_to_mode() ? std::string() : list->packed();
}

// One name more: do all of them still fit into the list?
error_code volume::check_xattr_room(transaction& t, std::uint64_t number, std::string_view name) {
  std::size_t size = name.size() + 1;
  const std::string from = key_of(number);
  const error_code e = t.scan(column::xattrs, from, end_of(from),
                              [&size](std::string_view key, std::string_view) {
                                size += key.size() - 8 + 1;
                                return true;
                              });
  if (e != error_code::ok) return e;
  return size > xattr_list_size_max ? error_code::no_space : error_code::ok;
}

error_code volume::do_setxattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  if (o.call->payload_in.size() > xattr_value_size_max) return error_code::too_big;
  if ((c->flags & ~static_cast<std::uint32_t>(XATTR_CREATE | XATTR_REPLACE)) != 0)
    return error_code::invalid;
  const op_result<inode_record*> found = t.inode(c->inode);
  if (!found) return found.error();
  inode_record& r = **found;
  const credential who = caller_of(c->who);
  if (is_quota_name(c->name)) return set_quota(o, t, *c, false);
  error_code e = check_may_xattr(o, t, who, c->inode, r, c->name, true);
  if (e != error_code::ok) return e;
  std::string key = key_of(c->inode, c->name);
  const bool has_any = (r.flags & inode_flag::xattrs) != 0;
  const op_result<std::string> old =
      has_any ? t.value(column::xattrs, key) : op_result<std::string>(failure{error_code::no_data});
  if (!old && old.error() != error_code::no_data) return old.error();
  if (old && (c->flags & XATTR_CREATE) != 0) return error_code::exists;
  if (!old && (c->flags & XATTR_REPLACE) != 0) return error_code::no_data;
  if (has_any && !old) e = check_xattr_room(t, c->inode, c->name);
  if (e != error_code::ok) return e;
  std::string value(text_of(o.call->payload_in));
  if (is_acl_name(c->name)) {
    op_result<std::string> list = take_acl(who, r, c->name, value);
    if (!list) return list.error();
    value = std::move(*list);
  }
  if (is_acl_name(c->name) && value.empty()) {
    t.remove(column::xattrs, std::move(key));
  } else {
    t.put(column::xattrs, std::move(key), std::move(value));
    r.flags |= inode_flag::xattrs;
  }
  stamp_ctime(o, r);
  t.touch(c->inode, aspect::life);
  return error_code::ok;
}

error_code volume::do_getxattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (is_quota_name(c->name)) {
    const op_result<std::string> text = quota_text(*c, **r);
    return text ? answer_bytes(o, *text, c->size) : text.error();
  }
  const error_code e =
      check_may_xattr(o, t, caller_of(c->who), c->inode, **r, c->name, false);
  if (e != error_code::ok) return e;
  if (((*r)->flags & inode_flag::xattrs) == 0) return error_code::no_data;
  const op_result<std::string> value = t.value(column::xattrs, key_of(c->inode, c->name));
  return value ? answer_bytes(o, *value, c->size) : value.error();
}

error_code volume::do_listxattr(operation& o, transaction& t) {
  const std::optional<inode_call> c = decode<inode_call>(o.call->body);
  if (!c) return error_code::invalid;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  const bool all = has_power(caller_of(c->who), power::sys_admin);
  std::string names;
  if (((*r)->flags & inode_flag::xattrs) != 0) {
    const std::string from = key_of(c->inode);
    const error_code e = t.scan(column::xattrs, from, end_of(from),
                                [&names, all](std::string_view key, std::string_view) {
                                  if (!all && is_private(key.substr(8))) return true;
                                  names.append(key.substr(8));
                                  names.push_back('\0');
                                  return true;
                                });
    if (e != error_code::ok) return e;
  }
  if (names.size() > xattr_list_size_max) return error_code::range;
  return answer_bytes(o, names, c->size);
}

// Who takes an ACL away that is not there has what he wanted.
error_code volume::do_removexattr(operation& o, transaction& t) {
  const std::optional<xattr_call> c = decode<xattr_call>(o.call->body);
  if (!c) return error_code::invalid;
  if (const error_code e = check_xattr_name(c->name); e != error_code::ok) return e;
  const op_result<inode_record*> r = t.inode(c->inode);
  if (!r) return r.error();
  if (is_quota_name(c->name)) return set_quota(o, t, *c, true);
  // Capabilities are taken away by the kernel in the name of whoever writes; it has checked that.
  const bool by_kernel = c->name == "security.capability";
  const error_code e = by_kernel ? error_code::ok
                                 : check_may_xattr(o, t, caller_of(c->who), c->inode, **r,
                                                   c->name, true);
  if (e != error_code::ok) return e;
  std::string key = key_of(c->inode, c->name);
  const op_result<std::string> old = t.value(column::xattrs, key);
  const bool absent = !old && old.error() == error_code::no_data && is_acl_name(c->name);
  if (!old && !absent) return old.error();
  t.remove(column::xattrs, std::move(key));
  stamp_ctime(o, **r);
  t.touch(c->inode, aspect::life);
  return error_code::ok;
}

}  // namespace tangelo
