#include "fs/op_meter.h"

#include "protocol/op_metrics.h"

namespace tangelo {

namespace {

// There is one writer, so this needs no locked instruction.
void add(atomic_u64& counter, std::uint64_t n) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

op_counts& counts_of(op_metrics& m, opcode op) noexcept {
  const auto index = static_cast<std::size_t>(op);
  return m.ops[index < metric_opcode_count ? index : 0];
}

}  // namespace

void meter_begun(fs_arena& arena, opcode op) noexcept {
  add(counts_of(metrics_of(arena), op).started, 1);
}

void meter_answered(fs_arena& arena, const op_cell& op, error_code status, std::uint64_t byte_count,
                    std::uint64_t now_ns) noexcept {
  op_metrics& m = metrics_of(arena);
  op_counts& counts = counts_of(m, op.op);
  add(counts.answered, 1);
  if (status != error_code::ok) add(counts.failed, 1);
  if (status == error_code::io) add(m.io_errors, 1);
  if (byte_count != 0 && status == error_code::ok) add(counts.bytes, byte_count);
  const std::uint64_t took_ns = now_ns > op.arrived_ns ? now_ns - op.arrived_ns : 0;
  op_latency& latency = m.latencies[static_cast<std::size_t>(class_of(op.op))];
  add(latency.sum_ns, took_ns);
  add(latency.buckets[latency_bucket_of(took_ns)], 1);
}

}  // namespace tangelo
