// CRC32C (Castagnoli), by CPU instruction where there is one.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tangelo {

// The checksum of `bytes` after what `crc` already covers; 0 to begin with.
std::uint32_t crc32c(byte_span bytes, std::uint32_t crc = 0) noexcept;

}  // namespace tangelo
