// inode_ranges: which inode numbers which client may give to what it makes. The durable copies are
// in column::clients; this is the volume's memory of them. Loop thread only.
//
// Invariant: the ranges of one client do not overlap, those of two clients neither.
#pragma once

#include <cstdint>
#include <map>

#include "server/opens.h"

namespace tangelo {

class inode_ranges {
 public:
  void add(const client_key& client, std::uint64_t first, std::uint64_t count) {
    auto& ranges = of_[client];
    const auto next = ranges.upper_bound(first);
    if (next != ranges.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == first) {
        before->second += count;
        return;
      }
    }
    ranges.emplace(first, count);
  }
  bool contains(const client_key& client, std::uint64_t inode) const {
    const auto ranges = of_.find(client);
    if (ranges == of_.end()) return false;
    const auto next = ranges->second.upper_bound(inode);
    if (next == ranges->second.begin()) return false;
    const auto at = std::prev(next);
    return inode - at->first < at->second;
  }
  // As open_table::forget.
  void forget(const client_key& client, bool older_only) {
    auto at = of_.lower_bound(client_key{client.client_id, 0});
    while (at != of_.end() && at->first.client_id == client.client_id &&
           (at->first.incarnation < client.incarnation ||
            (!older_only && at->first.incarnation == client.incarnation)))
      at = of_.erase(at);
  }

 private:
  std::map<client_key, std::map<std::uint64_t, std::uint64_t>, client_less> of_;
};

}  // namespace tangelo
