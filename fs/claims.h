// claims: what an op changes, as the barriers see it; from its record alone, so that a new front
// end can put up the barriers of its predecessor again.
#pragma once

#include "fs/barriers.h"
#include "protocol/device.h"

namespace tangelo {

// Their number. Ops that change nothing claim nothing, and neither does a body that is damaged.
std::size_t claims_of(const op_cell& op, claim (&claims)[claim_count_max]) noexcept;

}  // namespace tangelo
