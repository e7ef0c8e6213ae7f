#include "watchdog/child_state.h"

namespace tangelo {

namespace {

consteval child_table make_child_table() {
  using enum child_state;
  using enum child_event;
  using enum child_action;
  return child_table({
      // in state     on event        goes to      and does
      {stopped,       wanted,         starting,    start},
      {stopped,       unwanted,       stopped,     none},
      {stopped,        dismissed,      stopped,     none},
      {stopped,        adopted,        starting,    adopt},
      {stopped,       proven,         stopped,     none},  // late
      {stopped,       ended,          stopped,     never},
      {stopped,       ended_for_good, stopped,     never},
      {stopped,       start_failed,   stopped,     never},
      {stopped,       retry_due,      stopped,     none},  // late
      {stopped,       grace_over,     stopped,     none},  // late

      {starting,      wanted,         starting,    none},
      {starting,      unwanted,       ending,      terminate},
      {starting,       dismissed,      ending,      kill},
      {starting,       adopted,        starting,    never},
      {starting,      proven,         running,     reset_delay},
      {starting,      ended,          backing_off, retry_later},
      {starting,      ended_for_good, stopped,     gone},
      {starting,      start_failed,   backing_off, retry_later},
      {starting,      retry_due,      starting,    none},  // late
      {starting,      grace_over,     starting,    none},  // late

      {running,       wanted,         running,     none},
      {running,       unwanted,       ending,      terminate},
      {running,        dismissed,      ending,      kill},
      {running,        adopted,        running,     never},
      {running,       proven,         running,     none},
      {running,       ended,          backing_off, retry_later},
      {running,       ended_for_good, stopped,     gone},
      {running,       start_failed,   running,     never},
      {running,       retry_due,      running,     none},  // late
      {running,       grace_over,     running,     none},  // late

      {backing_off,   wanted,         backing_off, none},
      {backing_off,   unwanted,       stopped,     stop_retry},
      {backing_off,    dismissed,      stopped,     stop_retry},
      {backing_off,    adopted,        backing_off, never},
      {backing_off,   proven,         backing_off, none},  // late
      {backing_off,   ended,          backing_off, never},
      {backing_off,   ended_for_good, backing_off, never},
      {backing_off,   start_failed,   backing_off, never},
      {backing_off,   retry_due,      starting,    start},
      {backing_off,   grace_over,     backing_off, none},  // late

      {ending,        wanted,         ending,      none},  // the owner asks again once it is gone
      {ending,        unwanted,       ending,      none},
      {ending,         dismissed,      ending,      kill},
      {ending,         adopted,        ending,      never},
      {ending,        proven,         ending,      none},
      {ending,        ended,          stopped,     gone},
      {ending,        ended_for_good, stopped,     gone},
      {ending,        start_failed,   ending,      never},
      {ending,        retry_due,      ending,      none},  // late
      {ending,        grace_over,     ending,      kill},
  });
}

}  // namespace

constinit const child_table child_transitions = make_child_table();

}  // namespace tangelo
