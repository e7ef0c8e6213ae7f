// The kernel's FUSE ABI: <linux/fuse.h>, and what the header of Debian 12 (protocol 7.38) lacks.
#pragma once

#include <linux/fuse.h>

#include <cstdint>

namespace tangelo {

inline constexpr std::uint32_t fuse_opcode_tmpfile = 51;  // protocol 7.37
inline constexpr std::uint32_t fuse_opcode_statx = 52;  // protocol 7.39
inline constexpr std::uint32_t fuse_opcode_copy_range_64 = 53;  // protocol 7.45
inline constexpr std::int32_t fuse_notify_resend = 7;     // protocol 7.40
inline constexpr std::uint32_t fuse_has_resend_flag2 = 1u << (39 - 32);  // in fuse_init_out.flags2
inline constexpr std::uint32_t fuse_direct_maps_flag2 = 1u << (36 - 32);  // protocol 7.39

struct fuse_statx_request {
  std::uint32_t getattr_flags;
  std::uint32_t reserved;
  std::uint64_t fh;
  std::uint32_t sx_flags;
  std::uint32_t sx_mask;
};

struct fuse_statx_time {
  std::int64_t tv_sec;
  std::uint32_t tv_nsec;
  std::int32_t reserved;
};

struct fuse_statx_reply {
  std::uint64_t attr_valid;
  std::uint32_t attr_valid_nsec;
  std::uint32_t flags;
  std::uint64_t spare[2];
  std::uint32_t mask;
  std::uint32_t blksize;
  std::uint64_t attributes;
  std::uint32_t nlink;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint16_t mode;
  std::uint16_t spare0;
  std::uint64_t ino;
  std::uint64_t size;
  std::uint64_t blocks;
  std::uint64_t attributes_mask;
  fuse_statx_time atime;
  fuse_statx_time btime;
  fuse_statx_time ctime;
  fuse_statx_time mtime;
  std::uint32_t rdev_major;
  std::uint32_t rdev_minor;
  std::uint32_t dev_major;
  std::uint32_t dev_minor;
  std::uint64_t spare2[14];
};
static_assert(sizeof(fuse_statx_reply) == 32 + 256);

}  // namespace tangelo
