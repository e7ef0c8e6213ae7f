#include "server/permission.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

namespace tangelo {

namespace {

bool groups_unknown(const credential& who) noexcept {
  return (who.powers & power::unknown_groups) != 0;
}

bool allowed_by_powers(const credential& who, const inode_record& r, std::uint32_t want) noexcept {
  if ((want & may::write) == 0 && has_power(who, power::dac_read_search) &&
      (S_ISDIR(r.mode) || want == may::read))
    return true;
  const bool runs = (want & may::execute) == 0 || S_ISDIR(r.mode) || (r.mode & 0111) != 0;
  return runs && has_power(who, power::dac_override);
}

bool allowed_by_mode(const credential& who, const inode_record& r, const std::optional<acl>& list,
                     std::uint32_t want) noexcept {
  if (who.uid == r.uid) return ((r.mode >> 6) & want) == want;
  if (groups_unknown(who)) return (((r.mode >> 3) | r.mode) & want) == want;
  if (list && (r.mode & S_IRWXG) != 0) return list->allows(who, r.gid, want);
  return ((in_group(who, r.gid) ? r.mode >> 3 : r.mode) & want) == want;
}

}  // namespace

credential squashed(const credential& who, const squash_rule& rule) noexcept {
  if (rule.mode == squash_mode::none) return who;
  credential c = who;
  c.powers &= power::unknown_groups;
  if (rule.mode == squash_mode::all || who.uid == 0)
    return credential{rule.uid, rule.gid, 0, 0, {}};
  if (c.gid == 0) c.gid = rule.gid;
  std::replace(c.groups.begin(), c.groups.begin() + c.group_count, std::uint32_t{0}, rule.gid);
  return c;
}

credential writer_of(const write_call& c, const inode_record& r, const squash_rule& rule) noexcept {
  if ((c.flags & write_flag::of_pages) == 0) return c.who;
  return credential{r.uid != 0 ? r.uid : rule.uid, rule.gid, 0, power::unknown_groups, {}};
}

std::uint32_t rights_of_open(std::uint32_t open_flags) noexcept {
  const std::uint32_t access = open_flags & O_ACCMODE;
  if (access == O_WRONLY) return may::write;
  return access == O_RDONLY ? may::read : may::read | may::write;
}

bool has_power(const credential& who, std::uint8_t powers) noexcept {
  return who.uid == 0 || (who.powers & powers) != 0;
}

bool is_member(const credential& who, std::uint32_t gid) noexcept {
  return groups_unknown(who) || in_group(who, gid);
}

bool owns(const credential& who, const inode_record& r) noexcept {
  return who.uid == r.uid || has_power(who, power::fowner);
}

error_code check_access(const credential& who, const inode_record& r,
                        const std::optional<acl>& list, std::uint32_t want) noexcept {
  if (allowed_by_mode(who, r, list, want) || allowed_by_powers(who, r, want))
    return error_code::ok;
  return error_code::access_denied;
}

error_code check_sticky(const credential& who, const inode_record& directory,
                        const inode_record& victim) noexcept {
  if ((directory.mode & S_ISVTX) == 0 || who.uid == directory.uid || owns(who, victim))
    return error_code::ok;
  return error_code::not_permitted;
}

error_code check_setattr(const credential& who, const inode_record& r, const setattr_call& c,
                         bool& needs_write) noexcept {
  const auto has = [&c](std::uint32_t bits) { return (c.which & bits) != 0; };
  const bool owner = who.uid == r.uid;
  if (has(set_attr::uid) && !(owner && c.uid == r.uid) && !has_power(who, power::chown))
    return error_code::not_permitted;
  if (has(set_attr::gid) && !(owner && (c.gid == r.gid || is_member(who, c.gid))) &&
      !has_power(who, power::chown))
    return error_code::not_permitted;
  if (has(set_attr::mode) && !owns(who, r)) return error_code::not_permitted;
  // What the kernel has kept back of an open file's times comes with a ctime, from anybody.
  if (has(set_attr::ctime)) return error_code::ok;
  const bool sets_time = (has(set_attr::atime) && !has(set_attr::atime_now)) ||
                         (has(set_attr::mtime) && !has(set_attr::mtime_now));
  if (sets_time && !owns(who, r)) return error_code::not_permitted;
  // Who has opened a file for writing may cut it.
  if (has(set_attr::size) && c.handle == 0) needs_write = true;
  const bool touches = has(set_attr::atime_now | set_attr::mtime_now) && !has(set_attr::size);
  if (touches && !owns(who, r)) needs_write = true;
  return error_code::ok;
}

bool loses_setgid(const credential& who, std::uint32_t gid) noexcept {
  return !is_member(who, gid) && !has_power(who, power::fsetid);
}

void kill_setid(const credential& who, inode_record& r) noexcept {
  if (S_ISDIR(r.mode)) return;
  r.mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((r.mode & S_IXGRP) != 0 || loses_setgid(who, r.gid))
    r.mode &= ~static_cast<std::uint32_t>(S_ISGID);
}

}  // namespace tangelo
