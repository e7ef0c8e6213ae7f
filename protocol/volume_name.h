// volume_name: what a volume may be called. A name is part of a mount's source (host:/NAME), of a
// server's configuration and of file names.
#pragma once

#include <cstddef>
#include <string_view>

namespace tangelo {

inline constexpr std::size_t volume_name_size_max = 64;
inline constexpr std::string_view volume_name_rule =
    "a volume's name has 1 to 64 of A-Z a-z 0-9 _ - . and does not begin with a dot";

constexpr bool is_volume_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > volume_name_size_max || name.front() == '.') return false;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && c != '_' && c != '-' && c != '.') return false;
  }
  return true;
}

}  // namespace tangelo
