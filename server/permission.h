// permission: who may do what, as the kernel decides it (path_resolution(7), generic_permission,
// setattr_prepare). Pure functions over an inode's record and ACL.
//
// The client's kernel has decided already, by attributes that may be a moment old. So nothing is
// refused here that it would allow: a caller with a capability has it as a power bit, whatever
// user namespace it has it in.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/errors.h"
#include "protocol/ops.h"
#include "server/acl.h"
#include "server/export_rules.h"
#include "server/records.h"

namespace tangelo {

namespace may {
inline constexpr std::uint32_t execute = 1;  // of a directory: search
inline constexpr std::uint32_t write = 2;
inline constexpr std::uint32_t read = 4;
}  // namespace may

// Who a caller counts as.
credential squashed(const credential& who, const squash_rule& rule) noexcept;
// Who wrote bytes of a page cache is not known: somebody that the client may speak for.
credential writer_of(const write_call& c, const inode_record& r, const squash_rule& rule) noexcept;
// What an open file may be used for (may bits), by the flags it was opened with.
std::uint32_t rights_of_open(std::uint32_t open_flags) noexcept;

bool has_power(const credential& who, std::uint8_t powers) noexcept;
bool is_member(const credential& who, std::uint32_t gid) noexcept;  // also where groups are unknown
bool owns(const credential& who, const inode_record& r) noexcept;   // or may act as the owner

// access_denied, or ok: all of `want` (may bits).
error_code check_access(const credential& who, const inode_record& r,
                        const std::optional<acl>& list, std::uint32_t want) noexcept;
// Whether a name of `victim` may be taken out of the directory.
error_code check_sticky(const credential& who, const inode_record& directory,
                        const inode_record& victim) noexcept;
// Of setattr what only the owner or a privileged caller may do. `needs_write`: the rest is allowed
// to whoever may write.
error_code check_setattr(const credential& who, const inode_record& r, const setattr_call& c,
                         bool& needs_write) noexcept;
// Setgid is not for whoever is not in the group.
bool loses_setgid(const credential& who, std::uint32_t gid) noexcept;
// As the kernel does when a file changes: setuid goes, and setgid where it means execution, or
// when `who` could not have set it.
void kill_setid(const credential& who, inode_record& r) noexcept;

}  // namespace tangelo
