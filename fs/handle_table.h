// handle_table: the open files and directories of the mount, in the handle records of the arena.
//
// The front end chooses the numbers that kernel and server know a handle by; they are never used
// twice (sequence << 16 | index). A core that meets a restarted server re-claims from here what was
// open. Front end's loop thread only; allocates nothing after construction.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/device.h"

namespace tangelo {

class handle_table {
 public:
  explicit handle_table(fs_arena& arena);
  // Opens a handle; nothing when all are in use. `inode` may be set later.
  std::optional<std::uint64_t> open(std::uint64_t inode, std::uint32_t open_flags) noexcept;
  void set_inode(std::uint64_t handle, std::uint64_t inode) noexcept;
  // False for a number that names no open handle.
  bool close(std::uint64_t handle) noexcept;
  // The record of an open handle, or nullptr.
  const handle_cell* find(std::uint64_t handle) const noexcept;
  std::size_t open_count() const noexcept { return handle_count - free_.size(); }

 private:
  fs_arena& arena_;
  std::vector<std::uint16_t> free_;
};

}  // namespace tangelo
