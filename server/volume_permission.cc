// Permission as the volume asks for it: who a caller counts as, and the inode's ACL where it
// matters.
//
// Where clients are believed (squash = none), their kernels have decided about open files, and what
// was allowed before a crash is not asked again: a replay, a re-claimed open file. Everywhere else
// a client's word is worth what its callers may do: files are read and written by who opened them
// here, owns them, or may open them now, and replays and claims are looked at like anything else.
#include <fcntl.h>

#include "server/volume.h"

namespace tangelo {

credential volume::caller_of(const credential& who) const {
  return squashed(who, options_.rules.squash);
}

op_result<std::optional<acl>> volume::acl_of(transaction& t, std::uint64_t number,
                                             const inode_record& r, std::string_view name) {
  if ((r.flags & inode_flag::xattrs) == 0) return std::optional<acl>();
  const op_result<std::string> value = t.value(column::xattrs, key_of(number, name));
  if (!value && value.error() != error_code::no_data) return failure{value.error()};
  if (!value) return std::optional<acl>();
  std::optional<acl> list = acl::parse(*value);
  if (!list) return failure{error_code::io};
  return list;
}

error_code volume::check_may(const operation& o, transaction& t, const credential& who,
                             std::uint64_t number, std::uint32_t want) {
  if (o.replay && options_.rules.believe_clients()) return error_code::ok;
  const op_result<inode_record*> r = t.inode(number);
  if (!r) return r.error();
  std::optional<acl> list;
  if (who.uid != 0 && who.uid != (*r)->uid) {
    const op_result<std::optional<acl>> found = acl_of(t, number, **r, access_acl_name);
    if (!found) return found.error();
    list = *found;
  }
  return check_access(who, **r, list, want);
}

error_code volume::check_may_open(const operation& o, transaction& t, const credential& who,
                                  std::uint64_t number, std::uint32_t open_flags) {
  constexpr std::uint32_t for_execution = 0x20;  // the kernel's own __FMODE_EXEC
  const std::uint32_t access = open_flags & O_ACCMODE;
  std::uint32_t want = access == O_RDONLY ? may::read : may::read | may::write;
  if (access == O_WRONLY) want = may::write;
  if ((open_flags & for_execution) != 0 && access == O_RDONLY) want = may::execute;
  if ((open_flags & O_TRUNC) != 0) want |= may::write;
  if (options_.rules.read_only && (want & may::write) != 0) return error_code::read_only;
  return check_may(o, t, who, number, want);
}

// Of an open file or directory; `who` as the call says.
error_code volume::check_may_use(const operation& o, transaction& t, const credential& who,
                                 std::uint64_t handle, std::uint64_t inode, std::uint32_t want) {
  if (options_.rules.believe_clients() || opens_.allows(o.client, handle, inode, want))
    return error_code::ok;
  const op_result<inode_record*> r = t.inode(inode);
  if (!r) return r.error();
  const credential caller = caller_of(who);
  if (caller.uid == (*r)->uid) return error_code::ok;  // whatever mode he has given it
  return check_may(o, t, caller, inode, want);
}

// Whether `who` may take the name of `victim` out of the directory.
error_code volume::check_may_remove(const operation& o, transaction& t, const credential& who,
                                    std::uint64_t directory, std::uint64_t victim) {
  if (o.replay && options_.rules.believe_clients()) return error_code::ok;
  const error_code e = check_may(o, t, who, directory, may::write | may::execute);
  if (e != error_code::ok) return e;
  const op_result<inode_record*> dir = t.inode(directory);
  const op_result<inode_record*> r = t.inode(victim);
  if (!dir) return dir.error();
  if (!r) return r.error() == error_code::stale ? error_code::io : r.error();
  return check_sticky(who, **dir, **r);
}

}  // namespace tangelo
