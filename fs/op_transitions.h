// op_transitions: the life of an op as one table of (state, event) -> (state, action).
//
// Pure data; only op_table::apply() steps it. What would be a guard is an event of its own: a
// signal that the caller survives is `interrupted`, one that ends it `caller_killed`.
//
// Invariants, tested over the whole table:
//   1. The kernel is answered exactly once: reply_* and abandon_* occur exactly on rows that leave
//      the states in which the caller waits (waiting, in_progress, purged), each row leading to a
//      state that never answers again. Only a new front end, to which the kernel has sent the
//      request again, knows that the answer its predecessor was about to give was not given: then
//      came_back_* leads out of serviced and given_up.
//   2. An op that a core had is waiting again only as another op, with another tag: its caller has
//      other groups or powers than those that the server has refused, and that had no effect.
//   3. EINTR is told only to callers that are being killed. An application that handles a signal
//      (a timer, a child's end, Ctrl-Z) sees nothing of it, as on a local disk.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/state_table.h"
#include "protocol/device.h"
#include "protocol/op_state.h"

namespace tangelo {

enum class op_event : std::uint8_t {
  queued,                // a request was taken from the kernel and recorded
  offered,               // about to be put on the up ring for the present core
  downcall,              // a valid downcall of the present core for this op
  renewed,               // instead: it refuses who the caller was, who has changed meanwhile
  core_lost,             // the core ended or broke the protocol
  interrupted,           // a signal that the caller survives: as on a local disk, it waits on
  caller_killed,         // a signal that ends the caller is pending
  evicted,               // no core has it, and who may have executed it has forgotten this mount
  refused,               // the mount's policy, or an administrator, lets nobody wait any longer
  came_back,             // new front end: the kernel has sent the request again
  came_back_answered,    // the same, and the downcall is there
  caller_lost,           // new front end: the kernel did not send the request again
  ended,                 // what the action ordered is done
};

enum class op_action : std::uint8_t {
  none,          // expected, and nothing to do
  enqueue,       // put it on the request list
  hand_over,     // put the hint on the up ring
  requeue,       // back on the request list: offer it to the next core
  reply,         // answer the kernel from the downcall
  reply_eintr,   // answer the kernel EINTR and end the op
  reply_eio,     // answer the kernel EIO and end the op
  abandon,       // answer the kernel EINTR; the op goes on without a caller
  abandon_eio,   // answer the kernel EIO; the op goes on without a caller
  orphan,        // the op goes on without a caller; nobody is to be answered
  forget,        // end the op; nobody is to be answered
  drop,          // a downcall that nobody waits for: forget the downcall
  release,       // the fate of an op without caller is known: end it
  free_slot,     // give back slots and barrier; the tag may be used again
  never,         // cannot happen
};

constexpr std::string_view name_of(op_event e) noexcept {
  switch (e) {
    using enum op_event;
    case queued: return "queued";
    case offered: return "offered";
    case downcall: return "downcall";
    case renewed: return "renewed";
    case core_lost: return "core_lost";
    case interrupted: return "interrupted";
    case caller_killed: return "caller_killed";
    case evicted: return "evicted";
    case refused: return "refused";
    case came_back: return "came_back";
    case came_back_answered: return "came_back_answered";
    case caller_lost: return "caller_lost";
    case ended: return "ended";
  }
  return {};
}

constexpr std::string_view name_of(op_action a) noexcept {
  switch (a) {
    using enum op_action;
    case none: return "none";
    case enqueue: return "enqueue";
    case hand_over: return "hand_over";
    case requeue: return "requeue";
    case reply: return "reply";
    case reply_eintr: return "reply_eintr";
    case reply_eio: return "reply_eio";
    case abandon: return "abandon";
    case abandon_eio: return "abandon_eio";
    case orphan: return "orphan";
    case forget: return "forget";
    case drop: return "drop";
    case release: return "release";
    case free_slot: return "free_slot";
    case never: return "never";
  }
  return {};
}

using op_transition_table = state_table<op_state, op_event, op_action>;
extern const op_transition_table op_transitions;

// Told of each step before it is taken. For tests, which count the rows that they reach; null else.
using op_observer = void (*)(op_state, op_event, const op_cell&) noexcept;
extern op_observer observe_op;

}  // namespace tangelo
