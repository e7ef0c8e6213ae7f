// import: the client's walk from NEW to FULL and back, as one table complete at compile time.
//
// The states and their names are those of the Lustre document; the verdicts are those of
// recovery.md §7.7, already checked against what the client knows (rdma/session.cc). Events of an
// older connection never reach the table. Pure: event in, action out; only apply() writes the
// state, and remembers the last 16 changes for diagnosis.
//
//   NEW -> DISCON -> CONNECTING -> [REPLAY -> REPLAY_LOCKS -> REPLAY_WAIT ->] RECOVER -> FULL
//   EVICTED: the server has forgotten us; everything is dropped, then CONNECTING as new.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/state_table.h"
#include "protocol/import_state.h"

namespace tangelo {

enum class import_event : std::uint8_t {
  start,               // the owner wants the server
  retry_due,           // the back-off has passed and the old connection is flushed
  link_up,             // the connection is made
  link_down,           // the present connection, or the attempt at one, has ended
  verdict_fresh,       // a new session, and we hold nothing
  verdict_resumed,     // the session goes on; nothing to replay
  verdict_new_boot,    // the server is recovering and has not seen us in this boot
  verdict_rejoined,    // the server is recovering and had already seen us in this boot
  verdict_evicted,     // forgotten, or what it says cannot be true
  verdict_later,       // busy, elsewhere, not yet, denied: try again
  replay_drained,      // every replay is answered
  opens_reclaimed,     // every claim is answered
  replay_done_acked,   // the window has ended, and we are in
  resends_queued,      // every unanswered call is on its way again
  invalidated,         // everything held was dropped
  nothing_to_do,       // idle for long and nothing held
  work,                // a call was submitted
  stop,                // the owner is done
};

enum class import_action : std::uint8_t {
  none,
  never,              // cannot happen; the connection is closed and this is logged
  connect,            // choose an address, begin an attempt with the next epoch
  say_hello,
  start_replay,       // cursor to 0, then replay
  resume_replay,      // go on after the last answered one, marking what may be a repetition
  reclaim_opens,
  send_replay_done,
  resend_all,
  release_delayed,
  invalidate,         // drop all lists, tell the owner
  schedule_retry,
  say_goodbye,        // and close
  close_link,         // keep the session, close the connection
};

constexpr std::string_view name_of(import_event e) noexcept {
  switch (e) {
    using enum import_event;
    case start: return "start";
    case retry_due: return "retry_due";
    case link_up: return "link_up";
    case link_down: return "link_down";
    case verdict_fresh: return "verdict_fresh";
    case verdict_resumed: return "verdict_resumed";
    case verdict_new_boot: return "verdict_new_boot";
    case verdict_rejoined: return "verdict_rejoined";
    case verdict_evicted: return "verdict_evicted";
    case verdict_later: return "verdict_later";
    case replay_drained: return "replay_drained";
    case opens_reclaimed: return "opens_reclaimed";
    case replay_done_acked: return "replay_done_acked";
    case resends_queued: return "resends_queued";
    case invalidated: return "invalidated";
    case nothing_to_do: return "nothing_to_do";
    case work: return "work";
    case stop: return "stop";
  }
  return {};
}

constexpr std::string_view name_of(import_action a) noexcept {
  switch (a) {
    using enum import_action;
    case none: return "none";
    case never: return "never";
    case connect: return "connect";
    case say_hello: return "say_hello";
    case start_replay: return "start_replay";
    case resume_replay: return "resume_replay";
    case reclaim_opens: return "reclaim_opens";
    case send_replay_done: return "send_replay_done";
    case resend_all: return "resend_all";
    case release_delayed: return "release_delayed";
    case invalidate: return "invalidate";
    case schedule_retry: return "schedule_retry";
    case say_goodbye: return "say_goodbye";
    case close_link: return "close_link";
  }
  return {};
}

using import_table = state_table<import_state, import_event, import_action>;
const import_table& import_rows() noexcept;

// Told of each step before it is taken. For tests, which count the rows that they reach; null else.
using import_observer = void (*)(import_state, import_event) noexcept;
extern import_observer observe_import;

class import_machine {
 public:
  struct visit {
    import_state state{};
    std::uint64_t at_ns = 0;
  };
  static constexpr std::size_t history_size = 16;
  using history_ring = std::array<visit, history_size>;

  import_state state() const noexcept { return state_; }
  // Takes the row for `e`; the caller performs its action.
  import_action apply(import_event e, std::uint64_t now_ns) noexcept;
  // When the present state was entered.
  std::uint64_t entered_ns() const noexcept {
    return visit_count_ == 0 ? 0 : visits_[(visit_count_ - 1) % history_size].at_ns;
  }
  // The last states and when they were entered, oldest first; unused entries have time 0.
  history_ring history() const noexcept;

 private:
  import_state state_ = import_state::new_;
  history_ring visits_{};
  std::size_t visit_count_ = 0;
};

}  // namespace tangelo
