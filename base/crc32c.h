// CRC32C (Castagnoli), by CPU instruction where there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace tangelo {

// The checksum of `bytes` after what `crc` already covers; 0 to begin with.
std::uint32_t crc32c(byte_span bytes, std::uint32_t crc = 0) noexcept;
// The checksums of the pieces of `size` bytes that `bytes` are made of; as many as `out` has room.
// Three at a time, which the instruction's latency hides: as fast as memory.
void crc32c_each(byte_span bytes, std::size_t size, std::span<std::uint32_t> out) noexcept;

}  // namespace tangelo
