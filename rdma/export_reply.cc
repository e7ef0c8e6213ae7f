// Slots and answers: what is remembered of an executed mutation, and how an answer leaves.
#include <algorithm>

#include "base/check.h"
#include "protocol/op_metrics.h"
#include "protocol/ops.h"
#include "rdma/export_core.h"

namespace tangelo {

void call_job::complete(const call_result& r) { host_.finish(*this, r); }

slot_memory& export_core::slot_of(export_client& c, std::uint16_t slot) {
  if (slot >= c.slots.size()) c.slots.resize(std::size_t{slot} + 1);
  return c.slots[slot];
}

void export_core::finish(call_job& job, const call_result& r) {
  CHECK(job.where == call_job::phase::running);
  CHECK(r.body.size() <= wire_inline_payload_max);
  CHECK(r.payload_size <= job.payload_out.size());
  const client_ref c = job.owner;
  --c->running;
  --running_;
  const bool replay = job.is_replay();
  const std::uint64_t now = time_.now_ns();
  (is_mutation(job.op) ? c->volume->changes : c->volume->reads).note(now, now - job.began_ns);
  if (options_.meter != nullptr) {
    const std::size_t moved = job.op == opcode::write ? job.payload_in.size() : r.payload_size;
    add_answered(*options_.meter, job.op, r.status, moved, now - job.began_ns);
  }
  if (is_mutation(job.op)) record(job, r);
  if (replay) replay_ended(job, r);
  if (job.link == nullptr) {
    release(job);  // kept in the slot if it was a mutation
  } else {
    answer(job, r);
  }
  if (replay) next_replay(c);
  check_leaving(c);
  check_stopped();
}

void export_core::record(call_job& job, const call_result& r) {
  slot_memory& s = slot_of(*job.owner, job.slot);
  CHECK(s.job == &job);
  s.job = nullptr;
  if (r.status == error_code::again_later) {
    // Not executed and not accepted: the same sequence may come again.
    s.where = job.phase_before;
    s.seq = job.seq_before;
    return;
  }
  s.where = slot_memory::phase::done;
  s.status = r.status;
  s.transno = r.transno;
  s.body.assign(r.body.begin(), r.body.end());
  if (r.status == error_code::ok)
    job.owner->highest_transno = std::max(job.owner->highest_transno, r.transno);
}

std::uint32_t export_core::estimate_ms(const call_job& job) const {
  const export_volume& v = *job.owner->volume;
  return (is_mutation(job.op) ? v.changes : v.reads).estimate_ms(time_.now_ns());
}

void export_core::repeat_answer(call_job& job, const slot_memory& s) {
  ++job.owner->from_record;
  call_result r;
  r.status = s.status;
  r.transno = s.transno;
  r.body = s.body;
  if (r.status == error_code::ok) job.owner->volume->fs->answered_again(job, r.body);
  answer(job, r);
}

void export_core::answer_status(call_job& job, error_code status, std::uint64_t transno) {
  call_result r;
  r.status = status;
  r.transno = transno;
  answer(job, r);
}

void export_core::answer(call_job& job, const call_result& r) {
  peer_link& link = *job.link;
  const service& fs = *job.owner->volume->fs;
  wire_header h;
  h.type = message_type::reply;
  h.cookie = job.owner->cookie;
  h.epoch = link.epoch;
  h.xid = job.xid;
  h.slot_seq = job.slot_seq;
  h.slot = job.slot;
  h.op = job.op;
  h.transno = r.transno;
  h.ack = tell_committed(link);
  h.credits = options_.credits;
  reply_extension e;
  e.status = static_cast<std::uint32_t>(r.status);
  byte_span body = r.body;
  std::array<std::byte, wire_inline_payload_max> with_trailer;
  if (r.protection != nullptr) {
    const std::size_t size = copy_bytes(with_trailer, r.body);
    const mutable_byte_span room = mutable_byte_span(with_trailer).subspan(size);
    body = byte_span(with_trailer).first(size + encode_trailer(*r.protection, room));
    h.flags |= message_flag::protection;
  }
  e.body_size = static_cast<std::uint32_t>(body.size());
  if (job.began_ns != 0)
    e.service_us = static_cast<std::uint32_t>((time_.now_ns() - job.began_ns) / ns_per_us);
  e.estimate_ms = estimate_ms(job);
  e.payload_size = static_cast<std::uint32_t>(r.payload_size);
  e.boot_generation = fs.boot_generation();
  if (r.status == error_code::again_later) e.retry_after_ms = again_later_ms;
  const byte_span payload = job.payload_out.first(r.payload_size);
  if (channel::fits_inline(body.size(), payload.size())) {
    link.wire.send_reply(h, encode_extension(e), body, payload);
    return release(job);
  }
  job.where = call_job::phase::writing;
  link.wire.write_remote(job.push, payload, reinterpret_cast<std::uintptr_t>(&job));
  link.wire.send_reply(h, encode_extension(e), body, {});
}

}  // namespace tangelo
