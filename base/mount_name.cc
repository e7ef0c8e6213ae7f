#include "base/mount_name.h"

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

}  // namespace

std::string mount_name_of(std::string_view path) {
  static constexpr char digits[] = "0123456789abcdef";
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
  return name.empty() ? "-" : name;
}

std::string mount_point_of(std::string_view name) {
  if (name.empty()) return {};
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
