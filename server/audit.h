// audit: what a volume served with `audit` has recorded about its effects. For tests.
#pragma once

#include <cstdint>
#include <string>

#include "base/problem.h"

namespace tangelo {

struct audit_counts {
  std::uint64_t effects = 0;     // mutations that took effect, duplicates included
  std::uint64_t duplicates = 0;  // that took effect once more
};
// Of a volume that nobody serves.
outcome<audit_counts> read_audit(const std::string& directory);

}  // namespace tangelo
