// stale_caches: the files whose pages and attributes the kernel has still to drop, because the
// server no longer stands for them, and when it is safe to tell it so.
//
// The kernel drops a page when it has its lock, and holds the lock of a page that it reads or
// writes until we answer. A thread that waits for it there cannot be killed, and keeps /dev/fuse
// open: while the server is away, that would leave a mount that has lost all its processes without
// an end. So the kernel is never told of a file
//   - that has a data op under way: it comes when the op has ended, or with the next batch;
//   - while there are requests that we have not read: we do not know what is under way then;
//   - that may have been mapped and written to, as long as the server is not there: the kernel
//     writes such pages back first, and waits for that.
// What is left is a request of the moment between our look and the kernel's. Reading what is
// postponed asks the server first: attributes are not valid for longer than the lease.
//
// Front end's loop thread only; allocates nothing after construction. Each look() does a bounded
// amount.
//
// Invariants:
//   1. invalidation.done follows wanted only when the kernel has been told of every file that was
//      open when wanted grew.
//   2. A file is in the list, in the batch that is being dropped, or done.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "fs/handle_table.h"
#include "fs/kernel_port.h"
#include "protocol/device.h"

namespace tangelo {

class stale_caches {
 public:
  stale_caches(fs_arena& arena, kernel_port& kernel, const handle_table& handles);

  // All that the kernel has cached of the open files is stale from here on.
  void want() noexcept;
  // Only of this one, which is open. (Should we die before it is told: reading asks the server.)
  void want(std::uint64_t inode) noexcept;
  // An op has begun, and ended; also those of a predecessor.
  void op_begins(const op_cell& op) noexcept;
  void op_ends(const op_cell& op) noexcept;
  // Tells the kernel of what may be told now. `all_read`: no request waits to be read;
  // `server_there`: what the kernel writes back will be answered. True: there is more to look at.
  bool look(bool all_read, bool server_there) noexcept;

 private:
  static constexpr std::size_t looks_per_turn = 1024;
  static constexpr std::size_t counter_count = 65536;
  struct stale_file {
    std::uint64_t inode = 0;
    bool may_be_dirty = false;
  };
  struct batch_file {
    stale_file file;
    bool taken_back = false;
  };
  void list_all() noexcept;
  void end_batch() noexcept;
  bool may_drop(const stale_file& f) const noexcept;
  std::uint16_t& busy(std::uint64_t inode) noexcept { return busy_[place_of(inode)]; }
  static std::size_t place_of(std::uint64_t inode) noexcept;

  fs_arena& arena_;
  kernel_port& kernel_;
  const handle_table& handles_;
  std::vector<stale_file> list_;
  std::size_t next_ = 0;     // in the list: to be looked at next
  std::size_t refused_ = 0;  // in a row: all of the list, and looking again is useless
  std::array<batch_file, drop_batch_max> batch_{};
  std::size_t batch_size_ = 0;
  // Data ops under way, by a hash of their inode: two files that share a counter wait for each
  // other, no more.
  std::vector<std::uint16_t> busy_;
  std::uint64_t listed_for_ = 0;  // invalidation.wanted when the list was made
  bool server_there_ = false;
};

}  // namespace tangelo
