// export_rules: for whom a volume is there, as whom they count, and what they may do; from the
// server's configuration.
#pragma once

#include <cstdint>
#include <vector>

#include "server/networks.h"

namespace tangelo {

// Whose ids count instead of the caller's.
enum class squash_mode : std::uint8_t { none, root, all };
struct squash_rule {
  squash_mode mode = squash_mode::none;
  std::uint32_t uid = 65534;
  std::uint32_t gid = 65534;
  bool operator==(const squash_rule&) const = default;
};

struct export_rules {
  squash_rule squash;
  bool read_only = false;
  bool relatime = true;        // false: reading changes no times
  std::vector<network> allow;  // empty: everybody
  // Their kernels have decided who may do what. Else a client may be any caller's that counts.
  bool believe_clients() const noexcept { return squash.mode == squash_mode::none; }
  bool operator==(const export_rules&) const = default;
};

}  // namespace tangelo
