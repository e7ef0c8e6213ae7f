// op_state: where an op is between the kernel's request and the kernel's answer.
//
// The six states of the OrangeFS document. They are saved in the op records of the arena and shown
// by `tangelo ops`; only the front end changes them (fs/op_table.h, transitions in
// fs/op_transitions.h). Never renumber.
#pragma once

#include <cstdint>
#include <string_view>

namespace tangelo {

enum class op_state : std::uint8_t {
  unknown = 0,      // the slot holds no op
  waiting = 1,      // on the request list; never offered to a core
  in_progress = 2,  // offered to the core of the generation in its control word: possibly sent
  serviced = 3,     // the matching downcall came; the reply goes out
  purged = 4,       // its core ended; the next one gets it with the same tag
  given_up = 5,     // its caller is gone; tag, data slots and barrier stay until its fate is known
};

constexpr std::string_view name_of(op_state s) noexcept {
  switch (s) {
    using enum op_state;
    case unknown: return "unknown";
    case waiting: return "waiting";
    case in_progress: return "in_progress";
    case serviced: return "serviced";
    case purged: return "purged";
    case given_up: return "given_up";
  }
  return {};
}

}  // namespace tangelo
