#include "fs/op_transitions.h"

namespace tangelo {

namespace {

consteval op_transition_table make_op_transitions() {
  using enum op_state;
  using enum op_event;
  using enum op_action;
  return op_transition_table({
      // in state     on event              goes to      and does
      {unknown,     queued,               waiting,     enqueue},
      {unknown,     offered,              unknown,     never},
      {unknown,     downcall,             unknown,     drop},  // late, after the op ended
      {unknown,     renewed,              unknown,     never},
      {unknown,     core_lost,            unknown,     none},
      {unknown,     interrupted,          unknown,     none},
      {unknown,     caller_killed,        unknown,     none},
      {unknown,     evicted,              unknown,     none},
      {unknown,     refused,              unknown,     none},
      {unknown,     came_back,            unknown,     never},  // it is queued
      {unknown,     came_back_answered,   unknown,     never},
      {unknown,     caller_lost,          unknown,     never},
      {unknown,     ended,                unknown,     never},

      {waiting,     queued,               waiting,     never},
      {waiting,     offered,              in_progress, hand_over},
      {waiting,     downcall,             waiting,     drop},  // a mad core: it was not offered
      {waiting,     renewed,              waiting,     never},
      {waiting,     core_lost,            waiting,     none},
      {waiting,     interrupted,          waiting,     none},
      {waiting,     caller_killed,        serviced,    reply_eintr},
      {waiting,     evicted,              waiting,     none},  // it was not executed
      {waiting,     refused,              serviced,    reply_eio},
      {waiting,     came_back,            waiting,     requeue},
      {waiting,     came_back_answered,   waiting,     never},
      {waiting,     caller_lost,          serviced,    forget},  // never offered: not done
      {waiting,     ended,                waiting,     never},

      {in_progress, queued,               in_progress, never},
      {in_progress, offered,              in_progress, never},
      {in_progress, downcall,             serviced,    reply},
      {in_progress, renewed,              waiting,     enqueue},  // as a new op
      {in_progress, core_lost,            purged,      requeue},
      {in_progress, interrupted,          in_progress, none},
      {in_progress, caller_killed,        given_up,    abandon},
      {in_progress, evicted,              in_progress, none},  // its core answers it
      {in_progress, refused,              given_up,    abandon_eio},
      {in_progress, came_back,            in_progress, never},  // its core was lost before
      {in_progress, came_back_answered,   in_progress, never},
      {in_progress, caller_lost,          in_progress, never},
      {in_progress, ended,                in_progress, never},

      {serviced,    queued,               serviced,    never},
      {serviced,    offered,              serviced,    never},
      {serviced,    downcall,             serviced,    drop},  // a mad core: said it twice
      {serviced,    renewed,              serviced,    never},
      {serviced,    core_lost,            serviced,    none},
      {serviced,    interrupted,          serviced,    none},
      {serviced,    caller_killed,        serviced,    none},
      {serviced,    evicted,              serviced,    none},
      {serviced,    refused,              serviced,    none},
      {serviced,    came_back,            purged,      requeue},
      {serviced,    came_back_answered,   serviced,    reply},
      {serviced,    caller_lost,          serviced,    forget},  // the answer was given
      {serviced,    ended,                unknown,     free_slot},

      {purged,      queued,               purged,      never},
      {purged,      offered,              in_progress, hand_over},
      {purged,      downcall,             purged,      drop},
      {purged,      renewed,              purged,      never},
      {purged,      core_lost,            purged,      none},
      {purged,      interrupted,          purged,      none},
      {purged,      caller_killed,        given_up,    abandon},
      {purged,      evicted,              serviced,    reply_eio},
      {purged,      refused,              given_up,    abandon_eio},
      {purged,      came_back,            purged,      requeue},
      {purged,      came_back_answered,   purged,      never},
      {purged,      caller_lost,          given_up,    orphan},
      {purged,      ended,                purged,      never},

      {given_up,    queued,               given_up,    never},
      {given_up,    offered,              given_up,    hand_over},
      {given_up,    downcall,             given_up,    release},
      {given_up,    renewed,              given_up,    never},  // nobody asks
      {given_up,    core_lost,            given_up,    requeue},
      {given_up,    interrupted,          given_up,    none},
      {given_up,    caller_killed,        given_up,    none},
      {given_up,    evicted,              given_up,    forget},
      {given_up,    refused,              given_up,    none},
      {given_up,    came_back,            purged,      requeue},  // its caller was not told
      {given_up,    came_back_answered,   given_up,    never},
      {given_up,    caller_lost,          given_up,    requeue},
      {given_up,    ended,                unknown,     free_slot},
  });
}

}  // namespace

constinit const op_transition_table op_transitions = make_op_transitions();
constinit op_observer observe_op = nullptr;

}  // namespace tangelo
