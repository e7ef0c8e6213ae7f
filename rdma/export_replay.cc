// Replays: changes that the client was told of, and that a crash may have taken back. They are
// executed in the order in which the client sent them, which is that of their transaction numbers,
// one at a time, each under its old number and time.
//
// Judged, in this order, when its payload is there and all before it are done:
//   one before it was lost (header.ack)                     -> the connection ends
//   it was refused before, in this boot                     -> refused again
//   transno <= last_committed, or <= the highest executed   -> ok, not executed: also when the
//                                                              window has closed meanwhile
//   the window is closed, or it did not join                -> stale_replay
//   its payload does not fit its guards                     -> the connection ends, so that it and
//                                                              all behind it come again; in the
//                                                              end it is refused
//   else                                                    -> executed
#include <algorithm>

#include "rdma/export_core.h"

namespace tangelo {

void export_core::line_up(call_job& job) {
  job.in_line = true;
  job.owner->replays.push_back(&job);
}

void export_core::leave_line(call_job& job) {
  if (!job.in_line) return;
  job.in_line = false;
  std::erase(job.owner->replays, &job);
}

// Every change of this client up to it is in the store.
std::uint64_t export_core::executed_through(const export_client& c) const {
  return std::max(c.volume->fs->last_committed(), c.highest_transno);
}

void export_core::next_replay(const client_ref& c) {
  if (c->judging) return;
  c->judging = true;
  while (!c->replay_running && !c->replays.empty() &&
         c->replays.front()->where == call_job::phase::replaying) {
    call_job& job = *c->replays.front();
    leave_line(job);
    judge_replay(job);
  }
  c->judging = false;
}

void export_core::judge_replay(call_job& job) {
  const client_ref c = job.owner;
  const export_volume& v = *c->volume;
  if (c->where == client_phase::leaving) return release(job);
  const std::uint64_t through = executed_through(*c);
  if (job.previous > std::max(through, c->judged_transno))
    return breach(*job.link, error_code::protocol, "a replay before this one was lost");
  const auto refused =
      std::find_if(c->refused.begin(), c->refused.end(),
                   [&job](const refused_replay& r) { return r.transno == job.transno; });
  if (refused != c->refused.end()) return answer_status(job, refused->status, 0);
  if (job.transno <= through) {
    c->judged_transno = std::max(c->judged_transno, job.transno);
    return answer_status(job, error_code::ok, job.transno);
  }
  if (c->where != client_phase::recovering || !v.window_open)
    return answer_status(job, error_code::stale_replay, 0);
  if (job.damage) return judge_damaged(job);
  c->damaged_replays = 0;
  if (job.transno >> 32 >= v.fs->boot_generation())
    return breach(*job.link, error_code::protocol, "a replay that no earlier boot can have told");
  const slot_memory& s = slot_of(*c, job.slot);
  if (s.where != slot_memory::phase::empty && job.slot_seq < s.seq)
    return breach(*job.link, error_code::protocol, "a replay older than its slot");
  take_mutation(job);  // sets replay_running if it goes to the service
}

void export_core::judge_damaged(call_job& job) {
  const client_ref c = job.owner;
  if (++c->damaged_replays < protection_attempts)
    return breach(*job.link, error_code::integrity, "the payload of a replay is damaged",
                  down_reason::checksum);
  c->damaged_replays = 0;
  c->progress = true;
  c->judged_transno = std::max(c->judged_transno, job.transno);
  c->refused.push_back({job.transno, error_code::integrity});
  answer_damage(job);
}

void export_core::replay_ended(call_job& job, const call_result& r) {
  const client_ref c = job.owner;
  c->replay_running = false;
  c->progress = true;
  if (r.status == error_code::again_later) return;
  c->judged_transno = std::max(c->judged_transno, job.transno);
  if (r.status == error_code::ok) {
    c->highest_transno = std::max(c->highest_transno, job.transno);
  } else {
    c->refused.push_back({job.transno, r.status});
  }
}

}  // namespace tangelo
