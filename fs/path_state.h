// path_state: may operations hope for the server? The states of an SRP remote port, in one table.
//
// The path is up while a core is attached whose import is FULL. While it is down the mount's policy
// (protocol/policy.h) decides how long callers wait. path_watch holds the table's state in the
// arena, so that a new front end goes on with the same clock; events come out of time and policy by
// themselves. Front end's loop thread only.
//
//   running    operations go up
//   blocked    they wait
//   fail_fast  those that were certainly not executed, or change nothing, fail with EIO; new ones
//              at once
//   lost       all fail with EIO; what may have been executed keeps its slot until its fate is
//              known
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "base/clock.h"
#include "base/state_table.h"
#include "protocol/device.h"
#include "protocol/policy.h"

namespace tangelo {

enum class path_event : std::uint8_t {
  up,                 // ops can be offered
  down,               // they cannot
  fast_io_fail_due,   // it has been down for fast_io_fail_tmo
  dev_loss_due,       // ... for dev_loss_tmo
};

enum class path_action : std::uint8_t {
  none,
  start_clock,        // both times count from now
  refuse_unexecuted,  // EIO for what was not executed or changes nothing
  refuse_all,
};

constexpr std::string_view name_of(path_event e) noexcept {
  switch (e) {
    using enum path_event;
    case up: return "up";
    case down: return "down";
    case fast_io_fail_due: return "fast_io_fail_due";
    case dev_loss_due: return "dev_loss_due";
  }
  return {};
}

constexpr std::string_view name_of(path_action a) noexcept {
  switch (a) {
    using enum path_action;
    case none: return "none";
    case start_clock: return "start_clock";
    case refuse_unexecuted: return "refuse_unexecuted";
    case refuse_all: return "refuse_all";
  }
  return {};
}

using path_transition_table = state_table<path_state, path_event, path_action>;
extern const path_transition_table path_transitions;

// Told of each step before it is taken. For tests, which count the rows that they reach; null else.
using path_observer = void (*)(path_state, path_event) noexcept;
extern path_observer observe_path;

class path_watch {
 public:
  static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

  path_watch(fs_pulse& pulse, const policy_record& policy) noexcept;
  // What the present moment asks for. To be repeated while it asks for something.
  path_action look(bool is_up, std::uint64_t now_ns) noexcept;
  path_state state() const noexcept { return state_; }
  // When look() will next have something to say by itself.
  std::uint64_t due_ns() const noexcept;

 private:
  path_action step(path_event event, std::uint64_t now_ns) noexcept;
  std::uint64_t due_after(std::uint32_t seconds) const noexcept;

  fs_pulse& pulse_;
  const policy_record& policy_;
  path_state state_;
  std::uint64_t since_ns_;
};

}  // namespace tangelo
