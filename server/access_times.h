// access_times: when files were last read, as far as the store does not say it yet. Loop thread
// only.
//
// A read makes no transaction of its own: its time stands here, shows in every answer, and goes
// into the store with others, some seconds later (volume_access.cc). A crash forgets it. By the
// rule of relatime a file that is read often is noted once a day, or once after each change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include "server/records.h"

namespace tangelo {

class access_times {
 public:
  void note(std::uint64_t inode, std::int64_t time_ns) { times_[inode] = time_ns; }
  // What the inode's atime is, of which the record says `saved_ns`.
  std::int64_t of(std::uint64_t inode, std::int64_t saved_ns) const {
    const auto at = times_.find(inode);
    return at == times_.end() ? saved_ns : at->second;
  }
  // It was set, or it is saved: if it is still this one.
  void forget(std::uint64_t inode) { times_.erase(inode); }
  void saved(std::uint64_t inode, std::int64_t time_ns) {
    const auto at = times_.find(inode);
    if (at != times_.end() && at->second == time_ns) times_.erase(at);
  }
  const std::unordered_map<std::uint64_t, std::int64_t>& all() const { return times_; }

  // Whether a read at `now_ns` moves it.
  static bool is_due(std::int64_t atime_ns, const inode_record& r, std::int64_t now_ns) {
    constexpr std::int64_t day_ns = std::int64_t{86'400} * 1'000'000'000;
    return atime_ns <= std::max(r.mtime_ns, r.ctime_ns) || now_ns - day_ns >= atime_ns;
  }

 private:
  std::unordered_map<std::uint64_t, std::int64_t> times_;
};

}  // namespace tangelo
