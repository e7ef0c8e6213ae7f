// log: one line per event, to standard error, without ever waiting for its reader.
//
// Every process uses this one: the front end and the watchdog must outlive a full pipe or a hung
// journal. A line is made in a fixed buffer on the stack and written only if standard error can
// take it at once; otherwise it is dropped and counted, and the count is told with the next line.
// Under systemd standard error is the journal and lines begin with a <level> prefix.
// May be called on any thread.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace tangelo {

enum class log_level : std::uint8_t { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

// Who is speaking ("fs", "core", "server", "watchdog"), and the least important level to write.
void log_start(std::string_view speaker, log_level least) noexcept;
std::uint64_t log_dropped_count() noexcept;
void log_write(log_level level, std::string_view text) noexcept;
bool log_enabled(log_level level) noexcept;

inline constexpr std::size_t log_line_size_max = 1024;

template <class... Args>
void log_line(log_level level, fmt::format_string<Args...> format, Args&&... args) noexcept {
  if (!log_enabled(level)) return;
  char line[log_line_size_max];
  const auto end = fmt::format_to_n(line, sizeof line, format, std::forward<Args>(args)...);
  log_write(level, {line, end.size < sizeof line ? end.size : sizeof line});
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_line(log_level::error, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_line(log_level::warning, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_notice(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_line(log_level::notice, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_line(log_level::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_line(log_level::debug, format, std::forward<Args>(args)...);
}

}  // namespace tangelo
