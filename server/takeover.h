// takeover: taking a volume from a server that holds it and cannot be asked to stop.
//
// By an explicit command only, and only behind a fence: a command of the administrator's that makes
// sure that the holder writes nothing any more (it kills it, switches its machine off, takes its
// storage away) and says so by exit code 0. When the lock stays although its holder is gone - on a
// filesystem shared between machines - the lock generation is raised: others lock another file.
//
// Invariants:
//   1. Without a successful fence nothing is changed.
//   2. The lock generation is never raised while the holder runs on this machine.
//   3. One takeover of a volume at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/problem.h"
#include "server/volume_hold.h"

namespace tangelo {

enum class takeover_end : std::uint8_t {
  freed,     // the lock is free: a server can be started
  moved,     // another server has the volume already
  bypassed,  // the lock stayed: its generation was raised
};

struct takeover_report {
  takeover_end how{};
  volume_holder from;
  std::optional<volume_holder> to;    // of `moved`
  std::uint64_t lock_generation = 0;  // the one that is locked from now on
};

using fence = std::function<outcome<int>(const volume_holder& holder)>;  // its exit code

// Blocks: for the fence, then up to `wait_ms` for the lock.
outcome<takeover_report> take_over(const std::string& directory, const fence& run_fence,
                                   std::uint64_t wait_ms);
std::string text_of_takeover(const std::string& directory, const takeover_report& report);

}  // namespace tangelo
