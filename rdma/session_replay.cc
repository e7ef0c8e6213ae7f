// Recovery: what was answered and is not committed is made again in the order of transnos, then
// open handles are claimed, then locks, then "replay done" is said. All lists have a window of what
// is in flight. By `ack`, the transno before it in this pass, the server sees that none was lost.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "protocol/ops.h"
#include "rdma/session_core.h"

namespace tangelo {

void session_core::fill_replays() {
  if (!replay_.settled()) return ask_again_when_settled();
  bool drained = false;
  while (replays_.size() < window_size && current_->wire().may_call()) {
    replay_in_flight r;
    if (forget_held_ || !replay_.next_replay(replay_sent_, r.entry)) {
      drained = true;
      break;
    }
    send_replay(std::move(r));
  }
  if (drained && replays_.empty()) step(import_event::replay_drained);
}

void session_core::send_replay(replay_in_flight r) {
  wire_header h = call_header(r.entry.call);
  h.flags = message_flag::replay;
  if (replay_resumed_) h.flags |= message_flag::resent;
  h.transno = r.entry.transno;
  h.ack = replay_before_;
  call_extension e = call_extension_of(r.entry.call);
  e.replay_time_ns = r.entry.time_ns;
  const byte_span body = with_trailer(r.entry.call, e);
  r.tags = current_->wire().send_call(h, encode_extension(e), body, r.entry.call.payload_in, {},
                                      eager_max_);
  r.sent_at_ns = time_.now_ns();
  r.deadline_ns = r.sent_at_ns + allowed_ns(r.entry.call);
  replay_sent_ = replay_before_ = r.entry.transno;
  replays_.push_back(std::move(r));
}

void session_core::take_replay_reply(const message_view& message, const reply_extension& ext) {
  const wire_header& h = message.header;
  const auto r = std::find_if(replays_.begin(), replays_.end(), [&](const replay_in_flight& x) {
    return x.entry.call.xid == h.xid && x.entry.call.slot == h.slot && !x.answered;
  });
  if (r == replays_.end()) {
    ++stale_replies_;
    return;
  }
  current_->wire().retract(r->tags);
  current_->wire().call_answered();
  renew_lease(r->sent_at_ns);
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  if (status == error_code::integrity) note_bad_replay(r->entry.call, message.body);
  if (!replay_went_on(r->entry, status)) return;
  r->answered = true;
  ++replayed_;
  while (!replays_.empty() && replays_.front().answered) {
    replay_cursor_ = replays_.front().entry.transno;
    replays_.pop_front();
  }
  if (machine_.state() == import_state::replay) fill_replays();
}

// False: the answer ended the connection or the session.
bool session_core::replay_went_on(const replay_entry& entry, error_code status) {
  if (status == error_code::ok) return true;
  const bool connect_tells =
      status == error_code::stale_replay || status == error_code::not_connected ||
      status == error_code::evicted || status == error_code::again_later;
  if (connect_tells) {
    lose_link(down_reason::protocol);
    return false;
  }
  ++replays_refused_;
  log_error("import {}: replay of {} (transno {}) refused: {}", options_.volume,
            name_of(entry.call.op), entry.transno, name_of_error(status));
  if (entry.call.op == opcode::write || entry.call.op == opcode::fallocate) {
    events_.on_replay_failed(entry, status);
    return true;
  }
  // What the application was told is not true any more, and later changes stand on it.
  last_text_ = "a change that was answered could not be made again";
  kept_through_ = last_committed_;
  step(import_event::verdict_evicted);
  return false;
}

template <class Body>
void session_core::send_claim(opcode op, const Body& body, claim_in_flight claim) {
  std::array<std::byte, op_body_size_max> bytes;
  const std::optional<std::size_t> size = encode(body, bytes);
  CHECK(size.has_value());
  outbound_call call;
  call.slot = unslotted;
  call.op = op;
  call.xid = claim_xid_bit | ++claim_xid_;
  call.body = {bytes.data(), *size};
  (void)current_->wire().send_call(call_header(call), encode_extension(call_extension_of(call)),
                                   call.body, {}, {}, 0);
  claim.xid = call.xid;
  claim.sent_at_ns = time_.now_ns();
  claim.deadline_ns = claim.sent_at_ns + allowed_ns(call);
  claims_.push_back(claim);
}

// False: there is nothing left to claim, or nothing before the open files are all answered.
bool session_core::claim_next() {
  if (forget_held_) return false;
  claim_in_flight claim;
  if (!opens_claimed_) {
    open_call body;
    if (replay_.next_open(claim_sent_, body.handle, body.inode, body.open_flags)) {
      claim_sent_ = claim.handle = body.handle;
      send_claim(opcode::reclaim_open, body, claim);
      return true;
    }
    if (!claims_.empty()) return false;
    opens_claimed_ = true;
  }
  if (!replay_.next_lock(lock_sent_, claim.lock)) return false;
  lock_sent_ = claim.lock.place;
  send_claim(opcode::reclaim_lock, claim.lock.call, claim);
  return true;
}

void session_core::fill_claims() {
  bool drained = false;
  while (!drained && claims_.size() < window_size && current_->wire().may_call())
    drained = !claim_next();
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
  renew_lease(c->sent_at_ns);
  const error_code status = error_of_wire(static_cast<std::uint16_t>(ext.status));
  if (status == error_code::evicted || status == error_code::not_connected)
    return lose_link(down_reason::protocol);
  const claim_in_flight answered = *c;
  claims_.erase(c);
  if (status != error_code::ok && answered.handle != 0)
    events_.on_claim_refused(answered.handle, status);
  if (status != error_code::ok && answered.handle == 0)
    events_.on_lock_refused(answered.lock, status);
  fill_claims();
}

void session_core::take_callback(const message_view& message) {
  const std::optional<callback_body> body = decode<callback_body>(message.body);
  if (!body) return lose_link(down_reason::protocol);
  if (!is_ours(message)) return;
  note_committed(message.header.ack);
  events_.on_lock_notice(body->lock_id, error_of_wire(body->status));
}

// Without a connection nothing is lost: the server says it again.
void session_core::acknowledge(std::uint64_t lock_id, bool kept) {
  if (!attached()) return;
  const callback_ack_body body{lock_id, static_cast<std::uint8_t>(kept ? 1 : 0)};
  std::array<std::byte, 32> bytes;
  const std::size_t size = encode(body, bytes).value_or(0);
  send_control(message_type::callback_ack, {bytes.data(), size}, lock_id);
}

void session_core::take_replay_done_ack(const message_view& message) {
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  if (!ext || !is_ours(message)) return lose_link(down_reason::protocol);
  if (ext->status != 0) return lose_link(down_reason::protocol);  // CONNECT tells what became of us
  note_committed(message.header.ack);
  step(import_event::replay_done_acked);
}

}  // namespace tangelo
