// The three lists. A call is queued (delayed, or to be sent again), sent, or parked (the server
// said: later); replays and claims of open handles have their own windows while recovering.
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
  return h;
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
  call_extension e;
  e.attempt = p.call.attempt;
  e.body_size = static_cast<std::uint32_t>(p.call.body.size());
  p.tags = current_->wire().send_call(h, encode_extension(e), p.call.body, p.call.payload_in,
                                      p.call.payload_out, eager_max_);
  p.sent_at_ns = time_.now_ns();
  p.where = pending_call::phase::sent;
  list_add(slot);
}

void session_core::list_add(std::uint32_t slot) {
  pending_call& p = calls_[slot];
  p.previous = sent_last_;
  p.next = no_slot;
  (sent_last_ == no_slot ? sent_first_ : calls_[sent_last_].next) = slot;
  sent_last_ = slot;
}

void session_core::list_remove(std::uint32_t slot) {
  const pending_call& p = calls_[slot];
  (p.previous == no_slot ? sent_first_ : calls_[p.previous].next) = p.next;
  (p.next == no_slot ? sent_last_ : calls_[p.next].previous) = p.previous;
}

// The sending list goes in front of the delayed one, in the order it was sent.
void session_core::requeue_sent() {
  for (std::uint32_t slot = sent_last_; slot != no_slot; slot = calls_[slot].previous) {
    calls_[slot].where = pending_call::phase::queued;
    queue_.push_front(static_cast<std::uint16_t>(slot));
  }
  sent_first_ = sent_last_ = no_slot;
}

void session_core::take_reply(const message_view& message) {
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  const wire_header& h = message.header;
  if (!ext || h.epoch != current_->epoch() || h.cookie != cookie_) {
    ++stale_replies_;
    return;
  }
  if (ext->boot_generation != boot_generation_) return lose_link(down_reason::protocol);
  rounds_failed_ = 0;
  tried_in_round_ = 0;
  last_committed_ = std::max(last_committed_, h.ack);
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
  if (status == error_code::not_connected || status == error_code::stale_replay) {
    lose_link(down_reason::protocol);
    return true;
  }
  if (status == error_code::evicted) {
    step(import_event::verdict_evicted);
    return true;
  }
  return false;
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
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  if (session_status_handled(status, ext, *p)) return;
  list_remove(h.slot);
  p->where = pending_call::phase::free;
  p->call = outbound_call{};
  --call_count_;
  --sent_before_count_;
  inbound_reply reply;
  reply.slot = h.slot;
  reply.slot_seq = h.slot_seq;
  reply.status = status;
  reply.transno = h.transno;
  reply.last_committed = last_committed_;
  reply.body = message.body;
  reply.payload_size = ext.payload_size;
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

void session_core::fill_replays() {
  bool drained = false;
  while (replays_.size() < window_size && current_->wire().may_call()) {
    replay_in_flight r;
    if (forget_held_ || !replay_.next_replay(replay_sent_, r.entry)) {
      drained = true;
      break;
    }
    wire_header h = call_header(r.entry.call);
    h.flags |= message_flag::replay;
    if (replay_resumed_ || r.entry.call.attempt > 1) h.flags |= message_flag::resent;
    h.transno = r.entry.transno;
    call_extension e;
    e.attempt = r.entry.call.attempt;
    e.body_size = static_cast<std::uint32_t>(r.entry.call.body.size());
    r.tags = current_->wire().send_call(h, encode_extension(e), r.entry.call.body,
                                        r.entry.call.payload_in, {}, eager_max_);
    replay_sent_ = r.entry.transno;
    replays_.push_back(r);
  }
  if (drained && replays_.empty()) step(import_event::replay_drained);
}

void session_core::take_replay_reply(const message_view& message, const reply_extension& ext) {
  const auto r = std::find_if(replays_.begin(), replays_.end(), [&](const replay_in_flight& x) {
    return x.entry.call.xid == message.header.xid && !x.answered;
  });
  if (r == replays_.end()) {
    ++stale_replies_;
    return;
  }
  current_->wire().retract(r->tags);
  current_->wire().call_answered();
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  if (status == error_code::stale_replay || status == error_code::not_connected)
    return lose_link(down_reason::protocol);
  if (status == error_code::evicted) return step(import_event::verdict_evicted);
  if (status != error_code::ok)
    log_error("import {}: replay of {} (transno {}) failed: {}", options_.volume,
              name_of(r->entry.call.op), r->entry.transno, name_of_error(status));
  r->answered = true;
  while (!replays_.empty() && replays_.front().answered) {
    replay_cursor_ = replays_.front().entry.transno;
    replays_.pop_front();
  }
  fill_replays();
}

void session_core::fill_claims() {
  bool drained = false;
  while (claims_.size() < window_size && current_->wire().may_call()) {
    open_call body;
    if (forget_held_ ||
        !replay_.next_open(claim_sent_, body.handle, body.inode, body.open_flags)) {
      drained = true;
      break;
    }
    std::array<std::byte, 256> bytes;
    const std::optional<std::size_t> size = encode(body, bytes);
    CHECK(size.has_value());
    outbound_call call;
    call.slot = unslotted;
    call.op = opcode::reclaim_open;
    call.xid = claim_xid_bit | ++claim_xid_;
    call_extension e;
    e.attempt = 1;
    e.body_size = static_cast<std::uint32_t>(*size);
    (void)current_->wire().send_call(call_header(call), encode_extension(e),
                                     {bytes.data(), *size}, {}, {}, 0);
    claim_sent_ = body.handle;
    claims_.push_back({call.xid, body.handle});
  }
  if (drained && claims_.empty()) step(import_event::opens_reclaimed);
}

void session_core::take_claim_reply(const message_view& message, const reply_extension& ext) {
  const auto c = std::find_if(claims_.begin(), claims_.end(), [&](const claim_in_flight& x) {
    return x.xid == message.header.xid;
  });
  if (c == claims_.end()) {
    ++stale_replies_;
    return;
  }
  current_->wire().call_answered();
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  // A refused claim loses that file only: the server answers STALE when the handle is used.
  if (status != error_code::ok)
    log_error("import {}: open handle {} is lost: {}", options_.volume, c->handle,
              name_of_error(status));
  claims_.erase(c);
  fill_claims();
}

void session_core::take_replay_done_ack(const message_view& message) {
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  if (!ext) return lose_link(down_reason::protocol);
  last_committed_ = std::max(last_committed_, message.header.ack);
  step(ext->status == 0 ? import_event::replay_done_acked : import_event::verdict_evicted);
}

// Eviction: nothing we knew holds any more.
void session_core::drop_everything() {
  log_error("import {}: EVICTED: {} calls dropped, their fate unknown", options_.volume,
            call_count_);
  ++evictions_;
  for (pending_call& p : calls_) p = pending_call{};
  queue_.clear();
  replays_.clear();
  claims_.clear();
  sent_first_ = sent_last_ = no_slot;
  call_count_ = sent_before_count_ = 0;
  cookie_ = boot_generation_ = last_committed_ = 0;
  target_id_ = {};
  replay_cursor_ = 0;
  forget_held_ = true;
}

}  // namespace tangelo
