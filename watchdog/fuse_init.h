// fuse_init: what is agreed with the kernel when a mount begins (FUSE_INIT).
//
// The watchdog alone answers INIT, once per mount, and saves request and reply in the arena; every
// front end is later told what was agreed by feeding it the saved pair. Pure functions over bytes.
//
// Debian 12's <linux/fuse.h> is ABI 7.38; what newer kernels offer and we use is defined here.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/problem.h"
#include "protocol/policy.h"

namespace tangelo {

// ABI 7.39: a file opened for direct I/O may be mapped.
inline constexpr std::uint64_t fuse_direct_io_allow_mmap = std::uint64_t{1} << 36;
// ABI 7.40: FUSE_NOTIFY_RESEND is understood.
inline constexpr std::uint64_t fuse_has_resend = std::uint64_t{1} << 39;

inline constexpr std::uint32_t fuse_minor_max = 40;
inline constexpr std::uint32_t fuse_minor_min = 31;  // kernel 5.4
inline constexpr std::uint32_t fuse_write_size_max = 1u << 20;
inline constexpr std::uint16_t fuse_page_count_max = 256;

struct init_reply {
  fuse_out_header header;
  fuse_init_out body;
};
static_assert(sizeof(init_reply) == 16 + 64);

// `request` is what was read from /dev/fuse: fuse_in_header and fuse_init_in, which older kernels
// send shorter. `locks` false: they are the kernel's own.
outcome<init_reply> answer_init(byte_span request, const cache_policy& caching, bool locks = true);

// All flags of an INIT request or reply, both halves.
constexpr std::uint64_t init_flags(std::uint32_t flags, std::uint32_t flags2) noexcept {
  return std::uint64_t{flags} | std::uint64_t{flags2} << 32;
}

}  // namespace tangelo
