#include "cli/figures.h"

#include <algorithm>

#include "protocol/records.h"

namespace tangelo {

namespace {

std::uint64_t look(const atomic_u64& counter) { return counter.load(std::memory_order_relaxed); }

std::uint64_t grown(std::uint64_t later, std::uint64_t earlier) {
  return later > earlier ? later - earlier : 0;
}

}  // namespace

op_figures figures_of(const fs_arena& arena) {
  const op_metrics& m = metrics_of(arena);
  op_figures f;
  for (std::size_t i = 0; i < metric_opcode_count; ++i)
    f.ops[i] = {look(m.ops[i].started), look(m.ops[i].answered), look(m.ops[i].failed),
                look(m.ops[i].bytes)};
  for (std::size_t i = 0; i < op_class_count; ++i) {
    f.latencies[i].sum_ns = look(m.latencies[i].sum_ns);
    for (std::size_t k = 0; k < latency_bucket_count; ++k)
      f.latencies[i].buckets[k] = look(m.latencies[i].buckets[k]);
  }
  f.io_errors = look(m.io_errors);
  f.log_lines_dropped = look(m.log_lines_dropped);
  return f;
}

core_figures figures_of(const shared_arena& arena) {
  const core_metrics& m = metrics_of(arena);
  return {look(m.connections_lost), look(m.calls_resent),  look(m.replays),
          look(m.replays_refused),  look(m.stale_replies), look(m.log_lines_dropped),
          look(m.mismatches_healed), look(m.mismatches_reported)};
}

op_figures difference(const op_figures& later, const op_figures& earlier) {
  op_figures d;
  for (std::size_t i = 0; i < metric_opcode_count; ++i)
    d.ops[i] = {grown(later.ops[i].started, earlier.ops[i].started),
                grown(later.ops[i].answered, earlier.ops[i].answered),
                grown(later.ops[i].failed, earlier.ops[i].failed),
                grown(later.ops[i].bytes, earlier.ops[i].bytes)};
  for (std::size_t i = 0; i < op_class_count; ++i) {
    d.latencies[i].sum_ns = grown(later.latencies[i].sum_ns, earlier.latencies[i].sum_ns);
    for (std::size_t k = 0; k < latency_bucket_count; ++k)
      d.latencies[i].buckets[k] =
          grown(later.latencies[i].buckets[k], earlier.latencies[i].buckets[k]);
  }
  d.io_errors = grown(later.io_errors, earlier.io_errors);
  return d;
}

std::uint64_t count_of(const latency_row& row) {
  std::uint64_t n = 0;
  for (const std::uint64_t b : row.buckets) n += b;
  return n;
}

std::uint64_t quantile_ns(const latency_row& row, double part) {
  const auto wanted = part * static_cast<double>(count_of(row));
  if (wanted <= 0) return 0;
  double below = 0;
  for (std::size_t k = 0; k < latency_bucket_count; ++k) {
    const auto here = static_cast<double>(row.buckets[k]);
    const std::uint64_t from_us = k == 0 ? 0 : latency_limit_us(k - 1);
    if (k + 1 == latency_bucket_count) return from_us * 1000;
    if (here > 0 && below + here >= wanted) {
      const auto width = static_cast<double>((latency_limit_us(k) - from_us) * 1000);
      return from_us * 1000 + static_cast<std::uint64_t>(width * (wanted - below) / here);
    }
    below += here;
  }
  return 0;
}

op_summary summary_of(const fs_arena& arena, std::uint64_t now_ns) {
  op_summary s;
  // What is behind it was never used: looking there would fill holes.
  const std::uint32_t end =
      std::min(arena.ops_used_end.load(std::memory_order_acquire), op_slot_count);
  for (std::uint32_t i = 0; i < end; ++i) {
    const op_slot& slot = arena.ops[i];
    const std::uint8_t state = control_of(slot).state;
    if (state == static_cast<std::uint8_t>(op_state::unknown) || state >= op_state_count) continue;
    ++s.by_state[state];
    op_cell cell;
    control_word word;
    if (!copy_record(slot, word, cell) || cell.arrived_ns > now_ns) continue;
    s.oldest_ns = std::max(s.oldest_ns, now_ns - cell.arrived_ns);
  }
  return s;
}

}  // namespace tangelo
