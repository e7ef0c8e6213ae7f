#include "fs/op_meter.h"

#include "protocol/op_metrics.h"

namespace tangelo {

void meter_begun(fs_arena& arena, opcode op) noexcept {
  add_to(counts_of(metrics_of(arena), op).started, 1);
}

void meter_answered(fs_arena& arena, const op_cell& op, error_code status, std::uint64_t byte_count,
                    std::uint64_t now_ns) noexcept {
  const std::uint64_t took_ns = now_ns > op.arrived_ns ? now_ns - op.arrived_ns : 0;
  add_answered(metrics_of(arena), op.op, status, byte_count, took_ns);
}

}  // namespace tangelo
