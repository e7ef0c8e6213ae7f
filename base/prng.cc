#include "base/prng.h"

#include <sys/random.h>

#include "base/check.h"

namespace tangelo {

std::uint64_t random_u64_or_die() noexcept {
  std::uint64_t v = 0;
  CHECK(::getrandom(&v, sizeof v, 0) == static_cast<ssize_t>(sizeof v));
  return v;
}

}  // namespace tangelo
