// Is the server there, and until when may we rely on it: pings, deadlines, lease, last_committed.
#include <algorithm>

#include "base/log.h"
#include "rdma/session_core.h"

namespace tangelo {

namespace {

// The slowest line that a deadline allows for, for all payloads that are on their way together.
constexpr std::uint64_t slow_bytes_per_s = 4u << 20;

}  // namespace

void session_core::watch_health() {
  std::uint64_t period = options_.timings.health_ns;
  if (lease_ns_ != 0) period = std::min(period, std::max(lease_ns_ / 6, ns_per_ms));
  health_timer_ = time_.call_after(period, [this] {
    health_timer_ = 0;
    check_health();
  });
}

void session_core::check_health() {
  if (!attached()) return;
  const std::uint64_t now = time_.now_ns();
  // A PONG may stand behind bulk on a slow line; then other answers are heard meanwhile.
  const std::uint64_t silent_since = std::max(ping_sent_ns_, last_heard_ns_);
  const bool silent =
      ping_pending_ && now - silent_since >= options_.timings.pong_wait_ns * patience_;
  if (silent || is_overdue(now)) {
    patience_ = std::min(patience_ * 2, 128u);
    return lose_link(down_reason::timeout);
  }
  if (is_idle(now)) return step(import_event::nothing_to_do);
  if (is_ping_due(now)) {
    // Its answer may take as long as the window, or was lost; saying it twice is harmless.
    if (machine_.state() == import_state::replay_wait)
      send_control(message_type::replay_done, {}, 0);
    ping_pending_ = true;
    ping_sent_ns_ = now;
    send_control(message_type::ping, {}, ++ping_count_);
  }
  watch_health();
}

bool session_core::is_ping_due(std::uint64_t now) const noexcept {
  if (ping_pending_) return false;
  const bool waiting = sent_first_ != no_slot || !replays_.empty() || !claims_.empty();
  const session_timings& t = options_.timings;
  const bool quiet = now - last_heard_ns_ >= (waiting ? t.ping_busy_ns : t.ping_idle_ns);
  const bool lease_third_gone = lease_ns_ != 0 && now + lease_ns_ * 2 / 3 >= lease_until_ns_;
  return quiet || lease_third_gone;
}

// Calls are in the order of their sending, so only those are looked at that may be overdue.
bool session_core::is_overdue(std::uint64_t now) const noexcept {
  for (std::uint32_t slot = sent_first_; slot != no_slot; slot = calls_[slot].next) {
    const pending_call& p = calls_[slot];
    if (now - p.sent_at_ns < options_.timings.deadline_min_ns) break;
    if (now >= p.deadline_ns) return true;
  }
  const auto late = [now](const auto& x) { return now >= x.deadline_ns; };
  return std::any_of(replays_.begin(), replays_.end(),
                     [&](const replay_in_flight& r) { return !r.answered && late(r); }) ||
         std::any_of(claims_.begin(), claims_.end(), late);
}

bool session_core::is_idle(std::uint64_t now) const {
  return machine_.state() == import_state::full && call_count_ == 0 &&
         now - last_work_ns_ >= options_.timings.idle_ns && replay_.settled() &&
         held(last_committed_) == 0;
}

// How long a call may take without a word about it.
std::uint64_t session_core::allowed_ns(const outbound_call& call) const noexcept {
  const session_timings& t = options_.timings;
  const std::uint64_t estimate_ms = estimate_ms_[is_mutation(call.op) ? 1 : 0];
  const std::uint64_t adapted = estimate_ms * ns_per_ms * 5 / 4 + 500 * ns_per_ms;
  const std::uint64_t bytes =
      payload_in_flight_ + call.payload_in.size() + call.payload_out.size();
  const std::uint64_t allowed =
      std::max(t.deadline_min_ns, adapted) + bytes * ns_per_s / slow_bytes_per_s;
  return std::min(allowed * patience_, t.deadline_max_ns);
}

// Does it belong to this connection, this export and this boot of the server?
bool session_core::is_ours(const message_view& message) const {
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  return ext && message.header.epoch == current_->epoch() && message.header.cookie == cookie_ &&
         ext->boot_generation == boot_generation_;
}

void session_core::take_pong(const message_view& message) {
  if (!attached() || !is_ours(message) || message.header.xid != ping_count_ || !ping_pending_)
    return;
  ping_pending_ = false;
  connection_works();
  renew_lease(ping_sent_ns_);
  note_committed(message.header.ack);
}

void session_core::take_commit_note(const message_view& message) {
  if (is_ours(message)) note_committed(message.header.ack);
}

// The call is alive: its deadline begins anew.
void session_core::take_early_reply(const message_view& message) {
  if (!is_ours(message)) return;
  const wire_header& h = message.header;
  const std::optional<reply_extension> ext = decode<reply_extension>(message.extension);
  const std::uint64_t until =
      time_.now_ns() +
      std::min(ext->retry_after_ms * ns_per_ms, options_.timings.deadline_max_ns);
  note_committed(h.ack);
  const auto extend = [until](auto& x) { x.deadline_ns = std::max(x.deadline_ns, until); };
  if (h.slot < calls_.size()) {
    pending_call& p = calls_[h.slot];
    if (p.where == pending_call::phase::sent && p.call.xid == h.xid &&
        p.call.slot_seq == h.slot_seq)
      return extend(p);
  }
  for (replay_in_flight& r : replays_)
    if (r.entry.call.xid == h.xid) extend(r);
  for (claim_in_flight& c : claims_)
    if (c.xid == h.xid) extend(c);
}

void session_core::note_committed(std::uint64_t transno) {
  if (transno <= last_committed_) return;
  last_committed_ = transno;
  events_.on_committed(transno);
}

// Counted from the sending of what was answered: the server counts from its receipt.
void session_core::renew_lease(std::uint64_t sent_at_ns) noexcept {
  lease_until_ns_ = std::max(lease_until_ns_, sent_at_ns + lease_ns_);
}

// While recovering, a connection that ends again and again must not be tried without a pause.
void session_core::connection_works() noexcept {
  const import_state state = machine_.state();
  if (state != import_state::full && state != import_state::recover) return;
  rounds_failed_ = 0;
  tried_in_round_ = 0;
  if (sent_first_ == no_slot) patience_ = 1;
}

}  // namespace tangelo
