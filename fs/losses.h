// losses: which open files and directories have to be told that changes of theirs were lost, and
// that each of them is told once.
//
// A change that was answered and is lost (an eviction, a replay that the server refused, a damaged
// record) is told by EIO at the next fsync of every file that was open then, at every close of one
// of its descriptors until then, and at the next fsync of a directory. The marks are in the arena:
// in the handle records, and in a small table for directories, which have no handles.
//
// Usage: note() for each lost change, then mark(). Front end's loop thread only; allocates nothing
// after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "fs/handle_table.h"
#include "protocol/device.h"

namespace tangelo {

class losses {
 public:
  losses(fs_arena& arena, handle_table& handles);

  void note(const replay_cell& lost) noexcept;
  // The store was set back: every file that is open may have lost what was durable.
  void note_all_files() noexcept;
  void note_file(std::uint64_t inode) noexcept { add(files_, inode); }
  // Marks what was noted, logs it, counts it. Doing it twice (by a successor) tells nobody twice.
  void mark() noexcept;

  // True if the open file was not told yet, or by this very request, which has come again. From
  // here on it is told.
  bool tell_file(std::uint64_t handle, std::uint64_t request_id) noexcept;
  // Has the open file not been told? The close of one of its descriptors says EIO then.
  bool has_untold(std::uint64_t handle) noexcept;
  bool has_lost_directory(std::uint64_t inode) const noexcept;
  // After the reply that said so.
  void directory_told(std::uint64_t inode) noexcept;

 private:
  struct lost_change {
    std::uint64_t inode;
    opcode op;
  };
  void add(std::vector<std::uint64_t>& to, std::uint64_t inode) noexcept;
  void mark_directory(std::uint64_t inode) noexcept;
  void log_changes() noexcept;

  fs_arena& arena_;
  handle_table& handles_;
  std::vector<std::uint64_t> files_;
  std::vector<std::uint64_t> directories_;
  std::vector<lost_change> changes_;
};

}  // namespace tangelo
