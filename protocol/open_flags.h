// open_flags: what open_call::open_flags has besides the caller's O_* flags.
#pragma once

#include <cstdint>

namespace tangelo {

// What is to be opened was found after an ESTALE, by the same system call: it is opened even if it
// has no name any more (fs/open_retries.h).
inline constexpr std::uint32_t open_again = 1u << 31;

}  // namespace tangelo
