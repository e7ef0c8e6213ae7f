// The volumes of a server: served or announced, and what is shown and commanded from outside.
#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "rdma/export_core.h"

namespace tangelo {

std::string hex_of(const id128& id) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const std::byte b : id) {
    out += digits[std::to_integer<unsigned>(b) >> 4];
    out += digits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

export_volume* export_core::volume_named(std::string_view name) const {
  const auto v = std::find_if(volumes_.begin(), volumes_.end(),
                              [name](const auto& x) { return x->name == name; });
  return v == volumes_.end() ? nullptr : v->get();
}

void export_core::add_standby(std::string volume, const id128& target_id) {
  CHECK(volume_named(volume) == nullptr);
  auto v = std::make_unique<export_volume>();
  v->name = std::move(volume);
  v->target_id = target_id;
  log_notice("volume {}: standby", v->name);
  volumes_.push_back(std::move(v));
}

void export_core::add_volume(std::string volume, service& s) {
  export_volume* v = volume_named(volume);
  const bool was_standby = v != nullptr;
  if (!was_standby) {
    volumes_.push_back(std::make_unique<export_volume>());
    v = volumes_.back().get();
    v->name = std::move(volume);
    v->target_id = s.target_id();
  }
  CHECK(v->fs == nullptr);
  CHECK(v->target_id == s.target_id());
  v->fs = &s;
  bool awaited = false;
  for (client_record& r : s.load_clients()) {
    awaited = awaited || (r.awaited && !r.tombstone);
    v->clients.push_back(loaded_client(*v, r));
  }
  s.watch_commits([this, v, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) send_notes(*v);
  });
  s.watch_locks([this, v, alive = std::weak_ptr<int>(alive_)](const client_key& key) {
    if (!alive.expired()) lock_news(*v, key);
  });
  if (awaited) open_window(*v);
  if (!v->clients.empty()) schedule_look();
  if (was_standby) advise(*v);
}

client_ref export_core::loaded_client(export_volume& v, client_record& r) {
  auto c = std::make_shared<export_client>();
  c->key = r.key;
  c->volume = &v;
  c->heard_ns = c->held_ns = time_.now_ns();
  c->highest_transno = r.highest_transno;
  if (r.tombstone) {
    c->where = client_phase::tombstone;
    c->reason = "written off before the server's start";
    return c;
  }
  if (r.awaited) c->awaited = export_client::mark::yes;
  for (reply_record& reply : r.replies) {
    if (reply.incarnation != r.key.incarnation || reply.slot >= options_.slot_count) continue;
    slot_memory& m = slot_of(*c, reply.slot);
    m.where = slot_memory::phase::done;
    m.op = reply.op;
    m.status = reply.status;
    m.seq = reply.slot_seq;
    m.xid = reply.xid;
    m.transno = reply.transno;
    m.body = std::move(reply.body);
    c->highest_transno = std::max(c->highest_transno, reply.transno);
  }
  return c;
}

// A standby has taken over: whoever waits for that connects at once, on the same connection.
void export_core::advise(export_volume& v) {
  advice_body body;
  body.boot_generation = v.fs->boot_generation();
  std::array<std::byte, 32> bytes;
  const std::size_t size = encode(body, bytes).value_or(0);
  for (const auto& link : links_)
    if (link->volume == &v && link->waits && link->where == peer_link::stage::connect)
      send_control(*link, message_type::advice, {bytes.data(), size}, 0);
}

export_status export_core::status_of(const export_client& c) const {
  const std::uint64_t silent_ns = time_.now_ns() - c.heard_ns;
  const std::uint64_t lease_ns = options_.lease_ms * ns_per_ms;
  export_status s;
  s.client = c.key;
  s.volume = c.volume->name;
  s.address = c.link != nullptr ? c.link->wire.peer_name() : std::string();
  s.phase = c.where;
  s.epoch = c.epoch;
  s.silent_ms = silent_ns / ns_per_ms;
  s.lease_left_ms = silent_ns < lease_ns ? (lease_ns - silent_ns) / ns_per_ms : 0;
  s.awaited = c.awaited == export_client::mark::yes;
  const bool gone = c.where == client_phase::tombstone;
  s.has_opens = !gone && c.volume->fs->has_opens(c.key);
  s.uncommitted = !gone && c.highest_transno > c.volume->fs->last_committed();
  s.highest_transno = c.highest_transno;
  s.running = c.running;
  s.calls = c.calls;
  s.resent = c.resent;
  s.answered_from_record = c.from_record;
  return s;
}

std::vector<export_status> export_core::status() const {
  std::vector<export_status> out;
  for (const auto& v : volumes_)
    for (const client_ref& c : v->clients) out.push_back(status_of(*c));
  return out;
}

bool export_core::recovering() const {
  return std::any_of(volumes_.begin(), volumes_.end(),
                     [](const auto& v) { return v->window_open; });
}

outcome<client_key> export_core::evict(std::string_view volume, std::string_view who,
                                       std::string_view reason) {
  const auto refuse = [volume](std::string text) {
    return failure{problem{exit_code::failed, std::string(volume) + ": " + text,
                           "`tangelo server list` shows the clients"}};
  };
  const export_volume* v = volume_named(volume);
  if (v == nullptr) return refuse("no such volume here");
  const auto it = std::find_if(v->clients.begin(), v->clients.end(), [who](const client_ref& c) {
    return hex_of(c->key.client_id) == who ||
           (c->link != nullptr && c->link->wire.peer_name() == who);
  });
  if (it == v->clients.end()) return refuse("no client " + std::string(who));
  const client_ref c = *it;
  if (c->where == client_phase::tombstone) return refuse("written off already: " + c->reason);
  if (c->where == client_phase::leaving) return refuse("it is leaving already");
  write_off(c, reason);
  return c->key;
}

}  // namespace tangelo
