// core_metrics: what cores have counted of the way to their server, all cores of a mount together.
//
// It lies behind the header of the shared arena, in the header's page, where arenas of layout 4
// have zeros (op_metrics.h says why there). Written by the core that is attached; what a core had
// not told yet when it was killed (a fifth of a second of it) is not in here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/device.h"

namespace tangelo {

struct core_metrics {
  atomic_u64 connections_lost{0};   // that had been in use
  atomic_u64 calls_resent{0};       // on another connection
  atomic_u64 replays{0};            // changes made again after a restart of the server
  atomic_u64 replays_refused{0};    // ... that it refused: they are lost
  atomic_u64 stale_replies{0};      // answers that nobody waited for
  atomic_u64 log_lines_dropped{0};  // nobody took them in time
  atomic_u64 mismatches_healed{0};    // calls whose bytes did not fit, and did when moved again
  atomic_u64 mismatches_reported{0};  // ... that failed: bytes that did not fit
};

inline constexpr std::size_t core_metrics_offset = 64;
static_assert(sizeof(arena_header) <= core_metrics_offset);
static_assert(core_metrics_offset + sizeof(core_metrics) <= offsetof(shared_arena, core));

inline core_metrics& metrics_of(shared_arena& arena) noexcept {
  return *reinterpret_cast<core_metrics*>(reinterpret_cast<std::byte*>(&arena) +
                                          core_metrics_offset);
}
inline const core_metrics& metrics_of(const shared_arena& arena) noexcept {
  return *reinterpret_cast<const core_metrics*>(reinterpret_cast<const std::byte*>(&arena) +
                                                core_metrics_offset);
}

}  // namespace tangelo
