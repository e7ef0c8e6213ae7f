// What a client is to the server between its calls: heard or silent, marked as one that a recovery
// window waits for, forgotten, written off.
#include <algorithm>

#include "base/log.h"
#include "rdma/export_core.h"

namespace tangelo {

// The lease of a client runs from the receipt of whatever it sent last.
void export_core::heard(peer_link& link) noexcept {
  if (link.client != nullptr && link.client->link == &link)
    link.client->heard_ns = time_.now_ns();
}

void export_core::schedule_look() {
  if (look_timer_ != 0 || stopping_) return;
  const std::uint64_t quarter_ms = std::max<std::uint64_t>(options_.lease_ms / 4, 100);
  look_timer_ = time_.call_after(quarter_ms * ns_per_ms, [this] {
    look_timer_ = 0;
    bool any = false;
    for (const auto& v : volumes_) {
      const std::vector<client_ref> clients = v->clients;
      for (const client_ref& c : clients) {
        any = any || c->where != client_phase::tombstone;
        if (c->where == client_phase::active) look_after(c);
      }
    }
    if (any) schedule_look();
  });
}

bool export_core::holds_something(const export_client& c) const {
  const service& fs = *c.volume->fs;
  return c.running != 0 || !c.unmarked.empty() || c.highest_transno > fs.last_committed() ||
         fs.has_opens(c.key);
}

// When nobody at all is heard, it is our own network that is in doubt.
bool export_core::another_is_heard(const export_client& c) const {
  const std::uint64_t now = time_.now_ns();
  for (const auto& v : volumes_)
    for (const client_ref& other : v->clients)
      if (other.get() != &c && other->link != nullptr &&
          now - other->heard_ns <= options_.lease_ms * ns_per_ms)
        return true;
  return false;
}

void export_core::look_after(const client_ref& c) {
  using mark = export_client::mark;
  const std::uint64_t now = time_.now_ns();
  if (holds_something(*c)) {
    c->held_ns = now;
    const std::uint64_t silent_ms = (now - c->heard_ns) / ns_per_ms;
    // Its lease has ended, and somebody wants what it has: nobody waits longer than that for it.
    const bool in_the_way = silent_ms > options_.lease_ms && c->volume->fs->is_waited_for(c->key);
    if ((silent_ms < options_.evict_ms && !in_the_way) || !another_is_heard(*c)) return;
    return write_off(c, "silent for " + std::to_string(silent_ms / 1000) + " s");
  }
  if (c->awaited != mark::yes || now - c->held_ns < unmark_ns) return;
  c->awaited = mark::no;
  c->volume->fs->set_awaited(c->key, false, [name = c->volume->name](error_code status) {
    if (status != error_code::ok)
      log_error("volume {}: a client's record was not changed: {}", name, name_of_error(status));
  });
}

// Opens, locks, and answers that a crash could take back.
bool export_core::needs_mark(const call_job& job) const {
  if (job.owner->awaited == export_client::mark::yes) return false;
  return job.may_be_early || job.op == opcode::open || job.op == opcode::create ||
         job.op == opcode::tmpfile || job.op == opcode::reclaim_open ||
         job.op == opcode::set_lock || job.op == opcode::reclaim_lock;
}

void export_core::await_mark(call_job& job) {
  using mark = export_client::mark;
  const client_ref c = job.owner;
  job.where = call_job::phase::unmarked;
  c->unmarked.push_back(&job);
  if (c->awaited == mark::asked) return;
  c->awaited = mark::asked;
  c->volume->fs->set_awaited(c->key, true,
                             [this, c, alive = std::weak_ptr<int>(alive_)](error_code status) {
                               if (!alive.expired()) marked(c, status);
                             });
}

void export_core::marked(const client_ref& c, error_code status) {
  using mark = export_client::mark;
  c->held_ns = time_.now_ns();
  c->awaited = status == error_code::ok ? mark::yes : mark::no;
  if (status != error_code::ok)
    log_error("volume {}: a client's record was not changed: {}", c->volume->name,
              name_of_error(status));
  // Each may end its connection, and with that others of them.
  std::size_t count = c->unmarked.size();
  while (count-- != 0 && !c->unmarked.empty()) {
    call_job& job = *c->unmarked.front();
    c->unmarked.pop_front();
    if (status != error_code::ok) {
      answer_status(job, status, 0);
    } else {
      ready(job);
    }
  }
}

// Cuts a client off, and leaves a tombstone that its old claims meet.
void export_core::write_off(const client_ref& c, std::string_view reason) {
  if (c->where == client_phase::leaving || c->where == client_phase::tombstone) return;
  c->written_off = true;
  c->reason = reason;
  log_error("volume {}: client {} is evicted: {}", c->volume->name, hex_of(c->key.client_id),
            reason);
  if (c->link != nullptr) breach(*c->link, error_code::evicted, "evicted: " + c->reason);
  leave(c);
}

// Forgets a client as soon as none of its calls is being executed.
void export_core::leave(const client_ref& c) {
  if (c->where == client_phase::leaving) return;
  const bool remembering = c->where == client_phase::remembering;
  c->where = client_phase::leaving;
  if (!remembering) check_leaving(c);  // else when the record is made
}

void export_core::check_leaving(const client_ref& c) {
  if (c->where != client_phase::leaving || c->running != 0 || c->forgetting) return;
  c->forgetting = true;
  c->volume->fs->forget_client(c->key, c->written_off,
                               [this, c, alive = std::weak_ptr<int>(alive_)](error_code status) {
                                 if (!alive.expired()) forgotten(c, status);
                               });
}

void export_core::forgotten(const client_ref& c, error_code status) {
  export_volume& v = *c->volume;
  if (status != error_code::ok)
    log_error("volume {}: a client could not be forgotten: {}", v.name, name_of_error(status));
  if (c->written_off) {
    c->where = client_phase::tombstone;
    c->awaited = export_client::mark::no;
    c->slots.clear();
    c->refused.clear();
  } else {
    std::erase(v.clients, c);
  }
  if (c->link != nullptr) {
    send_control(*c->link, message_type::goodbye, {}, 0);
    close_link(*c->link, down_reason::admin);
  }
  check_window(v);
}

}  // namespace tangelo
