#include "base/check.h"

#include <cstdlib>

#include "base/log.h"

namespace tangelo {

void check_failed(const char* condition, const char* file, int line) noexcept {
  log_error("{}:{}: broken invariant: {}", file, line, condition);
  std::abort();
}

}  // namespace tangelo
