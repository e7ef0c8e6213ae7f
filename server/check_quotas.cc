// The part of a round that counts what users, groups and trees have in use (quotas.h).
#include <fmt/format.h>

#include "server/check_pass.h"
#include "server/quotas.h"

namespace tangelo {

outcome<bool> check_pass::read_quotas() {
  const outcome<bool> read =
      scan(column::quotas, [this](std::string_view key, std::string_view value) {
        const bool is_walk = !key.empty() && key.front() == walk_prefix;
        const bool good = is_walk ? key.size() == walk_key(0, 0).size() &&
                                        unpacked<saved_walk>(value).has_value()
                                  : quota_key_of(key) && unpacked<saved_quota>(value);
        if (good) return true;
        found(finding_kind::quota, fmt::format("a key of {} bytes", key.size()),
              "a record that cannot be read", "removed; usage is counted at the next start");
        batch_.remove(column::quotas, std::string(key));
        return true;
      });
  if (!read) return read;
  quota_table now;
  if (!now.load(kv_)) return unreadable_store("quotas");
  for (const auto& [key, q] : now.all()) {
    if (key.kind != quota_kind::tree) continue;
    const node* top = find(q.root);
    if (top != nullptr && (top->unreadable || is_directory(*top))) continue;
    found(finding_kind::quota, fmt::format("tree {:#x}", key.id),
          fmt::format("its top, inode {:#x}, is no directory", q.root), "removed");
    batch_.remove(column::quotas, saved_key(key));
  }
  return check_usage(now);
}

// After a server that did not count, and after repairs, the next start counts.
outcome<bool> check_pass::check_usage(const quota_table& now) {
  std::string counted;
  const kv_status s = kv_.get(column::meta, meta_counted, counted, read_mode::blocking);
  if (s == kv_status::failed) return unreadable_store("meta");
  if (s != kv_status::found || number_at(counted, 0) != boot_) return true;
  std::optional<quota_table::rows> right = counted_usage(kv_, now);
  if (!right) return unreadable_store("inodes");
  for (const auto& [key, q] : now.all()) (*right)[key];
  for (const auto& [key, q] : *right) {
    const saved_quota* had = now.find(key);
    saved_quota good = had == nullptr ? saved_quota{} : *had;
    if (good.blocks == q.blocks && good.inodes == q.inodes) continue;
    found(finding_kind::quota, fmt::format("{} {}", name_of(key.kind), key.id),
          fmt::format("{} blocks and {} inodes are counted, {} and {} are there", good.blocks,
                      good.inodes, q.blocks, q.inodes),
          "corrected");
    good.blocks = q.blocks, good.inodes = q.inodes;
    put_quotas({{key, good}}, batch_);
  }
  return true;
}

}  // namespace tangelo
