// What a client is told unasked: that its call is alive (EARLY_REPLY), so that its deadline begins
// anew, and that what it did is durable (COMMIT_NOTE), if nothing else told it.
#include <algorithm>

#include "rdma/export_core.h"

namespace tangelo {

void export_core::take_extension(call_job& job, const message_view& message) {
  const call_extension e = decode<call_extension>(message.extension).value_or(call_extension{});
  job.replay_time_ns = e.replay_time_ns;
  job.deadline_ms = e.relative_deadline_ms;
  job.deadline_from_ns = time_.now_ns();
  if (job.deadline_ms == 0 || deadline_timer_ != 0) return;
  deadline_timer_ = time_.call_after(deadline_look_ns, [this] { look_at_deadlines(); });
}

// Half of it will have gone by the next look. A call whose payload is on its way says nothing: if
// the bytes are lost, only the deadline finds out.
bool export_core::deadline_near(const call_job& job) const {
  if (job.deadline_ms == 0 || job.where == call_job::phase::reading ||
      job.where == call_job::phase::writing)
    return false;
  const std::uint64_t gone_ns = time_.now_ns() - job.deadline_from_ns + deadline_look_ns;
  return 2 * gone_ns >= job.deadline_ms * ns_per_ms;
}

void export_core::look_at_deadlines() {
  deadline_timer_ = 0;
  bool any = false;
  for (const auto& link : links_) {
    if (link->where != peer_link::stage::active) continue;
    for (call_job* job : link->jobs) {
      any = any || job->deadline_ms != 0;
      if (deadline_near(*job)) send_early_reply(*job);
    }
  }
  if (any) deadline_timer_ = time_.call_after(deadline_look_ns, [this] { look_at_deadlines(); });
}

void export_core::send_early_reply(call_job& job) {
  const std::uint32_t estimate = estimate_ms(job);
  job.deadline_ms = std::max(job.deadline_ms, estimate + estimate / 4 + 500);
  job.deadline_from_ns = time_.now_ns();
  peer_link& link = *job.link;
  wire_header h;
  h.type = message_type::early_reply;
  h.cookie = job.owner->cookie;
  h.epoch = link.epoch;
  h.xid = job.xid;
  h.slot_seq = job.slot_seq;
  h.slot = job.slot;
  h.op = job.op;
  h.ack = tell_committed(link);
  h.credits = options_.credits;
  reply_extension e;
  e.estimate_ms = estimate;
  e.retry_after_ms = job.deadline_ms;
  e.boot_generation = job.owner->volume->fs->boot_generation();
  link.wire.send(h, encode_extension(e), {});
}

// To those whose changes were told before they were durable, and who have heard nothing since; each
// at most every 20 ms.
void export_core::send_notes(export_volume& v) {
  const std::uint64_t now = time_.now_ns();
  const std::uint64_t committed = v.fs->last_committed();
  bool later = false;
  for (const client_ref& c : v.clients) {
    if (c->link == nullptr || c->link->where != peer_link::stage::active) continue;
    peer_link& link = *c->link;
    if (committed <= link.told_committed || c->highest_transno <= link.told_committed) continue;
    if (link.noted_ns != 0 && now - link.noted_ns < note_ns) {
      later = true;
      continue;
    }
    link.noted_ns = now;
    send_control(link, message_type::commit_note, {}, 0);
  }
  if (!later || v.note_timer != 0) return;
  v.note_timer = time_.call_after(note_ns, [this, &v] {
    v.note_timer = 0;
    send_notes(v);
  });
}

}  // namespace tangelo
