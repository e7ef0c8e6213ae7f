// From an address to a verdict: the attempt, HELLO, CONNECT, and what the client believes of the
// answer. A verdict that contradicts what we know is treated as EVICTED, loudly: to go on would be
// to mix two histories.
#include <algorithm>

#include "base/log.h"
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
  attempt_timer_ =
      time_.call_after(rounds_failed_ == 0 ? t.attempt_first_ns : t.attempt_ns, [this] {
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

std::uint64_t session_core::retry_delay_ns() {
  if (retry_hint_ns_ != 0) return std::exchange(retry_hint_ns_, 0);
  if (tried_in_round_ < addresses_.size()) return 0;
  tried_in_round_ = 0;
  const session_timings& t = options_.timings;
  const unsigned doubled = std::min(rounds_failed_++, 16u);
  const std::uint64_t base = std::min(t.back_off_min_ns << doubled, t.back_off_max_ns);
  return base - base / 4 + random_.below(base / 2 + 1);
}

void session_core::retry_later() {
  drop_link(last_reason_);
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
  std::array<std::byte, 1024> bytes;
  const std::optional<std::size_t> size = encode(body, bytes);
  if (!size) return lose_link(down_reason::local_error);
  send_control(message_type::hello, {bytes.data(), *size}, 0);
}

void session_core::take_hello_ack(const message_view& message) {
  const std::optional<hello_ack_body> ack = decode<hello_ack_body>(message.body);
  if (!ack || ack->version != wire_version || (ack->features & ~feature::known) != 0)
    return lose_link(down_reason::protocol);
  features_ = ack->features;
  eager_max_ = (features_ & feature::eager_payload) != 0 ? ack->eager_payload_max : 0;
  target_changed_ = target_id_ != id128{} && target_id_ != ack->target_id;
  target_id_ = ack->target_id;
  current_->wire().grant(ack->credits);
  send_connect();
}

void session_core::send_connect() {
  connect_body body;
  body.client_id = options_.client_id;
  body.incarnation = options_.incarnation;
  body.last_boot_generation = boot_generation_;
  body.last_committed = last_committed_;
  body.last_cookie = cookie_;
  body.held = held();
  replay_entry first;
  if (!forget_held_ && replay_.next_replay(0, first)) body.replay_from = first.transno;
  body.slots = 0x4000;
  body.features = features_;
  body.reason = static_cast<std::uint32_t>(last_reason_);
  std::array<std::byte, 256> bytes;
  const std::optional<std::size_t> size = encode(body, bytes);
  if (!size) return lose_link(down_reason::local_error);
  send_control(message_type::connect, {bytes.data(), *size}, 0);
}

void session_core::take_connect_ack(const message_view& message) {
  const std::optional<connect_ack_body> ack = decode<connect_ack_body>(message.body);
  if (!ack || message.header.epoch != current_->epoch()) return lose_link(down_reason::protocol);
  const import_event event = judge(*ack);
  if (event == import_event::verdict_later) {
    drop_link(down_reason::admin);
  } else if (event != import_event::verdict_evicted) {
    time_.cancel(std::exchange(attempt_timer_, 0));
    cookie_ = ack->cookie;
    boot_generation_ = ack->boot_generation;
    last_committed_ = std::max(last_committed_, ack->last_committed);
    if (ack->credits != 0) current_->wire().grant(ack->credits);
    last_text_.clear();
    log_info("import {}: {} says {}, epoch {:#x}, boot {}", options_.volume,
             addresses_[address_index_].text, name_of(ack->verdict), current_->epoch(),
             boot_generation_);
    health_timer_ = time_.call_after(options_.timings.health_ns, [this] { check_health(); });
  }
  step(event);
}

// recovery.md §7.7: what cannot be true of the server we knew.
bool session_core::contradicts(const connect_ack_body& ack) {
  std::string_view why;
  if (target_changed_) why = "it is another volume";
  if (ack.boot_generation < boot_generation_) why = "its boot generation went back";
  if (ack.last_committed < last_committed_) why = "its last committed transaction went back";
  if ((ack.features & ~features_) != 0) why = "it wants features that we did not offer";
  if (ack.verdict == connect_verdict::resumed && boot_generation_ != 0) {
    if (ack.boot_generation != boot_generation_) why = "it resumes a session of another boot";
    if (cookie_ != 0 && ack.cookie != cookie_) why = "it resumes a session with another cookie";
  }
  if (why.empty()) return false;
  log_error("import {}: {} says {}, but {}: treated as EVICTED", options_.volume,
            addresses_[address_index_].text, name_of(ack.verdict), why);
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
  if (contradicts(ack)) return import_event::verdict_evicted;
  switch (ack.verdict) {
    case fresh:
      // Never attached to this server: nothing can have been executed there.
      if (held() != 0 || (boot_generation_ != 0 && mutation_was_sent()))
        return import_event::verdict_evicted;
      return import_event::verdict_fresh;
    case resumed: return import_event::verdict_resumed;
    case resumed_new_boot:
      return held() != 0 ? import_event::verdict_evicted : import_event::verdict_resumed;
    case recovering_new_boot: return import_event::verdict_new_boot;
    case recovering_resumed:
      // I13: the cursor goes on only in the boot that we ourselves last acted on.
      if (ack.boot_generation != boot_generation_) return import_event::verdict_new_boot;
      replay_resumed_ = true;
      return import_event::verdict_rejoined;
    case evicted:
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
      same_address_ = true;
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
  const std::string text = ack.text.empty() ? std::string(name_of(ack.verdict))
                                            : std::string(ack.text);
  if (text != last_text_)
    log_warning("import {}: {} says: {}", options_.volume, addresses_[address_index_].text, text);
  last_text_ = text;
  return import_event::verdict_later;
}

}  // namespace tangelo
