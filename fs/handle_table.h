// handle_table: the open files and directories of the mount, in the handle records of the arena.
//
// The front end chooses the numbers that kernel and server know a handle by; they are never used
// twice (sequence << 16 | index). A core that meets a restarted server re-claims from here what was
// open. A handle is `opening` until the op that opens it is answered, so that a new front end can
// tell those that no op and no application knows. Directories need no handle: nothing is kept for
// them. Front end's loop thread only; allocates nothing after construction.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/device.h"
#include "protocol/records.h"

namespace tangelo {

class handle_table {
 public:
  explicit handle_table(fs_arena& arena);
  // A handle that is opening; nothing when all are in use. `inode` may be set later.
  std::optional<std::uint64_t> open(std::uint64_t inode, std::uint32_t open_flags) noexcept;
  void set_inode(std::uint64_t handle, std::uint64_t inode) noexcept;
  // It is open.
  void confirm(std::uint64_t handle) noexcept;
  // Closes it if it is opening still.
  void close_unconfirmed(std::uint64_t handle) noexcept;
  // It belongs to a release: nothing uses it any more, and nothing will.
  void begin_close(std::uint64_t handle) noexcept;
  // False for a number that names no open handle.
  bool close(std::uint64_t handle) noexcept;
  // The record of an open handle, or nullptr.
  const handle_cell* find(std::uint64_t handle) const noexcept;
  std::size_t open_count() const noexcept { return handle_count - free_.size(); }

  // Marks every handle whose inode is in `inodes` (sorted): changes of it were lost. How many.
  std::size_t mark_lost(const std::vector<std::uint64_t>& inodes) noexcept;
  enum class telling : std::uint8_t {
    nothing,  // there is no loss that this handle was not told
    first,    // it is told now, by the request with this id
    again,    // it was told by the same request, which has come again
  };
  telling tell_loss(std::uint64_t handle, std::uint64_t request_id) noexcept;
  // Calls f(cell) for each handle that is not free.
  template <class F>
  void for_each_in_use(F f) const noexcept {
    for (std::uint32_t i = 0; i < used_end_; ++i) {
      const control_word w = control_of(arena_.handles[i]);
      if (w.state != static_cast<std::uint8_t>(handle_state::free))
        f(arena_.handles[i].cells[w.cell]);
    }
  }

  // Calls f(handle) for each that is opening.
  template <class F>
  void for_each_opening(F f) const noexcept {
    for (std::uint32_t i = 0; i < used_end_; ++i) {
      const control_word w = control_of(arena_.handles[i]);
      if (w.state == static_cast<std::uint8_t>(handle_state::opening))
        f(arena_.handles[i].cells[w.cell].handle);
    }
  }

 private:
  void rewrite(handle_slot& slot, handle_cell& cell) noexcept;

  fs_arena& arena_;
  std::vector<std::uint16_t> free_;
  std::uint32_t used_end_ = 0;  // records at and above it were never used
};

}  // namespace tangelo
