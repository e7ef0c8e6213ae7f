// progress: how far a check or a scrub of a volume is, and how that is shown.
//
// Pure; for the commands that look at a volume nobody serves.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace tangelo {

struct volume_progress {
  std::uint64_t done = 0;   // of `total`; never falls within one round
  std::uint64_t total = 0;  // 0: it is not known
  std::string what;         // "dirents, 4096 records"
};
using progress_sink = std::function<void(const volume_progress&)>;

// 0 to 100.
unsigned percent_of(const volume_progress& p) noexcept;
// "[######--------------]  30%  dirents, 4096 records"
std::string progress_bar(const volume_progress& p);
// " 30%  dirents, 4096 records"
std::string progress_text(const volume_progress& p);

}  // namespace tangelo
