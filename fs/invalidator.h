// invalidator: the one thread that tells the kernel to drop what it has cached of a few inodes.
//
// Writing FUSE_NOTIFY_INVAL_INODE waits for pages that are locked, and those may wait for an answer
// of the front end's loop: so it is never done there. What may be told without waiting for long is
// decided elsewhere (stale_caches.h). The thread may stand in the kernel for ever; nobody waits for
// it, and it ends with the process.
//
// begin(), take_back() and is_busy() belong to the loop's thread; begin() only while not busy. They
// allocate nothing and wait for nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace tangelo {

class invalidator {
 public:
  // Starts the thread, with duplicates of the descriptors. `bell_fd`, an eventfd, is written to at
  // the end of each batch.
  invalidator(int fuse_fd, int bell_fd) noexcept;
  ~invalidator();
  invalidator(const invalidator&) = delete;
  invalidator& operator=(const invalidator&) = delete;

  // At most drop_batch_max inodes; they are copied.
  void begin(std::span<const std::uint64_t> inodes) noexcept;
  // Leaves out the inode at this place of the batch; false: the kernel has been told of it.
  bool take_back(std::size_t place) noexcept;
  bool is_busy() const noexcept;

 private:
  struct shared_state;
  // Shared with the thread, which may outlive us.
  std::shared_ptr<shared_state> state_;
};

}  // namespace tangelo
