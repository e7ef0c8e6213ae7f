// figures: the metrics of an arena (protocol/op_metrics.h) as plain values, and what follows from
// two looks at them.
//
// Command line only. Nothing in an arena is believed: numbers are shown, never used as indexes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "protocol/arena.h"
#include "protocol/core_metrics.h"
#include "protocol/op_metrics.h"
#include "protocol/op_state.h"

namespace tangelo {

struct op_row {
  std::uint64_t started = 0;
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
};
struct latency_row {
  std::uint64_t sum_ns = 0;
  std::array<std::uint64_t, latency_bucket_count> buckets{};
};
struct op_figures {
  std::array<op_row, metric_opcode_count> ops{};
  std::array<latency_row, op_class_count> latencies{};
  std::uint64_t io_errors = 0;
  std::uint64_t log_lines_dropped = 0;
};
op_figures figures_of(const fs_arena& arena);
struct core_figures {
  std::uint64_t connections_lost = 0;
  std::uint64_t calls_resent = 0;
  std::uint64_t replays = 0;
  std::uint64_t replays_refused = 0;
  std::uint64_t stale_replies = 0;
  std::uint64_t log_lines_dropped = 0;
  std::uint64_t mismatches_healed = 0;
  std::uint64_t mismatches_reported = 0;
};
core_figures figures_of(const shared_arena& arena);
// What was counted between the two; 0 where the later number is the smaller one (another mount).
op_figures difference(const op_figures& later, const op_figures& earlier);

std::uint64_t count_of(const latency_row& row);
// The time within which this part of them was answered, as well as the buckets tell it; 0 of none.
std::uint64_t quantile_ns(const latency_row& row, double part);

// Ops that have not ended.
inline constexpr std::size_t op_state_count = 6;
struct op_summary {
  std::array<std::uint64_t, op_state_count> by_state{};
  std::uint64_t oldest_ns = 0;  // age
};
op_summary summary_of(const fs_arena& arena, std::uint64_t now_ns);

}  // namespace tangelo
