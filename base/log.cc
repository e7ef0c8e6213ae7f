#include "base/log.h"

#include "base/log_level.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace tangelo {

namespace {

struct log_state {
  char speaker[16] = "tangelo";
  std::atomic<int> least{static_cast<int>(log_level::info)};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> told{0};
  bool journal = false;
};
log_state state;

bool stderr_is_the_journal() noexcept {
  const char* stream = std::getenv("JOURNAL_STREAM");
  return stream != nullptr && *stream != '\0';
}

bool can_write_now() noexcept {
  pollfd p{STDERR_FILENO, POLLOUT, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

}  // namespace

void log_start(std::string_view speaker, log_level least) noexcept {
  const std::size_t n = speaker.size() < sizeof state.speaker - 1 ? speaker.size()
                                                                  : sizeof state.speaker - 1;
  std::memcpy(state.speaker, speaker.data(), n);
  state.speaker[n] = '\0';
  state.least.store(static_cast<int>(least), std::memory_order_relaxed);
  state.journal = stderr_is_the_journal();
}

void log_set_level(log_level least) noexcept {
  state.least.store(static_cast<int>(least), std::memory_order_relaxed);
}

std::uint64_t log_dropped_count() noexcept { return state.dropped.load(std::memory_order_relaxed); }

bool log_enabled(log_level level) noexcept {
  return static_cast<int>(level) <= state.least.load(std::memory_order_relaxed);
}

void log_write(log_level level, std::string_view text) noexcept {
  char line[log_line_size_max + 128];
  std::size_t n = 0;
  const auto add = [&line, &n](const char* format, auto... args) noexcept {
    const int w = std::snprintf(line + n, sizeof line - n, format, args...);
    if (w > 0) n = n + static_cast<std::size_t>(w) < sizeof line ? n + static_cast<std::size_t>(w)
                                                                 : sizeof line - 1;
  };
  if (state.journal) {
    add("<%d>", static_cast<int>(level));
  } else {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm local{};
    localtime_r(&now.tv_sec, &local);
    add("%02d:%02d:%02d.%03d ", local.tm_hour, local.tm_min, local.tm_sec,
        static_cast<int>(now.tv_nsec / 1'000'000));
  }
  add("%s[%d] ", state.speaker, static_cast<int>(getpid()));
  if (level <= log_level::warning) add("%s", level == log_level::error ? "ERROR " : "WARNING ");
  const std::uint64_t dropped = log_dropped_count();
  const std::uint64_t told = state.told.load(std::memory_order_relaxed);
  if (dropped != told)
    add("(%llu lines lost) ", static_cast<unsigned long long>(dropped - told));
  add("%.*s\n", static_cast<int>(text.size()), text.data());
  if (n != 0) line[n - 1] = '\n';
  if (can_write_now() && ::write(STDERR_FILENO, line, n) == static_cast<ssize_t>(n))
    state.told.store(dropped, std::memory_order_relaxed);
  else
    state.dropped.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace tangelo
