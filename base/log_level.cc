#include "base/log_level.h"

#include <array>

namespace tangelo {

namespace {

constexpr std::array<log_level, 5> levels{log_level::error, log_level::warning, log_level::notice,
                                          log_level::info, log_level::debug};

}  // namespace

std::optional<log_level> log_level_of(std::uint32_t number) noexcept {
  for (const log_level level : levels)
    if (static_cast<std::uint32_t>(level) == number) return level;
  return std::nullopt;
}

std::optional<log_level> log_level_named(std::string_view name) noexcept {
  for (const log_level level : levels)
    if (name_of(level) == name) return level;
  return std::nullopt;
}

std::string log_level_names() {
  std::string text;
  for (const log_level level : levels) text.append(text.empty() ? "" : "|").append(name_of(level));
  return text;
}

}  // namespace tangelo
