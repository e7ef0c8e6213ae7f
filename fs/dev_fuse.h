// dev_fuse: the real kernel behind kernel_port, and /proc behind caller_inspector.
#pragma once

#include "fs/credentials.h"
#include "fs/invalidator.h"
#include "fs/kernel_port.h"

namespace tangelo {

class dev_fuse final : public kernel_port {
 public:
  // `fd` stays the caller's; it is switched to non-blocking. `bell_fd`: an eventfd that is written
  // to when dropping has ended.
  dev_fuse(int fd, int bell_fd) noexcept;
  ssize_t read_request(mutable_byte_span head, mutable_byte_span tail) noexcept override;
  int write_reply(const iovec* parts, int count) noexcept override;
  int resend() noexcept override;
  void populate(mutable_byte_span bytes) noexcept override;
  bool forget_attributes(std::uint64_t inode) noexcept override;
  void drop_caches(std::span<const std::uint64_t> inodes) noexcept override;
  bool take_back(std::size_t place) noexcept override { return invalidator_.take_back(place); }
  bool is_dropping() const noexcept override { return invalidator_.is_busy(); }

 private:
  int fd_;
  invalidator invalidator_;
};

class proc_inspector final : public caller_inspector {
 public:
  bool is_being_killed(std::uint32_t tid) noexcept override;
  bool look_up(std::uint32_t tid, credential& who) noexcept override;

 private:
  // Reads it into status_; its size, or a negative errno.
  ssize_t read_status(std::uint32_t tid) noexcept;
  // Whether its user ids are ours, so that its capabilities are of our user namespace: only who may
  // become any user here can give the same ids to another one.
  static bool has_our_ids(std::uint32_t tid) noexcept;
  char status_[4096];
};

}  // namespace tangelo
