// kernel_port: the seam between the front end and the kernel, so that the simulator can be one.
//
// Loop thread only. A request is read in two pieces: the first receive_head_size bytes (for a
// WRITE exactly its two headers) into `head`, the rest into `tail`, which is a data slot: so a
// large write's bytes arrive in the place from which they are sent.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "protocol/ops.h"

namespace tangelo {

// Files whose caches are dropped at a time.
inline constexpr std::size_t drop_batch_max = 64;

class kernel_port {
 public:
  virtual ~kernel_port() = default;
  // Bytes of the request, -EAGAIN when there is none, -ENODEV when the mount is gone, or another
  // negative errno. Never waits.
  virtual ssize_t read_request(mutable_byte_span head, mutable_byte_span tail) noexcept = 0;
  // Answers; 0 or a negative errno (-ENOENT: the caller has been let go by the kernel).
  virtual int write_reply(const iovec* parts, int count) noexcept = 0;
  // FUSE_NOTIFY_RESEND: all requests that were read and not answered come again, before any new
  // one, under new ids (protocol/device.h, resent_id); the old ids are dead. 0 or a negative errno.
  virtual int resend() noexcept = 0;
  // What the kernel has of the attributes of a file is stale: it asks for them when it needs them
  // next. Never waits, if there is a request for the file that we have not answered (so that the
  // kernel is not about to forget it).
  // False: the kernel knows no such inode.
  virtual bool forget_attributes(std::uint64_t inode) noexcept = 0;
  // Makes sure that `bytes` are in memory and in our page table. Without that a SIGKILL can cut the
  // kernel's copy from or to them in the middle, and the kernel then fails the request with EIO.
  virtual void populate(mutable_byte_span bytes) noexcept = 0;
  // Makes the kernel drop what it has cached of these files' data and attributes
  // (FUSE_NOTIFY_INVAL_INODE), drop_batch_max at most. That may wait for pages which wait for us,
  // so another thread does it, until is_dropping() says false. Not to be called while it does.
  virtual void drop_caches(std::span<const std::uint64_t> inodes) noexcept = 0;
  // The file at this place of the batch is not to be dropped; false: the kernel has been told.
  virtual bool take_back(std::size_t place) noexcept = 0;
  virtual bool is_dropping() const noexcept = 0;
};

// What the front end has to know about a process of the application.
class caller_inspector {
 public:
  virtual ~caller_inspector() = default;
  // True if a signal that ends thread `tid` is pending, or it is gone.
  virtual bool is_being_killed(std::uint32_t tid) noexcept = 0;
  // Adds the groups and powers of thread `tid`, whose uid and gid are those of `who`; false when
  // they cannot be told. CAP_SYS_ADMIN counts in our user namespace only.
  virtual bool look_up(std::uint32_t, credential&) noexcept { return false; }
};

}  // namespace tangelo
