// prng: a small seeded generator (splitmix64), for jitter and for tests that print their seed.
// Not for secrets.
#pragma once

#include <cstdint>

namespace tangelo {

class prng {
 public:
  explicit prng(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound); 0 for a bound of 0.
  std::uint64_t below(std::uint64_t bound) noexcept { return bound == 0 ? 0 : next() % bound; }

 private:
  std::uint64_t state_;
};

// Random bits from the kernel, for identities and cookies; stops the process without them.
std::uint64_t random_u64_or_die() noexcept;

}  // namespace tangelo
