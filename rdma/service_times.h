// service_times: how long calls of one kind took lately, for the estimate that clients base their
// deadlines on: the longest of the last ten minutes, in four bins of 150 s.
//
// Owned by a served volume; loop thread only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/clock.h"

namespace tangelo {

class service_times {
 public:
  void note(std::uint64_t now_ns, std::uint64_t took_ns) noexcept {
    const std::uint64_t number = now_ns / bin_ns;
    bin& b = bins_[number % bins_.size()];
    if (b.number != number) b = {number, 0};
    b.longest_ns = std::max(b.longest_ns, took_ns);
  }
  std::uint32_t estimate_ms(std::uint64_t now_ns) const noexcept {
    const std::uint64_t number = now_ns / bin_ns;
    std::uint64_t longest_ns = 0;
    for (const bin& b : bins_)
      if (b.number + bins_.size() > number) longest_ns = std::max(longest_ns, b.longest_ns);
    return static_cast<std::uint32_t>((longest_ns + ns_per_ms - 1) / ns_per_ms);
  }

 private:
  static constexpr std::uint64_t bin_ns = 150 * ns_per_s;
  struct bin {
    std::uint64_t number = 0;
    std::uint64_t longest_ns = 0;
  };
  std::array<bin, 4> bins_;
};

}  // namespace tangelo
