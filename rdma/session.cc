#include "rdma/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "rdma/session_core.h"

namespace tangelo {

std::unique_ptr<client_session> client_session::make(session_options options, provider& fabric,
                                                     scheduler& time, session_events& events,
                                                     replay_source& replay) {
  return std::make_unique<session_core>(std::move(options), fabric, time, events, replay);
}

void session_link::on_channel_up() noexcept { owner_.link_up(*this); }
void session_link::on_channel_message(const message_view& message) noexcept {
  owner_.link_message(*this, message);
}
void session_link::on_channel_down(down_reason reason) noexcept {
  owner_.link_down(*this, reason);
}
void session_link::on_channel_flushed() noexcept { owner_.link_flushed(*this); }

session_core::session_core(session_options options, provider& fabric, scheduler& time,
                           session_events& events, replay_source& replay)
    : options_(std::move(options)),
      fabric_(fabric),
      time_(time),
      events_(events),
      replay_(replay),
      random_(options_.seed),
      boot_generation_(options_.last_boot_generation),
      last_committed_(boot_generation_ != 0 ? options_.last_committed : 0),
      forget_held_(boot_generation_ == 0) {
  CHECK(!options_.addresses.empty());
  for (const std::string& a : options_.addresses) addresses_.push_back({a});
}

session_core::~session_core() {
  for (timer_id t : {attempt_timer_, retry_timer_, health_timer_, settle_timer_, stop_timer_})
    time_.cancel(t);
}

void session_core::invalidated() {
  if (machine_.state() == import_state::evicted) step(import_event::invalidated);
}

void session_core::start() { step(import_event::start); }

void session_core::stop(std::function<void()> done) {
  stop_done_ = std::move(done);
  step(import_event::stop);
}

session_status session_core::status() const {
  session_status s;
  s.state = machine_.state();
  s.connection_count = connection_count_;
  s.boot_generation = boot_generation_;
  s.last_committed = last_committed_;
  s.address = addresses_[address_index_].text;
  s.last_reason = last_reason_;
  s.last_text = last_text_;
  s.sending = sent_before_count_;
  s.delayed = call_count_ - sent_before_count_;
  s.credits = current_ != nullptr ? current_->wire().granted() : 0;
  s.epoch = current_ != nullptr ? current_->epoch() : 0;
  s.lease_until_ns = lease_until_ns_;
  s.resent = resent_;
  s.replayed = replayed_;
  s.replays_refused = replays_refused_;
  s.stale_replies = stale_replies_;
  s.evictions = evictions_;
  s.mismatches_healed = mismatches_healed_;
  s.mismatches_reported = mismatches_reported_;
  s.last_mismatch = last_mismatch_;
  s.history = machine_.history();
  return s;
}

void session_core::step(import_event event) {
  const import_state before = machine_.state();
  const import_action action = machine_.apply(event, time_.now_ns());
  const import_state after = machine_.state();
  if (after != before) {
    log_debug("import {}: {} --{}--> {}", options_.volume, name_of(before), name_of(event),
              name_of(after));
    if (after == import_state::full) forget_held_ = false;
    events_.on_import_state(after);
  }
  if (action == import_action::never) {
    log_error("import {}: {} in state {} cannot happen", options_.volume, name_of(event),
              name_of(before));
    lose_link(down_reason::protocol);
    return;
  }
  if (machine_.state() != after) return;  // the owner did something else when it heard of it
  perform(action);
}

void session_core::perform(import_action action) {
  switch (action) {
    using enum import_action;
    case none:
    case never: return;
    case connect:
      drop_link(last_reason_);  // one that waited for ADVICE
      when_flushed(flush_wish::attempt);
      return;
    case say_hello: send_hello(); return;
    case start_replay:
    case resume_replay:
      replays_.clear();
      replay_resumed_ = action == resume_replay;
      if (action == start_replay && !options_.cursor_by_boot) replay_cursor_ = 0;
      replay_sent_ = std::max(replay_cursor_, last_committed_);
      replay_before_ = 0;
      fill_replays();
      return;
    case reclaim_opens:
      claims_.clear();
      claim_sent_ = lock_sent_ = 0;
      opens_claimed_ = false;
      fill_claims();
      return;
    case send_replay_done: send_control(message_type::replay_done, {}, 0); return;
    case resend_all:
      requeue_sent();
      step(import_event::resends_queued);
      return;
    case release_delayed: pump(); return;
    case invalidate:
      drop_link(down_reason::admin);
      when_flushed(flush_wish::evict);
      return;
    case schedule_retry: retry_later(); return;
    case say_goodbye: end_session(); return;
    case close_link:
      send_goodbye(true);
      drop_link(down_reason::admin);
      return;
  }
}

bool session_core::attached() const noexcept {
  switch (machine_.state()) {
    using enum import_state;
    case replay:
    case replay_locks:
    case replay_wait:
    case recover:
    case full: return current_ != nullptr;
    case new_:
    case discon:
    case connecting:
    case evicted:
    case closed:
    case idle: return false;
  }
  return false;
}

void session_core::link_up(session_link& link) {
  if (&link != current_.get()) return;
  last_heard_ns_ = time_.now_ns();
  ping_pending_ = false;
  step(import_event::link_up);
}

void session_core::link_down(session_link& link, down_reason reason) {
  if (&link == current_.get()) lose_link(reason);
}

void session_core::link_flushed(session_link&) {
  // Not from inside the link's own event: it is destroyed by reap().
  time_.post([this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) reap();
  });
}

void session_core::reap() {
  std::erase_if(dying_, [](const std::unique_ptr<session_link>& l) { return l->wire().flushed(); });
  if (dying_.empty()) fulfil(std::exchange(wish_, flush_wish::nothing));
}

void session_core::when_flushed(flush_wish wish) {
  if (dying_.empty()) {
    fulfil(wish);
  } else {
    wish_ = wish;
  }
}

void session_core::fulfil(flush_wish wish) {
  switch (wish) {
    case flush_wish::nothing: return;
    case flush_wish::attempt:
      if (machine_.state() == import_state::connecting) begin_attempt();
      return;
    case flush_wish::evict:
      drop_everything();
      events_.on_evicted(kept_through_, went_back_);
      return;
    case flush_wish::end:
      if (stop_done_ != nullptr) time_.post(std::exchange(stop_done_, nullptr));
      return;
  }
}

void session_core::drop_link(down_reason reason) {
  time_.cancel(std::exchange(attempt_timer_, 0));
  time_.cancel(std::exchange(health_timer_, 0));
  time_.cancel(std::exchange(settle_timer_, 0));
  if (current_ == nullptr) return;
  last_reason_ = reason;
  current_->wire().close(reason);
  dying_.push_back(std::move(current_));
}

void session_core::lose_link(down_reason reason) {
  if (current_ == nullptr) return;
  log_info("import {}: connection {} to {} ended: {}", options_.volume, connection_count_,
           addresses_[address_index_].text, name_of(reason));
  drop_link(reason);
  step(import_event::link_down);
  if (machine_.state() == import_state::closed) when_flushed(flush_wish::end);
}

void session_core::send_control(message_type type, byte_span body, std::uint64_t xid) {
  if (current_ == nullptr) return;
  wire_header h;
  h.type = type;
  h.cookie = cookie_;
  h.epoch = current_->epoch();
  h.xid = xid;
  call_extension e;
  e.body_size = static_cast<std::uint32_t>(body.size());
  current_->wire().send(h, encode_extension(e), body);
}

void session_core::link_message(session_link& link, const message_view& message) {
  if (&link != current_.get()) return;  // an older connection: starts nothing
  last_heard_ns_ = time_.now_ns();
  const import_state state = machine_.state();
  switch (message.header.type) {
    using enum message_type;
    case hello_ack:
      if (state == import_state::connecting) return take_hello_ack(message);
      break;
    case connect_ack:
      if (state == import_state::connecting) return take_connect_ack(message);
      break;
    case reply:
      if (attached()) return take_reply(message);
      break;
    case pong: return take_pong(message);
    case ping:
      if (message.chunk_count == 0) return send_control(pong, {}, message.header.xid);
      break;
    case replay_done_ack:
      if (state == import_state::replay_wait) return take_replay_done_ack(message);
      if (attached()) return;  // said twice, answered twice
      break;
    case goodbye: return lose_link(down_reason::admin);
    case error: return take_error(message);
    case early_reply:
      if (attached()) return take_early_reply(message);
      break;
    case commit_note:
      if (attached()) return take_commit_note(message);
      break;
    case advice: return take_advice(message);
    case callback:
      if (attached()) return take_callback(message);
      break;
    case credit: return;  // of a newer server
    case hello:
    case auth:
    case auth_ack:
    case connect:
    case call:
    case pull_request:
    case data:
    case replay_done:
    case callback_ack: break;
  }
  lose_link(down_reason::protocol);
}

void session_core::take_error(const message_view& message) {
  const std::optional<close_body> body = decode<close_body>(message.body);
  const error_code code = body ? error_of_wire(body->code) : error_code::protocol;
  note_refusal(body ? body->text : std::string_view("malformed"));
  // Evicted: the next CONNECT is told how much of what we did is kept.
  lose_link(code == error_code::denied ? down_reason::auth : down_reason::protocol);
}

// Said once in the log, however often it comes.
void session_core::note_refusal(std::string_view text) {
  if (text == last_text_) return;
  log_warning("import {}: {}: {}", options_.volume, addresses_[address_index_].text, text);
  last_text_ = text;
}

// The volume is served here from now on: the server that said `wait` has taken it over.
void session_core::take_advice(const message_view& message) {
  const std::optional<advice_body> body = decode<advice_body>(message.body);
  if (!body) return lose_link(down_reason::protocol);
  if (machine_.state() != import_state::discon) return;
  log_info("import {}: {} serves it now, boot {}", options_.volume,
           addresses_[address_index_].text, body->boot_generation);
  same_address_ = true;
  rounds_failed_ = 0;
  time_.cancel(std::exchange(retry_timer_, 0));
  step(import_event::retry_due);
}

void session_core::send_goodbye(bool resume_ok) {
  close_body body;
  body.resume_ok = resume_ok ? 1 : 0;
  std::array<std::byte, 64> bytes;
  const std::size_t size = encode(body, bytes).value_or(0);
  send_control(message_type::goodbye, {bytes.data(), size}, 0);
}

void session_core::end_session() {
  time_.cancel(std::exchange(retry_timer_, 0));
  if (current_ != nullptr && cookie_ != 0 && current_->wire().up()) {
    send_goodbye(false);
    stop_timer_ = time_.call_after(options_.timings.goodbye_ns, [this] {
      stop_timer_ = 0;
      lose_link(down_reason::admin);
    });
    return;
  }
  drop_link(down_reason::admin);
  when_flushed(flush_wish::end);
}

}  // namespace tangelo
