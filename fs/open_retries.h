// open_retries: opens that come again.
//
// A name that the kernel has from an earlier lookup may mean a file that is gone: another mount
// has removed or replaced it. Opening it has to fail with ESTALE; then the kernel looks every name
// of the path up again and opens what it finds. If that is gone, too, by the time the OPEN is there
// (somebody replaces the file all the time), the caller would see ESTALE. But it was found while
// the call was under way, and may be opened, as on a local disk. So may a removed file that comes
// again without any lookup: it was opened through /proc/self/fd.
//
// By the caller's thread; a small direct-mapped table, as forgetting costs an ESTALE, never
// correctness. Front end's loop thread only.
#pragma once

#include <array>
#include <cstdint>

namespace tangelo {

class open_retries {
 public:
  void refused(std::uint32_t pid, std::uint64_t inode) noexcept { place_of(pid) = {pid, inode}; }
  void looked_up(std::uint32_t pid, std::uint64_t inode) noexcept {
    entry& e = place_of(pid);
    if (e.pid == pid) e.inode = inode;
  }
  // Whether an OPEN is a second attempt, at what was found since the first; asked once.
  bool comes_again(std::uint32_t pid, std::uint64_t inode) noexcept {
    entry& e = place_of(pid);
    if (pid == 0 || e.pid != pid) return false;
    const bool again = e.inode == inode;
    e = {};
    return again;
  }

 private:
  struct entry {
    std::uint32_t pid = 0;
    std::uint64_t inode = 0;
  };
  entry& place_of(std::uint32_t pid) noexcept { return entries_[pid % entries_.size()]; }
  std::array<entry, 256> entries_{};
};

}  // namespace tangelo
