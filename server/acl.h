// acl: POSIX access control lists (acl(5)), as the kernel keeps and enforces them. Pure.
//
// An ACL is saved as the extended attribute that the kernel knows (version 2, entries of 8 bytes,
// little-endian) and is always in the kernel's order: owner, named users, owning group, named
// groups, mask, other. The access ACL of an inode and its mode say the same thing twice: owner and
// other are in both, and the mode's group bits are the mask, or without one the owning group.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/ops.h"

namespace tangelo {

inline constexpr std::string_view access_acl_name = "system.posix_acl_access";
inline constexpr std::string_view default_acl_name = "system.posix_acl_default";
inline bool is_acl_name(std::string_view name) noexcept {
  return name == access_acl_name || name == default_acl_name;
}

// Saved: never renumber (the kernel's ACL_* numbers).
enum class acl_tag : std::uint16_t {
  owner = 0x01,
  user = 0x02,
  owning_group = 0x04,
  group = 0x08,
  mask = 0x10,
  other = 0x20,
};

struct acl_entry {
  acl_tag tag{};
  std::uint16_t permission = 0;  // 4 read, 2 write, 1 execute
  std::uint32_t id = 0;          // of a named user or group
  bool operator==(const acl_entry&) const = default;
};

class acl {
 public:
  // Nothing when it is not one that the kernel would have accepted.
  static std::optional<acl> parse(std::string_view value);
  std::string packed() const;

  // The permission bits that say the same, as far as they can.
  std::uint32_t mode_bits() const;
  // Whether they say all of it.
  bool is_equivalent_to_mode() const;
  // As the access ACL of what is made with `mode` in a directory with this default ACL; `mode`
  // becomes what is left of it.
  void restrict_to(std::uint32_t& mode);
  // What chmod changes in it.
  void set_mode(std::uint32_t mode);
  // Whether `who`, who is not the owner, has all of `want`.
  bool allows(const credential& who, std::uint32_t owning_gid, std::uint32_t want) const;

 private:
  // The entry that the mode's group bits stand for.
  acl_entry& group_class();
  const acl_entry& group_class() const { return const_cast<acl&>(*this).group_class(); }
  bool is_valid() const;
  std::vector<acl_entry> entries_;
};

bool in_group(const credential& who, std::uint32_t gid) noexcept;

}  // namespace tangelo
