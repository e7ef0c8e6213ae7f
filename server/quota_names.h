// quota_names: the extended attributes by which quotas are set and read (docs/PROTOCOL.md), and
// the text that is their value. Pure; volume_quota.cc and tests.
//
//   system.tangelo.quota             of a directory: the tree whose top it is, or is to be
//   system.tangelo.quota.user.UID    of the volume's root
//   system.tangelo.quota.group.GID   of the volume's root
//   system.tangelo.quotas            of the volume's root: a line for each that is known
//   system.tangelo.quotas.KIND.ID    the same, those behind this one
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/quotas.h"

namespace tangelo {

inline constexpr std::string_view quota_prefix = "system.tangelo.";
inline bool is_quota_name(std::string_view name) noexcept { return name.starts_with(quota_prefix); }

struct quota_name {
  enum class form : std::uint8_t { tree, one, list };
  form what{};
  quota_key key;  // of `one`; of `list`: behind which it begins
};
std::optional<quota_name> parse_quota_name(std::string_view name);

// "bytes=N inodes=N", either or both; what is not named stays as it is in `limits`.
bool parse_limits(std::string_view text, saved_quota& limits);
std::string text_of_quota(const saved_quota& q);

}  // namespace tangelo
