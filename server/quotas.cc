#include "server/quotas.h"

#include <sys/stat.h>

namespace tangelo {

namespace {

constexpr std::uint64_t block_size = 512;

std::uint64_t moved_by(std::uint64_t n, std::int64_t by) {
  const auto less = static_cast<std::uint64_t>(-by);
  if (by < 0) return n < less ? 0 : n - less;
  return n + static_cast<std::uint64_t>(by);
}

bool is_nothing(const quota_key& key, const saved_quota& q) {
  return key.kind != quota_kind::tree && q.bytes_max == 0 && q.inodes_max == 0 && q.blocks == 0 &&
         q.inodes == 0;
}

}  // namespace

std::string saved_key(const quota_key& key) {
  std::string out(1, static_cast<char>(key.kind));
  append_number(out, key.id);
  return out;
}

std::optional<quota_key> quota_key_of(std::string_view saved) {
  if (saved.size() != 1 + sizeof(std::uint64_t)) return std::nullopt;
  const auto kind = static_cast<quota_kind>(saved.front());
  if (name_of(kind).empty()) return std::nullopt;
  return quota_key{kind, number_at(saved, 1)};
}

std::string walk_key(std::uint64_t tree, std::uint64_t directory) {
  std::string out(1, walk_prefix);
  append_number(out, tree);
  append_number(out, directory);
  return out;
}

std::array<quota_key, 3> charged(const inode_record& r) {
  return {quota_key{quota_kind::user, r.uid}, quota_key{quota_kind::group, r.gid},
          quota_key{quota_kind::tree, r.tree}};
}

std::uint64_t shown_blocks(const inode_record& r) {
  if (!S_ISREG(r.mode) || (r.flags & inode_flag::object) != 0) return r.blocks;
  return r.size == 0 || (r.flags & inode_flag::hole) != 0 ? 0 : 8;
}

bool quota_table::load(kv_store& kv) {
  rows_.clear();
  const kv_status s = kv.scan(column::quotas, {}, std::string(1, walk_prefix), read_mode::blocking,
                              [this](std::string_view key, std::string_view value) {
                                const std::optional<quota_key> k = quota_key_of(key);
                                const auto q = unpacked<saved_quota>(value);
                                if (k && q) rows_[*k] = *q;
                                return true;
                              });
  return s == kv_status::found;
}

const saved_quota* quota_table::find(const quota_key& key) const {
  const auto at = rows_.find(key);
  return at == rows_.end() ? nullptr : &at->second;
}

std::uint64_t quota_table::live_tree(std::uint64_t id) const {
  return id != 0 && rows_.contains({quota_kind::tree, id}) ? id : 0;
}

bool quota_table::is_making(std::uint64_t tree) const {
  const saved_quota* q = find({quota_kind::tree, tree});
  return q != nullptr && q->making != 0;
}

bool quota_table::allows(const quota_change& more, bool unlimited) const {
  const saved_quota* q = find(more.key);
  if (q == nullptr || q->making != 0) return true;
  if (unlimited && more.key.kind != quota_kind::tree) return true;
  if (more.inodes > 0 && q->inodes_max != 0 && moved_by(q->inodes, more.inodes) > q->inodes_max)
    return false;
  if (more.blocks <= 0 || q->bytes_max == 0) return true;
  const auto at = reserved_.find(more.key);
  const std::uint64_t reserved = at == reserved_.end() ? 0 : at->second;
  return moved_by(q->blocks + reserved, more.blocks) <= q->bytes_max / block_size;
}

bool quota_table::is_far_from_limits(const inode_record& r) const {
  constexpr std::uint64_t far = 16;
  for (const quota_key& key : charged(r)) {
    const saved_quota* q = find(key);
    if (q == nullptr) continue;
    if (q->inodes_max != 0 && q->inodes > q->inodes_max / far) return false;
    if (q->bytes_max != 0 && q->blocks > q->bytes_max / block_size / far) return false;
  }
  return true;
}

void quota_table::reserve(const quota_key& key, std::uint64_t blocks) {
  if (find(key) != nullptr) reserved_[key] += blocks;
}

void quota_table::release(const quota_key& key, std::uint64_t blocks) {
  const auto at = reserved_.find(key);
  if (at == reserved_.end()) return;
  if (at->second <= blocks)
    reserved_.erase(at);
  else
    at->second -= blocks;
}

std::vector<quota_update> quota_table::updated(const std::vector<quota_change>& changes,
                                               const std::vector<quota_update>& edits) const {
  std::map<quota_key, std::optional<saved_quota>> now;
  for (const quota_update& e : edits) {
    const saved_quota* q = find(e.key);
    std::optional<saved_quota>& fresh = now[e.key];
    fresh = e.now;
    if (fresh) fresh->blocks = q == nullptr ? 0 : q->blocks;
    if (fresh) fresh->inodes = q == nullptr ? 0 : q->inodes;
  }
  for (const quota_change& c : changes) {
    auto at = now.find(c.key);
    if (at == now.end()) {
      const saved_quota* q = find(c.key);
      if (q == nullptr && c.key.kind == quota_kind::tree) continue;  // no tree, or one no more
      at = now.emplace(c.key, q == nullptr ? saved_quota{} : *q).first;
    }
    if (!at->second) continue;
    at->second->blocks = moved_by(at->second->blocks, c.blocks);
    at->second->inodes = moved_by(at->second->inodes, c.inodes);
  }
  std::vector<quota_update> out;
  for (auto& [key, q] : now) {
    if (q && is_nothing(key, *q)) q.reset();
    out.push_back({key, q});
  }
  return out;
}

void quota_table::apply(const std::vector<quota_update>& updates) {
  for (const quota_update& u : updates) {
    if (u.now)
      rows_[u.key] = *u.now;
    else
      rows_.erase(u.key);
  }
}

void put_quotas(const std::vector<quota_update>& updates, kv_batch& batch) {
  for (const quota_update& u : updates) {
    if (u.now)
      batch.put(column::quotas, saved_key(u.key), packed(*u.now));
    else
      batch.remove(column::quotas, saved_key(u.key));
  }
}

std::optional<quota_table::rows> counted_usage(kv_store& kv, const quota_table& trees) {
  quota_table::rows out;
  for (const auto& [key, q] : trees.all())
    if (key.kind == quota_kind::tree) out[key];
  const kv_status s = kv.scan(column::inodes, {}, {}, read_mode::blocking,
                              [&out](std::string_view, std::string_view value) {
                                const auto r = unpacked<inode_record>(value);
                                if (!r) return true;
                                for (const quota_key& key : charged(*r)) {
                                  const bool is_tree = key.kind == quota_kind::tree;
                                  if (is_tree && !out.contains(key)) continue;
                                  saved_quota& q = out[key];
                                  q.blocks += shown_blocks(*r);
                                  ++q.inodes;
                                }
                                return true;
                              });
  if (s != kv_status::found) return std::nullopt;
  return out;
}

}  // namespace tangelo
