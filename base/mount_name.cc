#include "base/mount_name.h"

#include <cstdint>
#include <vector>

namespace tangelo {

namespace {

bool stays_plain(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' ||
         c == '_' || c == '.';
}

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  while (begin < path.size()) {
    const std::size_t slash = path.find('/', begin);
    const std::size_t end = slash == std::string_view::npos ? path.size() : slash;
    const std::string_view part = path.substr(begin, end - begin);
    if (!part.empty() && part != ".") parts.push_back(part);
    begin = end + 1;
  }
  return parts;
}

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

constexpr char digits[] = "0123456789abcdef";
constexpr std::size_t name_size_max = 200;  // of one that is not cut
constexpr std::size_t prefix_size = 190;    // of one that is: longer than any other, all in all

// FNV-1a, whose values stay the same for ever: they are the names of files.
std::uint64_t hash_of(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string cut_name(const std::string& name) {
  const std::size_t escape = name.rfind('\\', prefix_size - 1);
  const bool is_whole = escape == std::string::npos || escape + 4 <= prefix_size;
  std::string cut = name.substr(0, is_whole ? prefix_size : escape) + '_';
  const std::uint64_t hash = hash_of(name);
  for (int shift = 60; shift >= 0; shift -= 4) cut += digits[hash >> shift & 15];
  return cut;
}

}  // namespace

std::string mount_name_of(std::string_view path) {
  if (path.empty() || path.front() != '/') return {};
  std::string name;
  for (const std::string_view part : parts_of(path)) {
    if (part == "..") return {};
    if (!name.empty()) name += '-';
    for (const char c : part) {
      if (stays_plain(c) && !(c == '.' && name.empty())) {
        name += c;
        continue;
      }
      const auto byte = static_cast<unsigned char>(c);
      name += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  if (name.size() > name_size_max) return cut_name(name);
  return name.empty() ? "-" : name;
}

std::string mount_point_of(std::string_view name) {
  if (name.empty() || name.size() > name_size_max) return {};
  if (name == "-") return "/";
  std::string path = "/";
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (c == '-') {
      path += '/';
    } else if (stays_plain(c)) {
      path += c;
    } else {
      if (c != '\\' || i + 3 >= name.size() || name[i + 1] != 'x') return {};
      const int high = hex_value(name[i + 2]);
      const int low = hex_value(name[i + 3]);
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return {};
      path += static_cast<char>(high * 16 + low);
      i += 3;
    }
  }
  return path;
}

std::string absolute_path(std::string_view path, std::string_view working_directory) {
  std::string whole;
  if (path.empty() || path.front() != '/') whole = std::string(working_directory) + '/';
  whole += path;
  std::vector<std::string_view> kept;
  for (const std::string_view part : parts_of(whole)) {
    if (part != "..")
      kept.push_back(part);
    else if (!kept.empty())
      kept.pop_back();
  }
  std::string clean;
  for (const std::string_view part : kept) clean.append("/").append(part);
  return clean.empty() ? "/" : clean;
}

}  // namespace tangelo
