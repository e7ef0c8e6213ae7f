// quotas: what each user, each group and each tree of directories has in use, and may have.
//
// Usage is what the inode records add up to, nothing else: blocks as stat(2) shows them, and
// inodes, also those without a name that are still open. A transaction knows how its records
// change it (transaction::quota_changes), and that goes into the same batch. All records are in
// memory, so nothing here ever waits for the disk. Loop thread only.
//
// A tree has a number of its own, which is never used again (the transno that made it), and is
// carried by every inode in it. A number that is not in the table means no tree: so a tree is
// forgotten by taking its record away, and nobody has to visit its inodes.
//
// Usage is no dependency between clients (sharing.h): it may count what a crash takes back, and
// so may a refusal. What was answered is made again without being asked (volume_quota.cc).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "server/kv.h"
#include "server/records.h"

namespace tangelo {

// First byte of the key; never renumber.
enum class quota_kind : std::uint8_t { user = 1, group = 2, tree = 3 };
inline constexpr char walk_prefix = 4;  // target tree, directory -> saved_walk
constexpr std::string_view name_of(quota_kind k) noexcept {
  switch (k) {
    case quota_kind::user: return "user";
    case quota_kind::group: return "group";
    case quota_kind::tree: return "tree";
  }
  return {};
}

struct quota_key {
  quota_kind kind{};
  std::uint64_t id = 0;
  auto operator<=>(const quota_key&) const = default;
};
std::string saved_key(const quota_key& key);
std::optional<quota_key> quota_key_of(std::string_view saved);
std::string walk_key(std::uint64_t tree, std::uint64_t directory);

struct saved_quota {
  std::uint8_t version = record_version;
  std::uint8_t making = 0;  // of a tree: its inodes are being told; no limit counts yet
  std::uint64_t bytes_max = 0;  // 0: no limit
  std::uint64_t inodes_max = 0;
  std::uint64_t blocks = 0;  // in use
  std::uint64_t inodes = 0;
  std::uint64_t root = 0;  // of a tree: its directory

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.making), v(s.bytes_max), v(s.inodes_max), v(s.blocks), v(s.inodes);
    v(s.root);
  }
};

// How far the entries of a directory have been told which tree they are in.
struct saved_walk {
  std::uint8_t version = record_version;
  std::uint64_t cookie = 0;

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.cookie);
  }
};

struct quota_change {
  quota_key key;
  std::int64_t blocks = 0;
  std::int64_t inodes = 0;
};
// Who is charged for an inode; the tree is not looked up.
std::array<quota_key, 3> charged(const inode_record& r);
// Blocks of 512 bytes as stat(2) shows them.
std::uint64_t shown_blocks(const inode_record& r);

// A record as it is from now on; nothing: it goes.
struct quota_update {
  quota_key key;
  std::optional<saved_quota> now;
};

class quota_table {
 public:
  using rows = std::map<quota_key, saved_quota>;

  // Reads all of it; false: it cannot be read.
  bool load(kv_store& kv);
  const rows& all() const noexcept { return rows_; }
  const saved_quota* find(const quota_key& key) const;
  // `id`, or 0 when there is no such tree (any more).
  std::uint64_t live_tree(std::uint64_t id) const;
  bool is_making(std::uint64_t tree) const;

  // Whether this much more may be; what is reserved counts as used. `unlimited`: whom users' and
  // groups' limits do not hold.
  bool allows(const quota_change& more, bool unlimited) const;
  // Whether all who are charged for `r` use less than a sixteenth of what they may.
  bool is_far_from_limits(const inode_record& r) const;
  void reserve(const quota_key& key, std::uint64_t blocks);
  void release(const quota_key& key, std::uint64_t blocks);

  // What these lead to: `edits` first (of them only limits, root and making), then usage.
  std::vector<quota_update> updated(const std::vector<quota_change>& changes,
                                    const std::vector<quota_update>& edits) const;
  void apply(const std::vector<quota_update>& updates);

 private:
  rows rows_;
  std::map<quota_key, std::uint64_t> reserved_;  // blocks that writes under way may yet take
};
void put_quotas(const std::vector<quota_update>& updates, kv_batch& batch);

// Of every user, group and tree in `trees`, by a look at all inodes; nothing: cannot be read.
std::optional<quota_table::rows> counted_usage(kv_store& kv, const quota_table& trees);

}  // namespace tangelo
