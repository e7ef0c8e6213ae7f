#include "rdma/import.h"

#include "base/probe.h"

namespace tangelo {

namespace {

consteval import_table make_import_table() {
  using enum import_state;
  using enum import_event;
  using enum import_action;
  return import_table({
      // in state    on event           goes to       and does
      {new_,         start,             connecting,   connect},
      {new_,         retry_due,         new_,         never},
      {new_,         link_up,           new_,         never},
      {new_,         link_down,         new_,         never},
      {new_,         verdict_fresh,     new_,         never},
      {new_,         verdict_resumed,   new_,         never},
      {new_,         verdict_new_boot,  new_,         never},
      {new_,         verdict_rejoined,  new_,         never},
      {new_,         verdict_evicted,   new_,         never},
      {new_,         verdict_later,     new_,         never},
      {new_,         replay_drained,    new_,         never},
      {new_,         opens_reclaimed,   new_,         never},
      {new_,         replay_done_acked, new_,         never},
      {new_,         resends_queued,    new_,         never},
      {new_,         invalidated,       new_,         never},
      {new_,         nothing_to_do,     new_,         none},
      {new_,         work,              new_,         none},
      {new_,         stop,              closed,       say_goodbye},

      {discon,       start,             discon,       none},
      {discon,       retry_due,         connecting,   connect},
      {discon,       link_up,           discon,       never},
      {discon,       link_down,         discon,       none},
      {discon,       verdict_fresh,     discon,       never},
      {discon,       verdict_resumed,   discon,       never},
      {discon,       verdict_new_boot,  discon,       never},
      {discon,       verdict_rejoined,  discon,       never},
      {discon,       verdict_evicted,   discon,       never},
      {discon,       verdict_later,     discon,       never},
      {discon,       replay_drained,    discon,       never},
      {discon,       opens_reclaimed,   discon,       never},
      {discon,       replay_done_acked, discon,       never},
      {discon,       resends_queued,    discon,       never},
      {discon,       invalidated,       discon,       never},
      {discon,       nothing_to_do,     discon,       none},
      {discon,       work,              discon,       none},
      {discon,       stop,              closed,       say_goodbye},

      {connecting,   start,             connecting,   none},
      {connecting,   retry_due,         connecting,   none},
      {connecting,   link_up,           connecting,   say_hello},
      {connecting,   link_down,         discon,       schedule_retry},
      {connecting,   verdict_fresh,     recover,      resend_all},
      {connecting,   verdict_resumed,   recover,      resend_all},
      {connecting,   verdict_new_boot,  replay,       start_replay},
      {connecting,   verdict_rejoined,  replay,       resume_replay},
      {connecting,   verdict_evicted,   evicted,      invalidate},
      {connecting,   verdict_later,     discon,       schedule_retry},
      {connecting,   replay_drained,    connecting,   never},
      {connecting,   opens_reclaimed,   connecting,   never},
      {connecting,   replay_done_acked, connecting,   never},
      {connecting,   resends_queued,    connecting,   never},
      {connecting,   invalidated,       connecting,   never},
      {connecting,   nothing_to_do,     connecting,   none},
      {connecting,   work,              connecting,   none},
      {connecting,   stop,              closed,       say_goodbye},

      {replay,       start,             replay,       none},
      {replay,       retry_due,         replay,       none},
      {replay,       link_up,           replay,       never},
      {replay,       link_down,         discon,       schedule_retry},
      {replay,       verdict_fresh,     replay,       never},
      {replay,       verdict_resumed,   replay,       never},
      {replay,       verdict_new_boot,  replay,       never},
      {replay,       verdict_rejoined,  replay,       never},
      {replay,       verdict_evicted,   evicted,      invalidate},
      {replay,       verdict_later,     replay,       never},
      {replay,       replay_drained,    replay_locks, reclaim_opens},
      {replay,       opens_reclaimed,   replay,       never},
      {replay,       replay_done_acked, replay,       never},
      {replay,       resends_queued,    replay,       never},
      {replay,       invalidated,       replay,       never},
      {replay,       nothing_to_do,     replay,       none},
      {replay,       work,              replay,       none},
      {replay,       stop,              closed,       say_goodbye},

      {replay_locks, start,             replay_locks, none},
      {replay_locks, retry_due,         replay_locks, none},
      {replay_locks, link_up,           replay_locks, never},
      {replay_locks, link_down,         discon,       schedule_retry},
      {replay_locks, verdict_fresh,     replay_locks, never},
      {replay_locks, verdict_resumed,   replay_locks, never},
      {replay_locks, verdict_new_boot,  replay_locks, never},
      {replay_locks, verdict_rejoined,  replay_locks, never},
      {replay_locks, verdict_evicted,   evicted,      invalidate},
      {replay_locks, verdict_later,     replay_locks, never},
      {replay_locks, replay_drained,    replay_locks, never},
      {replay_locks, opens_reclaimed,   replay_wait,  send_replay_done},
      {replay_locks, replay_done_acked, replay_locks, never},
      {replay_locks, resends_queued,    replay_locks, never},
      {replay_locks, invalidated,       replay_locks, never},
      {replay_locks, nothing_to_do,     replay_locks, none},
      {replay_locks, work,              replay_locks, none},
      {replay_locks, stop,              closed,       say_goodbye},

      {replay_wait,  start,             replay_wait,  none},
      {replay_wait,  retry_due,         replay_wait,  none},
      {replay_wait,  link_up,           replay_wait,  never},
      {replay_wait,  link_down,         discon,       schedule_retry},
      {replay_wait,  verdict_fresh,     replay_wait,  never},
      {replay_wait,  verdict_resumed,   replay_wait,  never},
      {replay_wait,  verdict_new_boot,  replay_wait,  never},
      {replay_wait,  verdict_rejoined,  replay_wait,  never},
      {replay_wait,  verdict_evicted,   evicted,      invalidate},
      {replay_wait,  verdict_later,     replay_wait,  never},
      {replay_wait,  replay_drained,    replay_wait,  never},
      {replay_wait,  opens_reclaimed,   replay_wait,  never},
      {replay_wait,  replay_done_acked, recover,      resend_all},
      {replay_wait,  resends_queued,    replay_wait,  never},
      {replay_wait,  invalidated,       replay_wait,  never},
      {replay_wait,  nothing_to_do,     replay_wait,  none},
      {replay_wait,  work,              replay_wait,  none},
      {replay_wait,  stop,              closed,       say_goodbye},

      {recover,      start,             recover,      none},
      {recover,      retry_due,         recover,      none},
      {recover,      link_up,           recover,      never},
      {recover,      link_down,         discon,       schedule_retry},
      {recover,      verdict_fresh,     recover,      never},
      {recover,      verdict_resumed,   recover,      never},
      {recover,      verdict_new_boot,  recover,      never},
      {recover,      verdict_rejoined,  recover,      never},
      {recover,      verdict_evicted,   evicted,      invalidate},
      {recover,      verdict_later,     recover,      never},
      {recover,      replay_drained,    recover,      never},
      {recover,      opens_reclaimed,   recover,      never},
      {recover,      replay_done_acked, recover,      never},
      {recover,      resends_queued,    full,         release_delayed},
      {recover,      invalidated,       recover,      never},
      {recover,      nothing_to_do,     recover,      none},
      {recover,      work,              recover,      none},
      {recover,      stop,              closed,       say_goodbye},

      {full,         start,             full,         none},
      {full,         retry_due,         full,         none},
      {full,         link_up,           full,         never},
      {full,         link_down,         discon,       schedule_retry},
      {full,         verdict_fresh,     full,         never},
      {full,         verdict_resumed,   full,         never},
      {full,         verdict_new_boot,  full,         never},
      {full,         verdict_rejoined,  full,         never},
      {full,         verdict_evicted,   evicted,      invalidate},
      {full,         verdict_later,     full,         never},
      {full,         replay_drained,    full,         never},
      {full,         opens_reclaimed,   full,         never},
      {full,         replay_done_acked, full,         never},
      {full,         resends_queued,    full,         never},
      {full,         invalidated,       full,         never},
      {full,         nothing_to_do,     idle,         close_link},
      {full,         work,              full,         none},
      {full,         stop,              closed,       say_goodbye},

      {evicted,      start,             evicted,      none},
      {evicted,      retry_due,         evicted,      none},
      {evicted,      link_up,           evicted,      never},
      {evicted,      link_down,         evicted,      none},
      {evicted,      verdict_fresh,     evicted,      never},
      {evicted,      verdict_resumed,   evicted,      never},
      {evicted,      verdict_new_boot,  evicted,      never},
      {evicted,      verdict_rejoined,  evicted,      never},
      {evicted,      verdict_evicted,   evicted,      none},
      {evicted,      verdict_later,     evicted,      never},
      {evicted,      replay_drained,    evicted,      never},
      {evicted,      opens_reclaimed,   evicted,      never},
      {evicted,      replay_done_acked, evicted,      never},
      {evicted,      resends_queued,    evicted,      never},
      {evicted,      invalidated,       discon,       schedule_retry},
      {evicted,      nothing_to_do,     evicted,      none},
      {evicted,      work,              evicted,      none},
      {evicted,      stop,              closed,       say_goodbye},

      {closed,       start,             closed,       none},
      {closed,       retry_due,         closed,       none},
      {closed,       link_up,           closed,       none},
      {closed,       link_down,         closed,       none},
      {closed,       verdict_fresh,     closed,       none},
      {closed,       verdict_resumed,   closed,       none},
      {closed,       verdict_new_boot,  closed,       none},
      {closed,       verdict_rejoined,  closed,       none},
      {closed,       verdict_evicted,   closed,       none},
      {closed,       verdict_later,     closed,       none},
      {closed,       replay_drained,    closed,       none},
      {closed,       opens_reclaimed,   closed,       none},
      {closed,       replay_done_acked, closed,       none},
      {closed,       resends_queued,    closed,       none},
      {closed,       invalidated,       closed,       none},
      {closed,       nothing_to_do,     closed,       none},
      {closed,       work,              closed,       none},
      {closed,       stop,              closed,       none},

      {idle,         start,             idle,         none},
      {idle,         retry_due,         idle,         none},
      {idle,         link_up,           idle,         never},
      {idle,         link_down,         idle,         none},
      {idle,         verdict_fresh,     idle,         never},
      {idle,         verdict_resumed,   idle,         never},
      {idle,         verdict_new_boot,  idle,         never},
      {idle,         verdict_rejoined,  idle,         never},
      {idle,         verdict_evicted,   idle,         never},
      {idle,         verdict_later,     idle,         never},
      {idle,         replay_drained,    idle,         never},
      {idle,         opens_reclaimed,   idle,         never},
      {idle,         replay_done_acked, idle,         never},
      {idle,         resends_queued,    idle,         never},
      {idle,         invalidated,       idle,         never},
      {idle,         nothing_to_do,     idle,         none},
      {idle,         work,              connecting,   connect},
      {idle,         stop,              closed,       say_goodbye},
  });
}

constexpr import_table table = make_import_table();

}  // namespace

const import_table& import_rows() noexcept { return table; }

constinit import_observer observe_import = nullptr;

import_action import_machine::apply(import_event e, std::uint64_t now_ns) noexcept {
  if (observe_import != nullptr) observe_import(state_, e);
  const import_table::row& row = table.at(state_, e);
  if (row.to != state_ || visit_count_ == 0) {
    TANGELO_PROBE(import_state, ordinal(state_), ordinal(row.to));
    state_ = row.to;
    visits_[visit_count_++ % history_size] = visit{state_, now_ns};
  }
  return row.act;
}

import_machine::history_ring import_machine::history() const noexcept {
  history_ring out{};
  const std::size_t kept = visit_count_ < history_size ? visit_count_ : history_size;
  for (std::size_t i = 0; i < kept; ++i)
    out[i] = visits_[(visit_count_ - kept + i) % history_size];
  return out;
}

}  // namespace tangelo
