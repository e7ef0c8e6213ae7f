// removed_inodes: directories, FIFOs, sockets and devices that were removed through this mount and
// that the kernel still knows: somebody may stand in one, or has it open, of which the kernel tells
// us nothing. The server keeps each under a handle, until the kernel forgets it; what is asked of
// it meanwhile has an answer.
//
// The truth is in the handle table; this finds a handle by its inode. Front end's loop thread only;
// allocates nothing after construction. What has no place here gets no handle: then it is gone at
// once, and its users see ESTALE.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "protocol/wire.h"

namespace tangelo {

// What may leave an inode here.
constexpr bool may_keep_removed(opcode op) noexcept {
  return op == opcode::unlink || op == opcode::rmdir || op == opcode::rename;
}

class removed_inodes {
 public:
  static constexpr std::size_t count_max = 1024;
  // The open flags of their handles.
  static constexpr std::uint32_t handle_flags = 0xd0000000;

  removed_inodes() { all_.reserve(count_max); }
  bool has_room() const noexcept { return all_.size() < count_max; }
  bool empty() const noexcept { return all_.empty(); }
  // A copy; for the start of a front end.
  std::vector<std::uint64_t> inodes() const {
    std::vector<std::uint64_t> out;
    for (const auto& entry : all_) out.push_back(entry.first);
    return out;
  }
  void add(std::uint64_t inode, std::uint64_t handle) noexcept {
    if (has_room()) all_.emplace_back(inode, handle);
  }
  // Its handle, which is not ours any more.
  std::optional<std::uint64_t> take(std::uint64_t inode) noexcept {
    for (auto& entry : all_) {
      if (entry.first != inode) continue;
      const std::uint64_t handle = entry.second;
      entry = all_.back();
      all_.pop_back();
      return handle;
    }
    return std::nullopt;
  }

 private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> all_;
};

}  // namespace tangelo
