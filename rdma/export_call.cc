// A CALL on its way to the service: checked, given buffers, its payload fetched, and then, by the
// rules of recovery.md §7.5, executed, answered from the slot, held, or dropped.
//
// The decision is taken when the payload is complete, so a repetition's payload is drained before
// its answer: the client may then reuse its memory.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "protocol/data_ops.h"
#include "protocol/op_metrics.h"
#include "rdma/export_core.h"

namespace tangelo {

call_job& export_core::new_job() {
  if (free_jobs_.empty()) {
    jobs_.push_back(std::make_unique<call_job>(*this));
    free_jobs_.push_back(jobs_.back().get());
  }
  call_job& job = *free_jobs_.back();
  free_jobs_.pop_back();
  return job;
}

void export_core::attach_job(call_job& job, peer_link& link) {
  job.link = &link;
  link.jobs.push_back(&job);
}

void export_core::detach(call_job& job) {
  if (job.link != nullptr) {
    std::vector<call_job*>& jobs = job.link->jobs;
    const auto it = std::find(jobs.begin(), jobs.end(), &job);
    CHECK(it != jobs.end());
    *it = jobs.back();
    jobs.pop_back();
  }
  job.link = nullptr;
}

void export_core::release(call_job& job) {
  leave_line(job);
  detach(job);
  if (!job.in_buffer.empty()) buffers_.release(job.in_buffer);
  if (!job.out_buffer.empty()) buffers_.release(job.out_buffer);
  const bool had_buffer = !job.in_buffer.empty() || !job.out_buffer.empty();
  job.in_buffer = job.out_buffer = job.payload_in = job.payload_out = {};
  job.body = {};
  job.owner.reset();
  free_jobs_.push_back(&job);
  if (!had_buffer) return;
  schedule_trim();
  if (!starved_.empty()) serve_starved();
}

// Why this call breaks the protocol; empty if it does not.
std::string_view export_core::refuse_call(const peer_link& link,
                                          const message_view& message) const {
  const wire_header& h = message.header;
  const bool is_old = h.epoch != link.client->epoch && options_.fence_epochs;
  if (h.cookie != link.client->cookie || is_old)
    return "a call with another cookie or epoch";
  if (link.jobs.size() > 2 * std::size_t{options_.credits} + 2) return "more calls than credits";
  const bool slotted = h.slot < options_.slot_count;
  if (!slotted && (h.slot != unslotted || is_mutation(h.op))) return "a slot out of bounds";
  if (message.body.size() > op_body_size_max + trailer_size_max) return "a call body too large";
  if (message.inline_payload.size() > wire_inline_payload_max) return "an inline payload too large";
  std::size_t pulls = 0;
  std::size_t pushes = 0;
  for (std::size_t i = 0; i < message.chunk_count; ++i) {
    const chunk& c = message.chunks[i];
    if (c.size == 0 || c.transfer_tag == 0) return "an empty chunk";
    if (c.kind != chunk_kind::pull && c.kind != chunk_kind::push) return "an unexpected chunk";
    ++(c.kind == chunk_kind::pull ? pulls : pushes);
  }
  if (pulls > 1 || pushes > 1) return "too many chunks";
  if (pulls != 0 && !message.inline_payload.empty()) return "two payloads";
  if ((h.flags & message_flag::replay) != 0 && !is_mutation(h.op)) return "a replay of a read";
  return {};
}

void export_core::take_call(peer_link& link, const message_view& message) {
  const std::string_view why = refuse_call(link, message);
  if (!why.empty()) return breach(link, error_code::protocol, why);
  call_job& job = new_job();
  fill_job(job, link, message);
  if (!take_protection(job, message) || job.body.size() > op_body_size_max) {
    release(job);
    return breach(link, error_code::protocol, "a call body that is none");
  }
  ++link.client->calls;
  if ((job.flags & message_flag::resent) != 0) ++link.client->resent;
  if (job.is_replay()) line_up(job);
  job.dropped = job.has_pull && is_repetition(job);
  const bool queue_first = !starved_.empty() && (job.has_pull || job.has_push);
  if (!queue_first && give_buffers(job)) return begin(job);
  job.where = call_job::phase::starved;
  starved_.push_back(&job);
}

void export_core::fill_job(call_job& job, peer_link& link, const message_view& message) {
  const wire_header& h = message.header;
  attach_job(job, link);
  job.owner = link.client;
  job.client = link.client->key;
  job.slot = h.slot;
  job.slot_seq = h.slot_seq;
  job.xid = h.xid;
  job.op = h.op;
  job.flags = h.flags;
  job.transno = h.transno;
  job.previous = h.ack;
  job.began_ns = 0;
  job.in_line = job.early_answer = false;
  take_extension(job, message);
  const auto number = static_cast<std::size_t>(h.op);
  job.unknown_op = number == 0 || number >= opcode_count;
  // A replay was told before it was durable once already.
  const bool in_time = (link.features & feature::async_commit) != 0 &&
                       (job.flags & message_flag::need_commit) == 0 && may_be_early(h.op);
  job.may_be_early = is_mutation(h.op) && (in_time || job.is_replay());
  job.has_pull = job.has_push = job.dropped = false;
  for (std::size_t i = 0; i < message.chunk_count; ++i) {
    const chunk& c = message.chunks[i];
    const bool pull = c.kind == chunk_kind::pull;
    (pull ? job.pull : job.push) = c;
    (pull ? job.has_pull : job.has_push) = true;
  }
  job.bytes.assign(message.body.begin(), message.body.end());
  job.bytes.insert(job.bytes.end(), message.inline_payload.begin(), message.inline_payload.end());
  job.body_size = message.body.size();
  job.body = byte_span(job.bytes).first(job.body_size);
}

// The trailer of a write is cut from its body; false: it has none, though it says so.
bool export_core::take_protection(call_job& job, const message_view& message) {
  const call_extension e = decode<call_extension>(message.extension).value_or(call_extension{});
  const bool is_protected = e.protection_type == protection_crc32c;
  job.protection.reset();
  job.wants_protection = is_protected && job.op == opcode::read;
  if (!is_protected || job.op != opcode::write) return true;
  return take_trailer(job.body, job.protection.emplace());
}

void export_core::check_payload(call_job& job) {
  job.damage.reset();
  if (!job.protection || job.dropped) return;
  job.damage = check_guards(*job.protection, job.payload_in);
  if (!job.damage) return;
  job.damage->hop = protection_hop::sent;
  log_warning("{}: {}: protection: {}", job.link->wire.peer_name(), name_of(job.op),
              text_of(*job.damage));
}

// Nothing has been done with it: the same call may come again, with the same slot sequence.
void export_core::answer_damage(call_job& job) {
  std::byte body[64];
  call_result r;
  r.status = error_code::integrity;
  r.body = byte_span(body).first(encode(*job.damage, body).value_or(0));
  answer(job, r);
}

bool export_core::is_repetition(const call_job& job) const {
  if (job.unknown_op || !is_mutation(job.op)) return job.unknown_op;
  if (job.is_replay()) return job.transno <= executed_through(*job.owner);
  const std::vector<slot_memory>& slots = job.owner->slots;
  return job.slot < slots.size() && slots[job.slot].where != slot_memory::phase::empty &&
         job.slot_seq <= slots[job.slot].seq;
}

// Both buffers or none: nobody holds one while waiting for the other.
bool export_core::give_buffers(call_job& job) {
  const std::size_t inline_size = job.bytes.size() - job.body_size;
  const std::size_t in = job.dropped ? 0 : job.has_pull ? job.pull.size : inline_size;
  const std::size_t out = job.has_push ? job.push.size : 0;
  // Bytes asked for may stand behind this call's eager ones: it must not wait for them.
  const bool eager = job.has_pull && (job.pull.flags & chunk_flag::eager) != 0;
  const bool force = eager && job.link->pulls != 0;
  if (in != 0) {
    job.in_buffer = buffers_.acquire(in, force);
    if (job.in_buffer.empty()) return false;
  }
  if (out != 0) {
    job.out_buffer = buffers_.acquire(out, force);
    if (job.out_buffer.empty()) {
      if (in != 0) buffers_.release(std::exchange(job.in_buffer, {}));
      return false;
    }
  }
  job.payload_in = job.in_buffer.first(in);
  job.payload_out = job.out_buffer.first(out);
  return true;
}

void export_core::begin(call_job& job) {
  if (!job.has_pull) {
    copy_bytes(job.payload_in, byte_span(job.bytes).subspan(job.body_size));
    return ready(job);
  }
  job.where = call_job::phase::reading;
  const bool eager = (job.pull.flags & chunk_flag::eager) != 0;
  if (!eager) ++job.link->pulls;
  job.link->wire.read_remote(job.pull, job.payload_in, reinterpret_cast<std::uintptr_t>(&job));
  if (!eager && !starved_.empty()) serve_starved();
}

void export_core::serve_starved() {
  bool served = true;
  while (served && !starved_.empty()) {
    served = false;
    for (auto it = starved_.begin(); it != starved_.end(); ++it) {
      call_job& job = **it;
      const bool first = it == starved_.begin();
      if (!first && job.link->pulls == 0) continue;
      if (!give_buffers(job)) continue;
      starved_.erase(it);
      begin(job);
      served = true;
      break;
    }
  }
}

void export_core::ready(call_job& job) {
  const client_ref c = job.owner;
  if (c->where == client_phase::leaving) return release(job);
  if (job.unknown_op) return answer_status(job, error_code::not_implemented, 0);
  check_payload(job);
  if (job.damage && !job.is_replay()) return answer_damage(job);
  if (job.is_replay()) {
    job.where = call_job::phase::replaying;
    return next_replay(c);
  }
  const bool claim = job.op == opcode::reclaim_open || job.op == opcode::reclaim_lock;
  if (claim) c->progress = true;
  if (c->volume->window_open && !claim) return hold(job);
  if (needs_mark(job)) return await_mark(job);
  if (is_mutation(job.op)) return take_mutation(job);
  execute(job);
}

void export_core::hold(call_job& job) {
  job.where = call_job::phase::held;
  job.owner->volume->held.push_back(&job);
}

void export_core::take_mutation(call_job& job) {
  const client_ref c = job.owner;
  slot_memory& s = slot_of(*c, job.slot);
  const bool known = s.where != slot_memory::phase::empty;
  if (known && job.slot_seq < s.seq) {
    ++c->dropped;
    return release(job);
  }
  if (known && job.slot_seq == s.seq) {
    if (s.xid != job.xid)
      return breach(*job.link, error_code::protocol, "a slot sequence used for two calls");
    if (s.where == slot_memory::phase::done) return repeat_answer(job, s);
    // Still running: its answer goes to the newcomer.
    detach(*s.job);
    attach_job(*s.job, *job.link);
    s.job->deadline_ms = job.deadline_ms;
    s.job->deadline_from_ns = job.deadline_from_ns;
    return release(job);
  }
  if (s.where == slot_memory::phase::running)
    return breach(*job.link, error_code::slot_busy, "a slot used again before its answer");
  if (job.dropped) return answer_status(job, error_code::again_later, 0);
  job.phase_before = s.where;
  job.seq_before = s.seq;
  s.where = slot_memory::phase::running;
  s.seq = job.slot_seq;
  s.xid = job.xid;
  s.op = job.op;
  s.job = &job;
  if (job.is_replay()) c->replay_running = true;
  execute(job);
}

void export_core::execute(call_job& job) {
  job.where = call_job::phase::running;
  job.began_ns = time_.now_ns();
  job.early_answer = job.may_be_early && job.owner->awaited == export_client::mark::yes;
  ++job.owner->running;
  ++running_;
  if (options_.meter != nullptr) add_to(counts_of(*options_.meter, job.op).started, 1);
  job.owner->volume->fs->execute(job);
}

}  // namespace tangelo
