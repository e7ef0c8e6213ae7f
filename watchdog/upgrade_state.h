// The steps of a live upgrade, seen from the watchdog.
//
// One process after the other is replaced by the program that is now installed, each at rest
// (drained) and on trial: what does not serve in time is replaced by the program before it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/state_table.h"

namespace tangelo {

enum class upgrade_state : std::uint8_t {
  idle,                // no upgrade is under way
  testing,             // the new programs test themselves; nothing was touched
  core_draining,       // the front end was asked to bring all ops home
  core_starting,       // a core of the new program is on trial
  front_end_draining,  // as core_draining, with the new core
  front_end_starting,  // a front end of the new program is on trial
  handing_over,        // this process becomes the new watchdog
};

enum class upgrade_event : std::uint8_t {
  asked,    // somebody wants an upgrade
  passed,   // all three programs passed their self-test
  failed,   // one did not; or the process on trial has ended; or the hand-over did not work
  drained,  // the front end says that no core has an op
  serving,  // front end and core beat, and are attached to each other
  late,     // the step took too long
};

enum class upgrade_action : std::uint8_t {
  none,
  test,                 // start the self-tests
  refuse,               // answer that an upgrade is under way already
  drain,                // ask the front end to drain
  replace_core,         // end the core, start one of the new program
  replace_front_end,    // the same with the front end
  hand_over,            // become the new watchdog
  roll_back_core,       // back to the core's old program; say why
  roll_back_front_end,  // the same with the front end's
  give_up,              // say why; nothing has to be undone
};

constexpr std::string_view name_of(upgrade_state s) noexcept {
  switch (s) {
    using enum upgrade_state;
    case idle: return "idle";
    case testing: return "testing";
    case core_draining: return "core_draining";
    case core_starting: return "core_starting";
    case front_end_draining: return "front_end_draining";
    case front_end_starting: return "front_end_starting";
    case handing_over: return "handing_over";
  }
  return {};
}

constexpr std::string_view name_of(upgrade_event e) noexcept {
  switch (e) {
    using enum upgrade_event;
    case asked: return "asked";
    case passed: return "passed";
    case failed: return "failed";
    case drained: return "drained";
    case serving: return "serving";
    case late: return "late";
  }
  return {};
}

constexpr std::string_view name_of(upgrade_action a) noexcept {
  switch (a) {
    using enum upgrade_action;
    case none: return "none";
    case test: return "test";
    case refuse: return "refuse";
    case drain: return "drain";
    case replace_core: return "replace_core";
    case replace_front_end: return "replace_front_end";
    case hand_over: return "hand_over";
    case roll_back_core: return "roll_back_core";
    case roll_back_front_end: return "roll_back_front_end";
    case give_up: return "give_up";
  }
  return {};
}

using upgrade_table = state_table<upgrade_state, upgrade_event, upgrade_action>;
extern const upgrade_table upgrade_transitions;

}  // namespace tangelo
