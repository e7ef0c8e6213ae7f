#include "cli/quota_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/json.h"

namespace tangelo {

namespace {

constexpr std::string_view units = "KMGTPE";

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

// "9.8G of 10G"
std::string room(std::string used, std::uint64_t limit, std::string most) {
  return limit == 0 ? used + " (no limit)" : used + " of " + most;
}

std::string who(const quota_view& q) {
  if (!q.name.empty()) return q.name;
  return q.kind == "tree" ? fmt::format("inode {}", q.root) : std::to_string(q.id);
}

void add_json(json_text& j, const quota_view& q) {
  j.open_object().key("kind").text(q.kind);
  j.key("id").number(q.id).key("name").text(q.name);
  j.key("bytes").number(q.bytes).key("inodes").number(q.inodes);
  j.key("used_bytes").number(q.used_bytes).key("used_inodes").number(q.used_inodes);
  if (q.kind == "tree") j.key("root").number(q.root).key("counting").boolean(q.counting);
  j.close_object();
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  if (text == "none" || text == "off") return 0;
  if (text.ends_with("iB")) text.remove_suffix(2);
  std::uint64_t unit = 1;
  if (!text.empty()) {
    const char letter = text.back() >= 'a' && text.back() <= 'z'
                            ? static_cast<char>(text.back() - 'a' + 'A')
                            : text.back();
    if (const std::size_t at = units.find(letter); at != units.npos) {
      unit = std::uint64_t{1} << (10 * (at + 1));
      text.remove_suffix(1);
    }
  }
  const std::size_t point = text.find('.');
  const std::optional<std::uint64_t> whole = number_of(text.substr(0, point));
  if (!whole || *whole > UINT64_MAX / unit) return std::nullopt;
  std::uint64_t part = 0;
  if (point != text.npos) {
    const std::string_view digits = text.substr(point + 1);
    const std::optional<std::uint64_t> n = number_of(digits);
    if (!n || digits.size() > 3 || unit == 1) return std::nullopt;
    double scale = 1;
    for (std::size_t i = 0; i < digits.size(); ++i) scale *= 10;
    part = static_cast<std::uint64_t>(static_cast<double>(unit) * static_cast<double>(*n) / scale);
  }
  const std::uint64_t size = *whole * unit;
  return size > UINT64_MAX - part ? std::nullopt : std::optional(size + part);
}

std::string size_text(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1024; value >= 1024; value /= 1024) ++unit;
  const bool is_whole = bytes % (std::uint64_t{1} << (10 * (unit + 1))) == 0;
  return fmt::format("{:.{}f}{}", value, is_whole || value >= 100 ? 0 : 1, units[unit]);
}

std::optional<quota_view> parse_quota(std::string_view text) {
  quota_view q;
  bool any = false;
  while (!text.empty()) {
    const std::string_view word = take_word(text);
    const std::size_t sign = word.find('=');
    if (sign == word.npos) return std::nullopt;
    const std::string_view key = word.substr(0, sign), value = word.substr(sign + 1);
    any = true;
    if (key == "state") {
      q.counting = value == "counting";
      continue;
    }
    const std::optional<std::uint64_t> n = number_of(value);
    if (!n) return std::nullopt;
    if (key == "bytes") q.bytes = *n;
    if (key == "inodes") q.inodes = *n;
    if (key == "used_bytes") q.used_bytes = *n;
    if (key == "used_inodes") q.used_inodes = *n;
    if (key == "root") q.root = *n;
  }
  return any ? std::optional(q) : std::nullopt;
}

std::optional<std::vector<quota_view>> parse_quota_list(std::string_view text) {
  std::vector<quota_view> all;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view kind = take_word(line);
    const std::optional<std::uint64_t> id = number_of(take_word(line));
    std::optional<quota_view> q = parse_quota(line);
    if (!id || !q) return std::nullopt;
    q->kind = kind, q->id = *id;
    all.push_back(std::move(*q));
  }
  return all;
}

std::string quota_line(const quota_view& q) {
  return fmt::format("{} {}: {}, {} inodes{}\n", q.kind, who(q),
                     room(size_text(q.used_bytes), q.bytes, size_text(q.bytes)),
                     room(std::to_string(q.used_inodes), q.inodes, std::to_string(q.inodes)),
                     q.counting ? "; what is in it is still being counted, no limit holds yet"
                                : "");
}

std::string quota_table_text(const std::vector<quota_view>& all) {
  std::string out;
  for (const quota_view& q : all) out += quota_line(q);
  return out;
}

std::string quota_json(const quota_view& q) {
  json_text j;
  add_json(j, q);
  return j.str() + "\n";
}

std::string quota_list_json(const std::vector<quota_view>& all) {
  json_text j;
  j.open_object().key("quotas").open_list();
  for (const quota_view& q : all) add_json(j, q);
  j.close_list().close_object();
  return j.str() + "\n";
}

}  // namespace tangelo
