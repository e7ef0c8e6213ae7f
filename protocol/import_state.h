// import_state: where a client is on its way to its server. The core writes it down (core_page.h);
// the table of the states, and what leads from one to another, is in rdma/import.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace tangelo {

enum class import_state : std::uint8_t {
  new_,          // made, never started
  discon,        // no connection; a retry is scheduled
  connecting,    // a connection is being made, or HELLO and CONNECT are on their way
  replay,        // sending the uncommitted mutations again, in transno order
  replay_locks,  // claiming again the opens and locks we hold
  replay_wait,   // REPLAY_DONE said, waiting for the window to end
  recover,       // sending the unanswered calls again
  full,          // in service: calls go out as they come
  evicted,       // the server has forgotten us; what we hold is being dropped
  closed,        // stopped, for good
  idle,          // disconnected on purpose: nothing to do and nothing held
};

constexpr std::string_view name_of(import_state s) noexcept {
  switch (s) {
    using enum import_state;
    case new_: return "NEW";
    case discon: return "DISCON";
    case connecting: return "CONNECTING";
    case replay: return "REPLAY";
    case replay_locks: return "REPLAY_LOCKS";
    case replay_wait: return "REPLAY_WAIT";
    case recover: return "RECOVER";
    case full: return "FULL";
    case evicted: return "EVICTED";
    case closed: return "CLOSED";
    case idle: return "IDLE";
  }
  return {};
}

}  // namespace tangelo
