// The sending and the delayed list. A call is queued (delayed, or to be sent again), sent, or
// parked (the server said: later).
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "protocol/ops.h"
#include "rdma/session_core.h"

namespace tangelo {

void session_core::submit(const outbound_call& call) {
  if (call.slot >= calls_.size()) calls_.resize(std::size_t{call.slot} + 1);
  pending_call& p = calls_[call.slot];
  CHECK(p.where == pending_call::phase::free);
  p = pending_call{};
  p.call = call;
  p.where = pending_call::phase::queued;
  ++call_count_;
  last_work_ns_ = time_.now_ns();
  queue_.push_back(call.slot);
  if (machine_.state() == import_state::full) {
    pump();
  } else {
    step(import_event::work);
  }
}

wire_header session_core::call_header(const outbound_call& call) const {
  wire_header h;
  h.type = message_type::call;
  h.cookie = cookie_;
  h.epoch = current_->epoch();
  h.xid = call.xid;
  h.slot_seq = call.slot_seq;
  h.slot = call.slot;
  h.op = call.op;
  h.ack = last_committed_;
  h.flags = call.flags & (message_flag::need_commit | message_flag::commit_soon);
  return h;
}

call_extension session_core::call_extension_of(const outbound_call& call) const {
  call_extension e;
  e.relative_deadline_ms = static_cast<std::uint32_t>(allowed_ns(call) / ns_per_ms);
  e.attempt = call.attempt;
  e.body_size = static_cast<std::uint32_t>(call.body.size());
  return e;
}

void session_core::pump() {
  if (machine_.state() != import_state::full || current_ == nullptr) return;
  while (!queue_.empty() && current_ != nullptr && current_->wire().may_call()) {
    const std::uint16_t slot = queue_.front();
    queue_.pop_front();
    transmit(slot);
  }
}

void session_core::transmit(std::uint16_t slot) {
  pending_call& p = calls_[slot];
  CHECK(p.where == pending_call::phase::queued);
  wire_header h = call_header(p.call);
  if (p.sent_before || p.call.attempt > 1) h.flags |= message_flag::resent;
  if (p.sent_before) {
    ++resent_;
  } else {
    p.sent_before = true;
    ++sent_before_count_;
  }
  call_extension e = call_extension_of(p.call);
  const byte_span body = with_trailer(p.call, e);
  p.tags = current_->wire().send_call(h, encode_extension(e), body, p.call.payload_in,
                                      p.call.payload_out, eager_max_);
  p.sent_at_ns = time_.now_ns();
  p.deadline_ns = p.sent_at_ns + allowed_ns(p.call);
  p.where = pending_call::phase::sent;
  list_add(slot);
}

void session_core::list_add(std::uint32_t slot) {
  pending_call& p = calls_[slot];
  p.previous = sent_last_;
  p.next = no_slot;
  (sent_last_ == no_slot ? sent_first_ : calls_[sent_last_].next) = slot;
  sent_last_ = slot;
  payload_in_flight_ += p.call.payload_in.size() + p.call.payload_out.size();
}

void session_core::list_remove(std::uint32_t slot) {
  const pending_call& p = calls_[slot];
  (p.previous == no_slot ? sent_first_ : calls_[p.previous].next) = p.next;
  (p.next == no_slot ? sent_last_ : calls_[p.next].previous) = p.previous;
  payload_in_flight_ -= p.call.payload_in.size() + p.call.payload_out.size();
  if (sent_first_ == no_slot) patience_ = 1;
}

// The sending list goes in front of the delayed one, in the order it was sent.
void session_core::requeue_sent() {
  for (std::uint32_t slot = sent_last_; slot != no_slot; slot = calls_[slot].previous) {
    calls_[slot].where = pending_call::phase::queued;
    queue_.push_front(static_cast<std::uint16_t>(slot));
  }
  sent_first_ = sent_last_ = no_slot;
  payload_in_flight_ = 0;
}

void session_core::take_reply(const message_view& message) {
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  const wire_header& h = message.header;
  if (!ext || h.epoch != current_->epoch() || h.cookie != cookie_) {
    ++stale_replies_;
    return;
  }
  if (ext->boot_generation != boot_generation_) return lose_link(down_reason::protocol);
  connection_works();
  note_committed(h.ack);
  if (h.credits != 0) current_->wire().grant(h.credits);
  switch (machine_.state()) {
    using enum import_state;
    case replay: return take_replay_reply(message, *ext);
    case replay_locks: return take_claim_reply(message, *ext);
    case recover:
    case full: return take_call_reply(message, *ext);
    case replay_wait:
    case new_:
    case discon:
    case connecting:
    case evicted:
    case closed:
    case idle: ++stale_replies_; return;
  }
}

// Statuses that are the session's own business; true: the caller does not hear of it.
bool session_core::session_status_handled(error_code status, const reply_extension& ext,
                                          pending_call& p) {
  if (status == error_code::again_later) {
    park(p, std::max<std::uint32_t>(ext.retry_after_ms, 10));
    pump();
    return true;
  }
  const bool connect_tells = status == error_code::not_connected ||
                             status == error_code::stale_replay || status == error_code::evicted;
  if (connect_tells) lose_link(down_reason::protocol);
  return connect_tells;
}

bool session_core::payload_arrived(const message_view& message, const reply_extension& ext,
                                   const pending_call& p) {
  if (ext.payload_size > p.call.payload_out.size()) return false;
  if ((message.header.flags & message_flag::data_inline) == 0)
    return message.inline_payload.empty();
  if (message.inline_payload.size() != ext.payload_size) return false;
  copy_bytes(p.call.payload_out, message.inline_payload);
  return true;
}

void session_core::take_call_reply(const message_view& message, const reply_extension& ext) {
  const wire_header& h = message.header;
  pending_call* p = h.slot < calls_.size() ? &calls_[h.slot] : nullptr;
  if (p == nullptr || p->where != pending_call::phase::sent || p->call.xid != h.xid ||
      p->call.slot_seq != h.slot_seq) {
    ++stale_replies_;
    return;
  }
  if (!payload_arrived(message, ext, *p)) return lose_link(down_reason::protocol);
  current_->wire().retract(p->tags);
  current_->wire().call_answered();
  renew_lease(p->sent_at_ns);
  estimate_ms_[is_mutation(p->call.op) ? 1 : 0] = ext.estimate_ms;
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  if (session_status_handled(status, ext, *p)) return;
  inbound_reply reply;
  reply.slot = h.slot;
  reply.slot_seq = h.slot_seq;
  reply.status = status;
  reply.transno = h.transno;
  reply.last_committed = last_committed_;
  reply.body = message.body;
  reply.payload_size = ext.payload_size;
  check_reply(message, p->call, reply);
  list_remove(h.slot);
  last_work_ns_ = time_.now_ns();
  if (reply.fault && moves_again(p->call, *reply.fault, p->mismatches)) {
    p->where = pending_call::phase::queued;
    queue_.push_front(h.slot);
    return pump();
  }
  if (reply.fault) reply.fault = last_mismatch_;
  if (p->mismatches != 0 && !reply.fault) ++mismatches_healed_;
  p->where = pending_call::phase::free;
  p->call = outbound_call{};
  --call_count_;
  --sent_before_count_;
  events_.on_reply(reply);
  pump();
}

void session_core::park(pending_call& p, std::uint32_t delay_ms) {
  list_remove(p.call.slot);
  p.where = pending_call::phase::parked;
  const std::uint16_t slot = p.call.slot;
  const std::uint64_t xid = p.call.xid;
  (void)time_.call_after(delay_ms * ns_per_ms, [this, slot, xid,
                                                alive = std::weak_ptr<int>(alive_)] {
    if (alive.expired()) return;
    pending_call& parked = calls_[slot];
    if (parked.where != pending_call::phase::parked || parked.call.xid != xid) return;
    parked.where = pending_call::phase::queued;
    queue_.push_back(slot);
    pump();
  });
}

// Eviction: nothing we knew holds any more.
void session_core::drop_everything() {
  log_error("import {}: EVICTED ({}): {} calls dropped, their fate unknown; changes up to transno "
            "{} are kept", options_.volume, last_text_, call_count_, kept_through_);
  ++evictions_;
  for (pending_call& p : calls_) p = pending_call{};
  queue_.clear();
  replays_.clear();
  claims_.clear();
  sent_first_ = sent_last_ = no_slot;
  call_count_ = sent_before_count_ = 0;
  payload_in_flight_ = 0;
  patience_ = 1;
  cookie_ = boot_generation_ = last_committed_ = 0;
  target_id_ = {};
  replay_cursor_ = 0;
  lease_until_ns_ = std::min(lease_until_ns_, time_.now_ns());
  forget_held_ = true;
  // The outage is over: the server has just answered.
  rounds_failed_ = 0;
  tried_in_round_ = addresses_.size();
}

}  // namespace tangelo
