// cache_hints: may the kernel keep its cached pages of a file when it is opened again?
//
// Yes, if the server's change number is the one we saw last and every change since was our own
// (the idea of NFSv4's change_info). Forgetting costs a read, never correctness: a small
// direct-mapped table. Front end's loop thread only.
#pragma once

#include <array>
#include <cstdint>

namespace tangelo {

class cache_hints {
 public:
  // The file is opened and the server says it is at `change`; true: cached pages still hold.
  bool opened(std::uint64_t inode, std::uint64_t change) noexcept {
    entry& e = entries_[inode % entries_.size()];
    const bool same = e.inode == inode && e.change == change;
    e = {inode, change};
    return same;
  }
  // A write of ours took the file from `before` to `after`.
  void written(std::uint64_t inode, std::uint64_t before, std::uint64_t after) noexcept {
    entry& e = entries_[inode % entries_.size()];
    if (e.inode == inode && e.change == before) e.change = after;
  }

 private:
  struct entry {
    std::uint64_t inode = 0;
    std::uint64_t change = 0;
  };
  std::array<entry, 8192> entries_{};
};

}  // namespace tangelo
