#include "server/progress.h"

#include <fmt/format.h>

#include <algorithm>

namespace tangelo {

unsigned percent_of(const volume_progress& p) noexcept {
  if (p.total == 0) return 0;
  const double share = static_cast<double>(p.done) / static_cast<double>(p.total);
  return static_cast<unsigned>(std::clamp(share, 0.0, 1.0) * 100);
}

std::string progress_bar(const volume_progress& p) {
  constexpr std::size_t width = 20;
  const std::size_t full = percent_of(p) * width / 100;
  return "[" + std::string(full, '#') + std::string(width - full, '-') + "] " + progress_text(p);
}

std::string progress_text(const volume_progress& p) {
  return fmt::format("{:>3}%  {}", percent_of(p), p.what);
}

}  // namespace tangelo
