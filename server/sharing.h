// sharing: which changes are not committed yet, and whose they are. An answer that is built upon
// such a change of another client is held until it is committed, so that nobody ever relies on what
// a crash could take back, and nobody's replay has to wait for another's.
//
// What is changed or looked at has a key: a name in a directory, or one aspect of an inode. The
// times of a directory, link counts and sizes commute: they change `shown` alone, at which only an
// answer with attributes looks. So two clients that make different names in one directory do not
// wait for each other. Loop thread only.
//
//   aspect       changed by                                     looked at by
//   name         the making or removal of this name             whoever asks for it, found or not
//   names        any of the names of a directory                readdir, rmdir of it
//   life         mode, owner, parent, xattrs, first name, last  whoever uses the inode at all
//   data         writing, change of size                        reading, writing
//   shown        everything of the inode but its bytes          answers with attributes
//
// Invariants:
//   1. Marks are in the order of their batches (numbers from 1, in the order written).
//   2. A client never waits for its own change, but for what this change itself had to wait for.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rdma/service.h"

namespace tangelo {

enum class aspect : std::uint8_t { name, names, life, data, shown };

struct share_key {
  aspect what{};
  std::uint64_t inode = 0;
  std::uint64_t name_hash = 0;  // two names with one hash wait for each other needlessly
  bool operator==(const share_key&) const = default;
};
inline share_key key_of_name(std::uint64_t directory, std::string_view name) {
  return {aspect::name, directory, std::hash<std::string_view>{}(name)};
}

class sharing {
 public:
  // `client` has changed this with batch `written`, and was to wait for batch `built_on` itself.
  void changed(const share_key& key, const client_key& client, std::uint64_t written,
               std::uint64_t built_on) {
    mark& m = marks_[key];
    if (m.client != client && m.foreign < m.written) m.foreign = m.written;
    if (m.foreign < built_on) m.foreign = built_on;
    m.client = client;
    m.written = written;
    order_.emplace_back(written, key);
  }
  // The batch that must be committed before `client` may learn of these; 0: none.
  std::uint64_t must_wait_for(const client_key& client,
                              const std::vector<share_key>& keys) const {
    std::uint64_t written = 0;
    if (marks_.empty()) return 0;
    for (const share_key& key : keys) {
      const auto at = marks_.find(key);
      if (at == marks_.end()) continue;
      const mark& m = at->second;
      const std::uint64_t needed = m.client == client ? m.foreign : m.written;
      if (needed > written) written = needed;
    }
    return written;
  }
  void committed(std::uint64_t written) {
    while (!order_.empty() && order_.front().first <= written) {
      const auto at = marks_.find(order_.front().second);
      if (at != marks_.end() && at->second.written <= written) marks_.erase(at);
      order_.pop_front();
    }
  }

 private:
  struct mark {
    std::uint64_t written = 0;  // the last batch that changed it
    std::uint64_t foreign = 0;  // the last batch that `client` itself has to wait for
    client_key client;          // whose the last batch is
  };
  struct key_hash {
    std::size_t operator()(const share_key& k) const noexcept {
      std::uint64_t h = k.inode * 0x9e3779b97f4a7c15u;
      h ^= k.name_hash + static_cast<std::uint64_t>(k.what) + (h << 6) + (h >> 2);
      return static_cast<std::size_t>(h);
    }
  };
  std::unordered_map<share_key, mark, key_hash> marks_;
  std::deque<std::pair<std::uint64_t, share_key>> order_;
};

}  // namespace tangelo
