// The life of one supervised process, seen from the watchdog.
//
// One table for front end and core. `ended` always means that nothing which the process could
// still write to memory is outstanding, and a successor may start: its pidfd is readable, or it was
// killed and will not come back to user mode (front end only; ARCHITECTURE, rule 6).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/state_table.h"

namespace tangelo {

enum class child_state : std::uint8_t {
  stopped,      // no process, and none is wanted
  starting,     // a process exists and has not proven itself
  running,      // a process exists and has proven itself
  backing_off,  // no process; a timer will start one
  ending,       // a process exists and has been asked to end
};

enum class child_event : std::uint8_t {
  wanted,          // there is to be a process
  unwanted,        // there is to be none
  dismissed,       // there is to be none, at once
  adopted,         // a process that was started by another watchdog is ours now
  proven,          // it said ready, or has lived long enough
  ended,           // it ended; another may be started
  ended_for_good,  // it ended; by policy there is no other
  start_failed,    // it could not be started
  retry_due,       // the back-off is over
  grace_over,      // it was asked to end long enough ago
};

enum class child_action : std::uint8_t {
  none,         // expected, and nothing to do
  start,        // start a process
  adopt,        // take over the process that is there
  reset_delay,  // the next restart is a first one
  retry_later,  // set the back-off timer
  stop_retry,   // take the back-off timer away; it has stopped
  terminate,    // SIGTERM and a grace timer
  kill,         // SIGKILL
  gone,         // tell the owner that it has stopped
  never,        // cannot happen: stop the process
};

constexpr std::string_view name_of(child_state s) noexcept {
  switch (s) {
    using enum child_state;
    case stopped: return "stopped";
    case starting: return "starting";
    case running: return "running";
    case backing_off: return "backing_off";
    case ending: return "ending";
  }
  return {};
}

constexpr std::string_view name_of(child_event e) noexcept {
  switch (e) {
    using enum child_event;
    case wanted: return "wanted";
    case unwanted: return "unwanted";
    case dismissed: return "dismissed";
    case adopted: return "adopted";
    case proven: return "proven";
    case ended: return "ended";
    case ended_for_good: return "ended_for_good";
    case start_failed: return "start_failed";
    case retry_due: return "retry_due";
    case grace_over: return "grace_over";
  }
  return {};
}

constexpr std::string_view name_of(child_action a) noexcept {
  switch (a) {
    using enum child_action;
    case none: return "none";
    case start: return "start";
    case adopt: return "adopt";
    case reset_delay: return "reset_delay";
    case retry_later: return "retry_later";
    case stop_retry: return "stop_retry";
    case terminate: return "terminate";
    case kill: return "kill";
    case gone: return "gone";
    case never: return "never";
  }
  return {};
}

using child_table = state_table<child_state, child_event, child_action>;
extern const child_table child_transitions;

}  // namespace tangelo
