// restart_policy: when a child that ended is started again.
//
// Pure: what happened and randomness come in, a delay goes out.
//
// A child that did nothing before it ended is started again at once the first time, then after
// 50 ms, 100 ms, 200 ms ... 5 s. One that worked is started again at once, as long as a budget
// lasts: 64 such restarts, one regained for each second of life; behind that the pauses grow from
// 50 ms to 250 ms only, since callers are waiting. Every pause has +-25 % of jitter.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "base/prng.h"

namespace tangelo {

class restart_policy {
 public:
  static constexpr std::uint64_t first_delay_ns = 50 * ns_per_ms;
  static constexpr std::uint64_t delay_ns_max = 5 * ns_per_s;
  static constexpr std::uint64_t working_delay_ns_max = 250 * ns_per_ms;
  static constexpr std::uint64_t budget_ns_max = 64 * ns_per_s;  // a restart costs one second
  static constexpr std::uint64_t healthy_after_ns = 10 * ns_per_s;

  explicit restart_policy(std::uint64_t seed) noexcept : jitter_(seed) {}

  // Whether a life counts as one that worked: `did_something` is what the owner saw of it.
  static constexpr bool has_worked(std::uint64_t life_ns, bool did_something) noexcept {
    return life_ns >= ns_per_s || (did_something && life_ns >= 100 * ns_per_ms);
  }

  // How long to wait before the next start. Each call counts as one restart.
  std::uint64_t next_delay_ns(bool worked, std::uint64_t life_ns) noexcept {
    budget_ns_ = std::min(budget_ns_max, budget_ns_ + std::min(life_ns, budget_ns_max));
    if (!worked) return with_jitter(grow(delay_ns_, delay_ns_max));
    delay_ns_ = 0;
    if (budget_ns_ < ns_per_s) return with_jitter(grow(working_delay_ns_, working_delay_ns_max));
    budget_ns_ -= ns_per_s;
    working_delay_ns_ = first_delay_ns;
    return 0;
  }
  void proven() noexcept { delay_ns_ = 0; }

 private:
  // The delay that is due now; the one after it is longer.
  static std::uint64_t grow(std::uint64_t& delay, std::uint64_t delay_max) noexcept {
    const std::uint64_t due = delay;
    delay = due == 0 ? first_delay_ns : std::min(delay_max, due * 2);
    return due;
  }
  std::uint64_t with_jitter(std::uint64_t base) noexcept {
    return base - base / 4 + jitter_.below(base / 2 + 1);
  }

  prng jitter_;
  std::uint64_t delay_ns_ = 0;                       // after a life in which nothing worked
  std::uint64_t working_delay_ns_ = first_delay_ns;  // after one that worked, without budget
  std::uint64_t budget_ns_ = budget_ns_max;
};

}  // namespace tangelo
