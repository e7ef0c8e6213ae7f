// cache_hints: what may the kernel keep of a file when it is opened again?
//
// Its cached pages, if the server's change number is the one we saw last and every change since was
// our own (the idea of NFSv4's change_info). Its cached attributes, if those that it was given last
// are of that number. Forgetting costs a read, never correctness: small direct-mapped tables. Front
// end's loop thread only.
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

  // The kernel is given attributes of the file as they were at `change`.
  void told(std::uint64_t inode, std::uint64_t change) noexcept {
    told_[inode % told_.size()] = {inode, change};
  }
  // What the kernel has of the file's attributes is of `change`, for certain.
  bool knows(std::uint64_t inode, std::uint64_t change) const noexcept {
    const entry& e = told_[inode % told_.size()];
    return e.inode == inode && e.change == change;
  }

 private:
  struct entry {
    std::uint64_t inode = 0;
    std::uint64_t change = 0;
  };
  std::array<entry, 8192> entries_{};
  std::array<entry, 8192> told_{};
};

}  // namespace tangelo
