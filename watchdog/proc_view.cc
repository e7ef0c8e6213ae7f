#include "watchdog/proc_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <memory>

#include "base/fd.h"

namespace tangelo {

namespace {

using path_text = std::array<char, 64>;
using file_text = std::array<char, 4096>;

std::string_view read_proc_file(const path_text& path, file_text& text) noexcept {
  const unique_fd fd(::open(path.data(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  return n <= 0 ? std::string_view() : std::string_view(text.data(), static_cast<std::size_t>(n));
}

path_text path_of(pid_t pid, const char* file) noexcept {
  path_text path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/%s", pid, file);
  return path;
}

// The field at `index`, counted from 0, in words with one space between them.
std::string_view word_at(std::string_view words, unsigned index) noexcept {
  for (; index != 0; --index) {
    const std::size_t space = words.find(' ');
    if (space == std::string_view::npos) return {};
    words.remove_prefix(space + 1);
  }
  return words.substr(0, words.find_first_of(" \n"));
}

std::optional<std::uint64_t> number_at(std::string_view words, unsigned index) noexcept {
  const std::string_view word = word_at(words, index);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<process_sight> parse_process_stat(std::string_view line) noexcept {
  // The name in parentheses may hold anything; behind it come fields 3 (state), 14, 15, 22.
  const std::size_t close = line.rfind(')');
  if (close == std::string_view::npos || close + 2 >= line.size()) return std::nullopt;
  const std::string_view words = line.substr(close + 2);
  const std::optional<std::uint64_t> user = number_at(words, 11);
  const std::optional<std::uint64_t> system = number_at(words, 12);
  const std::optional<std::uint64_t> start = number_at(words, 19);
  if (!user || !system || !start) return std::nullopt;
  return process_sight{words.front(), *user + *system, *start};
}

std::optional<process_sight> look_at_process(pid_t pid) noexcept {
  file_text text;
  return parse_process_stat(read_proc_file(path_of(pid, "stat"), text));
}

bool is_dumping_core(pid_t pid) noexcept {
  file_text text;
  return read_proc_file(path_of(pid, "status"), text).find("\nCoreDumping:\t1") !=
         std::string_view::npos;
}

bool is_out_of_user_mode(pid_t pid) noexcept {
  struct close_it {
    void operator()(DIR* d) const noexcept { ::closedir(d); }
  };
  const std::unique_ptr<DIR, close_it> tasks(::opendir(path_of(pid, "task").data()));
  if (tasks == nullptr) return false;
  for (const dirent* entry = ::readdir(tasks.get()); entry != nullptr;
       entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    path_text path{};
    std::snprintf(path.data(), path.size(), "/proc/%d/task/%.20s/stat", pid, entry->d_name);
    file_text text;
    const std::string_view line = read_proc_file(path, text);
    if (line.empty()) continue;  // ended meanwhile
    const std::optional<process_sight> seen = parse_process_stat(line);
    if (!seen || (seen->state != 'D' && seen->state != 'Z' && seen->state != 'X')) return false;
  }
  return true;
}

std::string wait_channel_of(pid_t pid) {
  file_text text;
  const std::string_view channel = read_proc_file(path_of(pid, "wchan"), text);
  return channel == "0" ? std::string() : std::string(channel);
}

}  // namespace tangelo
