// op_meter: writes the metrics of ops (protocol/op_metrics.h). Front end's loop only; it keeps
// nothing of its own, so a successor goes on where its predecessor stopped.
#pragma once

#include <cstdint>

#include "protocol/device.h"
#include "protocol/errors.h"

namespace tangelo {

// An op was recorded.
void meter_begun(fs_arena& arena, opcode op) noexcept;
// Its caller (or, for an op of our own, the front end) has the answer. Once for each op, at most:
// not when its caller has gone.
void meter_answered(fs_arena& arena, const op_cell& op, error_code status, std::uint64_t byte_count,
                    std::uint64_t now_ns) noexcept;

}  // namespace tangelo
