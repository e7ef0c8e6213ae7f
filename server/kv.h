// kv_store: the ordered, transactional key-value store under a volume's metadata.
//
// A seam: rocks_kv.h is the real one, mem_kv.h the one of tests and of the simulator. The volume
// reads and writes on the loop thread; sync() runs on the commit thread, blocking reads on a pool
// thread (to warm the cache) or before the loop runs. An adapter must allow all of these at once.
//
// Invariants:
//   1. A batch is visible at once and whole. Nothing but sync() makes it durable: not the passing
//      of time, not the size of the store, not its closing. So what a batch relies on elsewhere can
//      be made durable before it. A sync() may take batches along that are written while it runs.
//   2. What survives a crash is a prefix of the batches in the order written, and holds at least
//      all that were written before the last successful sync() began.
//   3. A read with read_mode::cached never waits for the disk: it says would_block instead.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/errors.h"

namespace tangelo {

// Column families; the number is part of the format, never renumber.
enum class column : std::uint8_t {
  meta = 0,         // a few named values
  inodes = 1,       // inode -> inode_record
  dirents = 2,      // parent, name -> dirent_record
  cookies = 3,      // parent, cookie -> cookie_record
  xattrs = 4,       // inode, name -> value
  inline_data = 5,  // inode -> bytes of a small file, or a link's target
  redo = 6,         // transno, index -> redo_record
  clients = 7,      // client_id -> saved_client; client_id, first -> saved_range
  replies = 8,      // client_id, slot -> saved_reply
  orphans = 9,      // inode -> nothing: no link, but open
  audit = 10,       // client, slot, sequence -> transno (tests only)
  quotas = 11,      // kind, id -> saved_quota; tree, directory -> saved_walk (quotas.h)
  protection = 12,  // inode, group -> guard_group (block_guards.h)
  unguarded = 13,   // inode, region -> next block: its guards are to be made anew
};
inline constexpr std::size_t column_count = 14;

constexpr std::string_view name_of(column c) noexcept {
  switch (c) {
    using enum column;
    case meta: return "meta";
    case inodes: return "inodes";
    case dirents: return "dirents";
    case cookies: return "cookies";
    case xattrs: return "xattrs";
    case inline_data: return "inline_data";
    case redo: return "redo";
    case clients: return "clients";
    case replies: return "replies";
    case orphans: return "orphans";
    case audit: return "audit";
    case quotas: return "quotas";
    case protection: return "protection";
    case unguarded: return "unguarded";
  }
  return {};
}

// Whether ranges of its keys are removed as ranges, so that reading has to look for those.
constexpr bool loses_ranges(column c) noexcept { return c == column::protection; }

// Changes that become visible and durable together.
class kv_batch {
 public:
  struct change {
    column where{};
    bool removes = false;
    std::string key;
    std::string value;
    std::string until;  // of a removal: not only `key`, but all from it to before this
  };
  void put(column where, std::string key, std::string value) {
    changes_.push_back({where, false, std::move(key), std::move(value), {}});
  }
  void remove(column where, std::string key) {
    changes_.push_back({where, true, std::move(key), {}, {}});
  }
  // All keys from `from` to before `until`, of a column that loses_ranges().
  void remove_range(column where, std::string from, std::string until) {
    changes_.push_back({where, true, std::move(from), {}, std::move(until)});
  }
  bool empty() const noexcept { return changes_.empty(); }
  const std::vector<change>& changes() const noexcept { return changes_; }

 private:
  std::vector<change> changes_;
};

enum class kv_status : std::uint8_t { found, absent, would_block, failed };
enum class read_mode : std::uint8_t { cached, blocking };

class kv_store {
 public:
  // Returns false to end the scan.
  using visitor = std::function<bool(std::string_view key, std::string_view value)>;

  virtual ~kv_store() = default;
  virtual kv_status get(column where, std::string_view key, std::string& value,
                        read_mode mode) = 0;
  // Visits the keys from `from` to before `until` in order; `found` when it came to its end.
  virtual kv_status scan(column where, std::string_view from, std::string_view until,
                         read_mode mode, const visitor& visit) = 0;
  virtual error_code write(const kv_batch& batch) = 0;
  virtual error_code sync() = 0;
};

}  // namespace tangelo
