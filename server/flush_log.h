// flush_log: what the in-memory stores flushed, and (noted by a test) what was answered, in order.
#pragma once

#include <cstdint>
#include <vector>

namespace tangelo {

struct flush_event {
  enum class kind : std::uint8_t { metadata, object, answer };
  kind what{};
  std::uint64_t number = 0;  // metadata: batches that are durable; object: inode; answer: transno
};
using flush_log = std::vector<flush_event>;

}  // namespace tangelo
