#include "base/mount_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/fd.h"

namespace tangelo {

namespace {

// The kernel writes blank, tab, newline, backslash (and '#') as \ooo.
std::string unescape(std::string_view field) {
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const auto octal = [&](std::size_t at) { return field[at] >= '0' && field[at] <= '7'; };
    if (field[i] == '\\' && i + 3 < field.size() && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      const int value = (field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0');
      out += static_cast<char>(value & 255);
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (!line.empty()) {
    const std::size_t blank = line.find(' ');
    fields.push_back(line.substr(0, blank));
    line = blank == std::string_view::npos ? std::string_view{} : line.substr(blank + 1);
  }
  return fields;
}

// The number behind "user_id=" among options; 0 if there is none.
unsigned user_in(std::string_view options) {
  constexpr std::string_view key = "user_id=";
  while (!options.empty()) {
    const std::size_t comma = options.find(',');
    const std::string_view word = options.substr(0, comma);
    unsigned user = 0;
    if (word.starts_with(key)) {
      (void)std::from_chars(word.data() + key.size(), word.data() + word.size(), user);
      return user;
    }
    options = comma == options.npos ? std::string_view{} : options.substr(comma + 1);
  }
  return 0;
}

}  // namespace

std::vector<mount_entry> parse_mount_table(std::string_view text) {
  std::vector<mount_entry> table;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::vector<std::string_view> f = fields_of(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    std::size_t dash = 6;  // optional fields end with one that is "-"
    while (dash < f.size() && f[dash] != "-") ++dash;
    if (dash + 2 >= f.size()) continue;
    table.push_back({unescape(f[4]), unescape(f[dash + 1]), unescape(f[dash + 2]),
                     std::string(f[2]),
                     dash + 3 < f.size() ? user_in(f[dash + 3]) : 0});
  }
  return table;
}

std::vector<mount_entry> read_mount_table() {
  const unique_fd fd(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  std::string text;
  std::array<char, 16384> part{};
  for (;;) {
    const ssize_t n = fd ? ::read(fd.get(), part.data(), part.size()) : 0;
    if (n <= 0) return parse_mount_table(text);
    text.append(part.data(), static_cast<std::size_t>(n));
  }
}

const mount_entry* find_mount(const std::vector<mount_entry>& table,
                              std::string_view mount_point) {
  const mount_entry* found = nullptr;
  for (const mount_entry& e : table)
    if (e.mount_point == mount_point) found = &e;
  return found;
}

const mount_entry* mount_around(const std::vector<mount_entry>& table, std::string_view path) {
  for (;;) {
    if (const mount_entry* found = find_mount(table, path)) return found;
    if (path.size() <= 1) return nullptr;
    path = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  }
}

}  // namespace tangelo
