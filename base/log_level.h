// log_level: the levels of the log by name and number, and changing what is written while a process
// runs. Any thread.
#pragma once

#include <optional>
#include <string>

#include "base/log.h"

namespace tangelo {

constexpr std::string_view name_of(log_level level) noexcept {
  switch (level) {
    using enum log_level;
    case error: return "error";
    case warning: return "warning";
    case notice: return "notice";
    case info: return "info";
    case debug: return "debug";
  }
  return {};
}

// Nothing: none of them.
std::optional<log_level> log_level_of(std::uint32_t number) noexcept;
std::optional<log_level> log_level_named(std::string_view name) noexcept;
// "error|warning|notice|info|debug", for a person.
std::string log_level_names();

// The least important level that is written from here on.
void log_set_level(log_level least) noexcept;

}  // namespace tangelo
