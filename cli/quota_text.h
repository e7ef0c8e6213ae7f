// quota_text: quotas as `tangelo quota` reads, writes and shows them. Pure; the attributes that
// they come from are in docs/PROTOCOL.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tangelo {

struct quota_view {
  std::string kind;  // user, group or tree
  std::string name;  // of the user or group, or the tree's directory; may be empty
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;  // 0: no limit
  std::uint64_t inodes = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t used_inodes = 0;
  std::uint64_t root = 0;  // of a tree: its directory's inode
  bool counting = false;
};

// "10G", "1.5T", "4096", "none": bytes; nothing: no size.
std::optional<std::uint64_t> parse_size(std::string_view text);
std::string size_text(std::uint64_t bytes);  // "9.8G"
// An attribute's value, or a line of the list behind its kind and number.
std::optional<quota_view> parse_quota(std::string_view text);
std::optional<std::vector<quota_view>> parse_quota_list(std::string_view text);

std::string quota_line(const quota_view& q);
std::string quota_table_text(const std::vector<quota_view>& all);
std::string quota_json(const quota_view& q);
std::string quota_list_json(const std::vector<quota_view>& all);

}  // namespace tangelo
