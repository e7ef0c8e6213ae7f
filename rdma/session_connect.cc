// From an address to a verdict: the attempt, HELLO, CONNECT, and what the client believes of the
// answer. A verdict that contradicts what we know is treated as EVICTED, loudly: to go on would be
// to mix two histories.
#include <algorithm>

#include "base/log.h"
#include "rdma/handshake.h"
#include "rdma/session_core.h"

namespace tangelo {

void session_core::begin_attempt() {
  address_index_ = choose_address();
  ++connection_count_;
  const std::uint64_t epoch =
      (std::uint64_t{options_.core_generation} << 32) | connection_count_;
  const std::string& address = addresses_[address_index_].text;
  current_ = std::make_unique<session_link>(*this, fabric_.connect(address), epoch);
  const session_timings& t = options_.timings;
  const std::uint64_t patience = rounds_failed_ == 0 ? t.attempt_first_ns : t.attempt_ns;
  attempt_timer_ =
      time_.call_after(std::min(patience, std::max(pause_max_ns(), 500 * ns_per_ms)), [this] {
        attempt_timer_ = 0;
        lose_link(down_reason::timeout);
      });
  current_->wire().start();
}

std::size_t session_core::choose_address() {
  if (same_address_) {
    same_address_ = false;
    return address_index_;
  }
  const auto oldest =
      std::min_element(addresses_.begin(), addresses_.end(),
                       [](const server_address& a, const server_address& b) {
                         return a.last_tried < b.last_tried;
                       });
  oldest->last_tried = ++try_count_;
  ++tried_in_round_;
  return static_cast<std::size_t>(oldest - addresses_.begin());
}

// A server that is back waits for us for one and a half leases: we must have been there by then.
std::uint64_t session_core::pause_max_ns() const noexcept {
  const session_timings& t = options_.timings;
  if (boot_generation_ == 0) return t.back_off_max_ns;  // nobody waits for us
  // A core that has not heard of the lease takes it for the shortest.
  const std::uint64_t lease = lease_ns_ != 0 ? lease_ns_ : 2 * ns_per_s;
  return std::min(t.back_off_max_ns, std::max(lease / 4, t.back_off_min_ns));
}

std::uint64_t session_core::retry_delay_ns() {
  if (retry_hint_ns_ != 0) return std::exchange(retry_hint_ns_, 0);
  if (tried_in_round_ < addresses_.size()) return 0;
  tried_in_round_ = 0;
  const session_timings& t = options_.timings;
  const unsigned doubled = std::min(rounds_failed_++, 16u);
  const std::uint64_t base = std::min(t.back_off_min_ns << doubled, pause_max_ns());
  return base - base / 4 + random_.below(base / 2 + 1);
}

void session_core::retry_later() {
  time_.cancel(retry_timer_);
  retry_timer_ = time_.call_after(retry_delay_ns(), [this] {
    retry_timer_ = 0;
    step(import_event::retry_due);
  });
}

void session_core::send_hello() {
  hello_body body;
  body.client_id = options_.client_id;
  body.volume = options_.volume;
  if (!options_.shared_secret.empty()) {
    body.auth_kind = auth_hmac_sha256;
    body.nonce = new_nonce();
  }
  server_proved_ = options_.shared_secret.empty();
  hello_.resize(1024);
  hello_.resize(encode(body, hello_).value_or(0));
  if (hello_.empty()) return lose_link(down_reason::local_error);
  send_control(message_type::hello, hello_, 0);
}

void session_core::take_hello_ack(const message_view& message) {
  const std::optional<hello_ack_body> ack = decode<hello_ack_body>(message.body);
  if (!ack || ack->version != wire_version || (ack->features & ~feature::known) != 0)
    return lose_link(down_reason::protocol);
  if (!server_proved_ && !take_proof(*ack)) return;
  features_ = ack->features;
  eager_max_ = (features_ & feature::eager_payload) != 0 ? ack->eager_payload_max : 0;
  target_changed_ = target_id_ != id128{} && target_id_ != ack->target_id;
  target_id_ = ack->target_id;
  current_->wire().grant(ack->credits);
  send_connect();
}

// The server's proof checked, ours sent.
bool session_core::take_proof(const hello_ack_body& ack) {
  const secret& s = options_.shared_secret;
  server_proved_ = ack.auth_kind == auth_hmac_sha256 &&
                   same_mac(ack.proof, server_proof(s, hello_, ack));
  if (!server_proved_) {
    note_refusal(ack.auth_kind == auth_none
                     ? "the server asks for no secret, and this mount has one"
                     : "the server does not know the secret of this mount");
    lose_link(down_reason::auth);
    return false;
  }
  std::array<std::byte, 64> bytes;
  const std::size_t size = encode(auth_body{client_proof(s, hello_, ack)}, bytes).value_or(0);
  send_control(message_type::auth, {bytes.data(), size}, 0);
  return true;
}

// What is held can be said only when every answer has found its way into the records.
void session_core::send_connect() {
  if (!replay_.settled()) return ask_again_when_settled();
  connect_body body;
  body.client_id = options_.client_id;
  body.incarnation = options_.incarnation;
  body.last_boot_generation = boot_generation_;
  body.last_committed = last_committed_;
  body.last_cookie = cookie_;
  body.held = held(last_committed_);
  replay_entry first;
  if (!forget_held_ && replay_.next_replay(last_committed_, first))
    body.replay_from = first.transno;
  body.slots = 0x4000;
  body.features = features_;
  body.reason = static_cast<std::uint32_t>(last_reason_);
  std::array<std::byte, 256> bytes;
  const std::optional<std::size_t> size = encode(body, bytes);
  if (!size) return lose_link(down_reason::local_error);
  connect_sent_ns_ = time_.now_ns();
  send_control(message_type::connect, {bytes.data(), *size}, 0);
}

void session_core::ask_again_when_settled() {
  time_.cancel(settle_timer_);
  settle_timer_ = time_.call_after(options_.timings.settle_ns, [this] {
    settle_timer_ = 0;
    if (machine_.state() == import_state::connecting) send_connect();
    if (machine_.state() == import_state::replay) fill_replays();
  });
}

void session_core::take_connect_ack(const message_view& message) {
  const std::optional<connect_ack_body> ack = decode<connect_ack_body>(message.body);
  if (!server_proved_) return lose_link(down_reason::auth);
  if (!ack || message.header.epoch != current_->epoch()) return lose_link(down_reason::protocol);
  const import_event event = judge(*ack);
  if (event == import_event::verdict_later) {
    time_.cancel(std::exchange(attempt_timer_, 0));
    if (ack->verdict != connect_verdict::wait) drop_link(down_reason::admin);
  } else if (event != import_event::verdict_evicted) {
    accept_session(*ack);
  }
  step(event);
}

void session_core::accept_session(const connect_ack_body& ack) {
  time_.cancel(std::exchange(attempt_timer_, 0));
  if (ack.boot_generation != boot_generation_) {
    if (options_.cursor_by_boot) replay_cursor_ = 0;
    lease_until_ns_ = 0;
    estimate_ms_ = {};
  }
  cookie_ = ack.cookie;
  boot_generation_ = ack.boot_generation;
  lease_ns_ = ack.lease_ms * ns_per_ms;
  renew_lease(connect_sent_ns_);
  note_committed(ack.last_committed);
  if (ack.credits != 0) current_->wire().grant(ack.credits);
  last_text_.clear();
  rounds_failed_ = std::min(rounds_failed_, 1u);
  last_work_ns_ = time_.now_ns();
  log_info("import {}: {} says {}, epoch {:#x}, boot {}", options_.volume,
           addresses_[address_index_].text, name_of(ack.verdict), current_->epoch(),
           boot_generation_);
  watch_health();
}

// recovery.md §7.7: what cannot be true of the server we knew.
bool session_core::contradicts(const connect_ack_body& ack) {
  std::string_view why;
  went_back_ = target_changed_ || ack.boot_generation < boot_generation_ ||
               ack.last_committed < last_committed_;
  if (target_changed_) why = "it is another volume";
  if (ack.boot_generation < boot_generation_) why = "its boot generation went back";
  if (ack.last_committed < last_committed_) why = "its last committed transaction went back";
  if ((ack.features & ~features_) != 0) why = "it wants features that we did not offer";
  const bool same_boot = ack.boot_generation == boot_generation_;
  const bool resumed = ack.verdict == connect_verdict::resumed;
  if (resumed && same_boot && cookie_ != 0 && ack.cookie != cookie_)
    why = "it resumes a session with another cookie";
  if (why.empty()) return false;
  log_error("import {}: {} says {}, but {} (boot {}, was {}; committed {}, was {}): treated as "
            "EVICTED", options_.volume, addresses_[address_index_].text, name_of(ack.verdict), why,
            ack.boot_generation, boot_generation_, ack.last_committed, last_committed_);
  last_text_ = why;
  return true;
}

bool session_core::mutation_was_sent() const noexcept {
  return std::any_of(calls_.begin(), calls_.end(), [](const pending_call& p) {
    const bool may_have_run = p.sent_before || p.call.attempt > 1;
    return p.where != pending_call::phase::free && may_have_run && is_mutation(p.call.op);
  });
}

import_event session_core::judge(const connect_ack_body& ack) {
  using enum connect_verdict;
  const import_event later = judge_later(ack);
  if (later == import_event::verdict_later) return later;
  kept_through_ = 0;
  if (contradicts(ack)) return import_event::verdict_evicted;
  const bool known_boot = ack.boot_generation == boot_generation_ || boot_generation_ == 0;
  // What is committed by now is not held any more.
  const bool holding = held(std::max(last_committed_, ack.last_committed)) != 0;
  switch (ack.verdict) {
    case fresh:
      // Never attached to this server: nothing can have been executed there.
      if (held(last_committed_) == 0 && (boot_generation_ == 0 || !mutation_was_sent()))
        return import_event::verdict_fresh;
      last_text_ = "the server does not know this client any more";
      return import_event::verdict_evicted;
    case resumed:
    case resumed_new_boot:
      // The first answer of this boot may have been lost: nobody knows then what we hold.
      if ((ack.verdict == resumed && known_boot) || !holding) return import_event::verdict_resumed;
      if (ack.window_left_ms != 0) return import_event::verdict_new_boot;
      last_text_ = "the server has restarted and did not wait for this client";
      return import_event::verdict_evicted;
    case recovering_new_boot: return import_event::verdict_new_boot;
    case recovering_resumed:
      return ack.boot_generation == boot_generation_ || !options_.cursor_by_boot
                 ? import_event::verdict_rejoined
                 : import_event::verdict_new_boot;
    case evicted:
      kept_through_ = ack.kept_through;
      last_text_ = ack.text.empty() ? "evicted by the server" : ack.text;
      return import_event::verdict_evicted;
    case busy:
    case try_other:
    case wait:
    case denied: break;
  }
  return import_event::verdict_evicted;
}

// The verdicts that only mean "not now"; the hint is remembered for the retry.
import_event session_core::judge_later(const connect_ack_body& ack) {
  switch (ack.verdict) {
    using enum connect_verdict;
    case busy:
    case wait:
      // A standby knows no boot generation: the volume may be at another address.
      same_address_ = ack.boot_generation != 0 || addresses_.size() == 1;
      retry_hint_ns_ = std::max<std::uint64_t>(ack.retry_ms, 10) * ns_per_ms;
      break;
    case denied: retry_hint_ns_ = options_.timings.denied_ns; break;
    case try_other: break;
    case fresh:
    case resumed:
    case resumed_new_boot:
    case recovering_new_boot:
    case recovering_resumed:
    case evicted: return import_event::verdict_evicted;
  }
  note_refusal(ack.text.empty() ? name_of(ack.verdict) : ack.text);
  return import_event::verdict_later;
}

}  // namespace tangelo
