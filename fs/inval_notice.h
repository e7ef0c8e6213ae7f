// inval_notice: tells the kernel to forget what it caches of an inode.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "fs/fuse_abi.h"

namespace tangelo {

// Its attributes, and its pages from the byte `from` on (negative: none). 0 or -errno; -ENOENT: the
// kernel does not know the inode.
inline int write_inval_notice(int fuse_fd, std::uint64_t inode, std::int64_t from) noexcept {
  struct {
    fuse_out_header header{};
    fuse_notify_inval_inode_out body{};
  } notice;
  notice.header.len = sizeof notice;
  notice.header.error = FUSE_NOTIFY_INVAL_INODE;
  notice.body.ino = inode;
  notice.body.off = from;
  return ::write(fuse_fd, &notice, sizeof notice) < 0 ? -errno : 0;
}

}  // namespace tangelo
