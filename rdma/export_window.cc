// The recovery window after a restart, and the ways in which a client is forgotten.
#include <algorithm>

#include "base/log.h"
#include "rdma/export_core.h"

namespace tangelo {

void export_core::open_window(served_volume& v) {
  v.window_open = true;
  v.window_soft_ns = time_.now_ns() + options_.window_soft_ms * ns_per_ms;
  v.window_hard_ns = time_.now_ns() + options_.window_hard_ms * ns_per_ms;
  log_notice("volume {}: recovery window open for {} ms", v.name, options_.window_soft_ms);
  v.window_timer = time_.call_at(v.window_soft_ns, [this, &v] { window_expired(v); });
}

std::uint64_t export_core::window_left_ms(const served_volume& v) const {
  const std::uint64_t now = time_.now_ns();
  if (!v.window_open || v.window_soft_ns <= now) return 0;
  return (v.window_soft_ns - now) / ns_per_ms;
}

// Soft: who never came is evicted; who is at it may go on until the hard limit.
void export_core::window_expired(served_volume& v) {
  v.window_timer = 0;
  if (!v.window_open) return;
  const bool hard = time_.now_ns() >= v.window_hard_ns;
  const std::vector<client_ref> clients = v.clients;
  bool unfinished = false;
  for (const client_ref& c : clients) {
    if (!c->awaited || c->replay_done) continue;
    const bool at_it = c->where == export_client::phase::recovering && c->link != nullptr;
    if (at_it && !hard) {
      unfinished = true;
    } else if (c->where != export_client::phase::leaving) {
      evict(c);
    }
  }
  if (unfinished) {
    v.window_soft_ns = v.window_hard_ns;
    v.window_timer = time_.call_at(v.window_hard_ns, [this, &v] { window_expired(v); });
    return;
  }
  check_window(v);
}

void export_core::check_window(served_volume& v) {
  if (!v.window_open) return;
  const bool waiting = std::any_of(v.clients.begin(), v.clients.end(), [](const client_ref& c) {
    return c->awaited && !c->replay_done && c->where != export_client::phase::leaving;
  });
  if (!waiting) end_window(v);
}

void export_core::end_window(served_volume& v) {
  v.window_open = false;
  time_.cancel(std::exchange(v.window_timer, 0));
  log_notice("volume {}: recovery window closed", v.name);
  v.fs->recovery_ended();
  for (const client_ref& c : v.clients) {
    if (c->where != export_client::phase::recovering) continue;
    c->where = export_client::phase::active;
    if (c->link != nullptr && c->replay_done)
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
  c->replay_done = true;
  if (c->where == export_client::phase::recovering && c->volume->window_open)
    return check_window(*c->volume);
  c->where = export_client::phase::active;
  send_status(link, message_type::replay_done_ack, error_code::ok);
}

void export_core::evict(const client_ref& c) {
  log_error("volume {}: a client is evicted: it did not come back in time", c->volume->name);
  if (c->link != nullptr) breach(*c->link, error_code::evicted, "evicted: the window has closed");
  leave(c);
}

// Forgets a client as soon as none of its calls is being executed.
void export_core::leave(const client_ref& c) {
  if (c->where == export_client::phase::leaving) return;
  const bool remembering = c->where == export_client::phase::remembering;
  c->where = export_client::phase::leaving;
  if (!remembering) check_leaving(c);  // else when the record is made
}

void export_core::check_leaving(const client_ref& c) {
  if (c->where != export_client::phase::leaving || c->running != 0 || c->forgetting) return;
  c->forgetting = true;
  const auto forgotten = [this, c, alive = std::weak_ptr<int>(alive_)](error_code status) {
    if (alive.expired()) return;
    if (status != error_code::ok)
      log_error("volume {}: a client could not be forgotten: {}", c->volume->name,
                name_of_error(status));
    std::erase(c->volume->clients, c);
    if (c->link != nullptr) {
      send_control(*c->link, message_type::goodbye, {}, 0);
      close_link(*c->link, down_reason::admin);
    }
    check_window(*c->volume);
  };
  c->volume->fs->forget_client(c->key, false, forgotten);
}

}  // namespace tangelo
