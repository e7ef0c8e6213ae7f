// hidden_range: bytes of a file that are zero, though its object does not know it yet (volume.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/bytes.h"

namespace tangelo {

struct hidden_range {
  std::uint64_t from = 0, to = 0;
  // Of a file's bytes from `offset` on: those in the range are zero.
  void hide(mutable_byte_span bytes, std::uint64_t offset) const {
    for (std::uint64_t at = std::max(from, offset); at < std::min(to, offset + bytes.size()); ++at)
      bytes[at - offset] = std::byte{0};
  }
};

}  // namespace tangelo
