// The recovery window after a restart: open until every client that held something has said
// REPLAY_DONE, or was written off for good: at the soft limit those who do nothing, at the hard one
// all that are not done.
#include <algorithm>

#include "base/log.h"
#include "rdma/export_core.h"

namespace tangelo {

namespace {
bool is_awaited(const export_client& c) {
  const bool here = c.where == client_phase::recorded || c.where == client_phase::recovering;
  return here && c.awaited != export_client::mark::no && !c.replay_done;
}
}  // namespace

void export_core::open_window(export_volume& v) {
  v.window_open = true;
  v.window_soft_ns = time_.now_ns() + options_.window_soft_ms * ns_per_ms;
  v.window_hard_ns = time_.now_ns() + options_.window_hard_ms * ns_per_ms;
  log_notice("volume {}: recovery window open for {} ms", v.name, options_.window_soft_ms);
  v.window_timer = time_.call_at(v.window_soft_ns, [this, &v] { window_expired(v); });
}

std::uint64_t export_core::window_left_ms(const export_volume& v) const {
  const std::uint64_t now = time_.now_ns();
  if (!v.window_open || v.window_soft_ns <= now) return 0;
  return (v.window_soft_ns - now) / ns_per_ms;
}

// Who replays or claims still may go on, from look to look, until the hard limit.
void export_core::window_expired(export_volume& v) {
  v.window_timer = 0;
  if (!v.window_open) return;
  const std::uint64_t now = time_.now_ns();
  const bool hard = now >= v.window_hard_ns;
  const std::vector<client_ref> clients = v.clients;
  bool unfinished = false;
  for (const client_ref& c : clients) {
    if (!is_awaited(*c)) continue;
    const bool at_it = std::exchange(c->progress, false);
    if (at_it && !hard) {
      unfinished = true;
    } else {
      write_off(c, c->where == client_phase::recorded
                       ? "it did not come back in the recovery window"
                       : "it did not end its recovery in time");
    }
  }
  if (!unfinished) return check_window(v);
  v.window_soft_ns = std::min(now + options_.lease_ms * ns_per_ms, v.window_hard_ns);
  v.window_timer = time_.call_at(v.window_soft_ns, [this, &v] { window_expired(v); });
}

void export_core::check_window(export_volume& v) {
  if (!v.window_open) return;
  // Who leaves holds it open until that is durable.
  const bool waiting = std::any_of(v.clients.begin(), v.clients.end(), [](const client_ref& c) {
    return is_awaited(*c) || c->where == client_phase::leaving;
  });
  if (!waiting) end_window(v);
}

void export_core::end_window(export_volume& v) {
  v.window_open = false;
  time_.cancel(std::exchange(v.window_timer, 0));
  log_notice("volume {}: recovery window closed", v.name);
  v.fs->recovery_ended();
  for (const client_ref& c : v.clients) {
    if (c->where != client_phase::recovering) continue;
    c->where = client_phase::active;
    if (c->link != nullptr && c->link->said_done)
      send_status(*c->link, message_type::replay_done_ack, error_code::ok);
  }
  while (!v.held.empty()) {
    call_job& job = *v.held.front();
    v.held.pop_front();
    ready(job);  // may end its connection, and with that other held ones
  }
}

void export_core::take_replay_done(peer_link& link) {
  const client_ref c = link.client;
  if (!c->replays.empty() || c->replay_running)
    return breach(link, error_code::protocol, "REPLAY_DONE before the replays were answered");
  c->replay_done = true;
  link.said_done = true;
  if (c->where == client_phase::recovering) return check_window(*c->volume);
  send_status(link, message_type::replay_done_ack, error_code::ok);
}

}  // namespace tangelo
