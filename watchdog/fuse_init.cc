#include "watchdog/fuse_init.h"

#include <algorithm>
#include <cstring>

namespace tangelo {

namespace {

constexpr std::uint64_t bit(long long value) noexcept {
  return static_cast<std::uint64_t>(value) & 0xffffffffffffffffu;
}

// What we accept of what the kernel offers; POSIX_LOCKS and FLOCK_LOCKS only without -o nolock:
// with it locks are the kernel's own, of this machine. Left out on purpose: ATOMIC_O_TRUNC (a
// truncation is an op of its own), SETXATTR_EXT (the server knows the caller's groups),
// EXPORT_SUPPORT, NO_OPENDIR_SUPPORT, splice, passthrough. WRITEBACK_CACHE only where the mount asks
// for it: with it, acknowledged does not mean executed by the server.
constexpr std::uint64_t wanted_flags =
    bit(FUSE_ASYNC_READ) | bit(FUSE_BIG_WRITES) | bit(FUSE_PARALLEL_DIROPS) |
    bit(FUSE_DO_READDIRPLUS) | bit(FUSE_READDIRPLUS_AUTO) | bit(FUSE_AUTO_INVAL_DATA) |
    bit(FUSE_ASYNC_DIO) | bit(FUSE_MAX_PAGES) | bit(FUSE_HANDLE_KILLPRIV_V2) |
    bit(FUSE_POSIX_ACL) | bit(FUSE_DONT_MASK) |
    bit(FUSE_CACHE_SYMLINKS) | bit(FUSE_INIT_EXT) | fuse_direct_io_allow_mmap | fuse_has_resend;
constexpr std::uint64_t lock_flags = bit(FUSE_POSIX_LOCKS) | bit(FUSE_FLOCK_LOCKS);

problem bad_init(const char* why) {
  return {exit_code::version, std::string("/dev/fuse: INIT: ") + why,
          "Tangelo needs a kernel with FUSE 7.31 or newer (Linux 5.4)"};
}

}  // namespace

outcome<init_reply> answer_init(byte_span request, const cache_policy& caching, bool locks) {
  constexpr std::size_t size_min = sizeof(fuse_in_header) + 16;
  if (request.size() < size_min) return failure{bad_init("the request is too short")};
  fuse_in_header head{};
  std::memcpy(&head, request.data(), sizeof head);
  fuse_init_in in{};
  std::memcpy(&in, request.data() + sizeof head,
              std::min(sizeof in, request.size() - sizeof head));
  if (head.opcode != FUSE_INIT) return failure{bad_init("the first request is another one")};
  if (in.major != FUSE_KERNEL_VERSION || in.minor < fuse_minor_min)
    return failure{bad_init("the kernel's version is not ours")};

  const bool extended = (in.flags & bit(FUSE_INIT_EXT)) != 0;
  const std::uint64_t wanted = wanted_flags |
                               (caching.writeback ? bit(FUSE_WRITEBACK_CACHE) : 0) |
                               (locks ? lock_flags : 0);
  const std::uint64_t agreed = init_flags(in.flags, extended ? in.flags2 : 0) & wanted;
  init_reply reply{};
  reply.header.len = sizeof reply;
  reply.header.unique = head.unique;
  reply.body.major = FUSE_KERNEL_VERSION;
  reply.body.minor = std::min(in.minor, fuse_minor_max);
  reply.body.max_readahead = std::min(in.max_readahead, fuse_write_size_max);
  reply.body.flags = static_cast<std::uint32_t>(agreed);
  reply.body.flags2 = static_cast<std::uint32_t>(agreed >> 32);
  reply.body.max_background = 512;
  reply.body.congestion_threshold = 384;
  reply.body.max_write = fuse_write_size_max;
  reply.body.time_gran = 1;
  reply.body.max_pages = fuse_page_count_max;
  return reply;
}

}  // namespace tangelo
