// restart_policy: when a child that ended is started again.
//
// Pure: time and randomness come in, a delay goes out. The first restart is immediate, the next
// ones wait 50 ms, 100 ms, 200 ms ... 5 s, each with +-25 % of jitter. After a child that has
// proven itself (10 s of life, or useful work: the owner decides) the next restart is a first one
// again.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/prng.h"

namespace tangelo {

class restart_policy {
 public:
  static constexpr std::uint64_t first_delay_ns = 50 * ns_per_ms;
  static constexpr std::uint64_t delay_ns_max = 5 * ns_per_s;
  static constexpr std::uint64_t healthy_after_ns = 10 * ns_per_s;

  explicit restart_policy(std::uint64_t seed) noexcept : jitter_(seed) {}

  // How long to wait before the next start. Each call counts as one restart.
  std::uint64_t next_delay_ns() noexcept {
    const std::uint64_t base = delay_ns_;
    delay_ns_ = base == 0 ? first_delay_ns : (base >= delay_ns_max / 2 ? delay_ns_max : base * 2);
    return base - base / 4 + jitter_.below(base / 2 + 1);
  }
  void proven() noexcept { delay_ns_ = 0; }

 private:
  prng jitter_;
  std::uint64_t delay_ns_ = 0;
};

}  // namespace tangelo
