// HELLO and CONNECT: which of the verdicts of recovery.md §7.7 a client gets.
#include <algorithm>

#include "base/log.h"
#include "base/prng.h"
#include "rdma/export_core.h"

namespace tangelo {

void export_core::take_hello(peer_link& link, const message_view& message) {
  const std::optional<hello_body> body = decode<hello_body>(message.body);
  if (!body) return breach(link, error_code::protocol, "malformed HELLO");
  if (body->version_min > wire_version || body->version_max < wire_version) {
    const std::string text = "this server speaks protocol version " + std::to_string(wire_version) +
                             ", the client " + std::to_string(body->version_min) + " to " +
                             std::to_string(body->version_max);
    return breach(link, error_code::bad_version, text);
  }
  const auto v = std::find_if(volumes_.begin(), volumes_.end(),
                              [&](const auto& x) { return x->name == body->volume; });
  if (v == volumes_.end()) {
    const std::string name(body->volume.substr(0, 128));
    return breach(link, error_code::denied, "no volume " + name + " here", down_reason::auth);
  }
  link.volume = v->get();
  link.where = peer_link::stage::connect;
  link.features = body->features & feature::known;
  hello_ack_body ack;
  ack.features = link.features;
  ack.target_id = link.volume->fs->target_id();
  ack.credits = options_.credits;
  ack.eager_payload_max = options_.eager_payload_max;
  std::array<std::byte, 256> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  send_control(link, message_type::hello_ack, {bytes.data(), size}, 0);
}

void export_core::take_connect(peer_link& link, const message_view& message) {
  const std::optional<connect_body> body = decode<connect_body>(message.body);
  if (!body) return breach(link, error_code::protocol, "malformed CONNECT");
  link.epoch = message.header.epoch;
  const std::vector<client_ref>& clients = link.volume->clients;
  const auto it = std::find_if(clients.begin(), clients.end(), [&](const client_ref& c) {
    return c->key.client_id == body->client_id;
  });
  if (it == clients.end()) return connect_unknown(link, *body);
  const client_ref c = *it;
  if (c->where == export_client::phase::leaving)
    return say_later(link, connect_verdict::busy, again_later_ms, "being forgotten");
  if (body->incarnation < c->key.incarnation)
    return say_later(link, connect_verdict::denied, 0, "a newer incarnation of this mount exists");
  if (body->incarnation > c->key.incarnation) return challenge(link, c);
  if (c->epoch != 0 && link.epoch <= c->epoch)
    return close_link(link, down_reason::epoch_superseded);
  connect_known(link, c, *body);
}

// A newer incarnation never purges a living one: the older one is asked whether it still lives.
void export_core::challenge(peer_link& link, const client_ref& old) {
  peer_link* older = old->link;
  if (older != nullptr) {
    const std::uint64_t now = time_.now_ns();
    const std::string text = "mounted already from " + older->wire.peer_name();
    if (older->challenged_ns == 0) {
      older->challenged_ns = now;
      send_control(*older, message_type::ping, {}, now);
      log_warning("volume {}: a newer incarnation of a client comes from {} while the older one is "
                  "connected from {}", link.volume->name, link.wire.peer_name(),
                  older->wire.peer_name());
      return say_later(link, connect_verdict::busy, 500, text);
    }
    if (now - older->challenged_ns < challenge_ns)
      return say_later(link, connect_verdict::busy, 500, text);
    log_warning("volume {}: the older incarnation at {} is silent: purged", link.volume->name,
                older->wire.peer_name());
  }
  leave(old);
  say_later(link, connect_verdict::busy, again_later_ms, "an older incarnation is being purged");
}

void export_core::attach(peer_link& link, const client_ref& c) {
  if (c->link != nullptr) close_link(*c->link, down_reason::epoch_superseded);
  c->link = &link;
  c->epoch = link.epoch;
  link.client = c;
  if (c->cookie == 0) c->cookie = random_u64_or_die() | 1;
}

void export_core::connect_known(peer_link& link, const client_ref& c, const connect_body& body) {
  served_volume& v = *link.volume;
  switch (c->where) {
    using enum export_client::phase;
    case recorded:
      if (v.window_open) {
        c->where = recovering;
        attach(link, c);
        return say_verdict(link, connect_verdict::recovering_new_boot);
      }
      if (c->awaited || body.held != 0) {
        leave(c);
        return say_verdict(link, connect_verdict::evicted);
      }
      c->where = active;
      attach(link, c);
      return say_verdict(link, connect_verdict::resumed_new_boot);
    case remembering: return attach(link, c);  // the verdict comes when it is durable
    case recovering:
      attach(link, c);
      return say_verdict(link, connect_verdict::recovering_resumed);
    case active: {
      attach(link, c);
      // The answer of an earlier CONNECT in this boot was lost: say again what it said.
      const bool knows_boot = body.last_boot_generation == v.fs->boot_generation();
      const bool resumed = knows_boot || body.last_boot_generation == 0;
      return say_verdict(link, resumed ? connect_verdict::resumed
                                       : connect_verdict::resumed_new_boot);
    }
    case leaving: return;
  }
}

void export_core::connect_unknown(peer_link& link, const connect_body& body) {
  served_volume& v = *link.volume;
  if (v.window_open)
    return say_later(link, connect_verdict::wait,
                     std::min<std::uint64_t>(1000, window_left_ms(v) + 1),
                     "waiting for clients from before the restart");
  if (body.held != 0) return say_verdict(link, connect_verdict::evicted);
  auto c = std::make_shared<export_client>();
  c->key = {body.client_id, body.incarnation};
  c->volume = &v;
  c->where = export_client::phase::remembering;
  v.clients.push_back(c);
  attach(link, c);
  v.fs->remember_client(c->key, [this, c, alive = std::weak_ptr<int>(alive_)](error_code status) {
    if (!alive.expired()) remembered(c, status);
  });
}

void export_core::remembered(const client_ref& c, error_code status) {
  if (c->where != export_client::phase::remembering) return check_leaving(c);
  if (status != error_code::ok) {
    log_error("volume {}: a client could not be recorded: {}", c->volume->name,
              name_of_error(status));
    std::erase(c->volume->clients, c);
    if (c->link != nullptr) breach(*c->link, status, "the client could not be recorded");
    return;
  }
  c->where = export_client::phase::active;
  if (c->link != nullptr) say_verdict(*c->link, connect_verdict::fresh);
}

void export_core::say_verdict(peer_link& link, connect_verdict verdict) {
  const service& fs = *link.volume->fs;
  connect_ack_body ack;
  ack.verdict = verdict;
  ack.credits = options_.credits;
  ack.boot_generation = fs.boot_generation();
  ack.last_committed = fs.last_committed();
  ack.features = link.features;
  ack.slots = options_.slot_count;
  ack.lease_ms = options_.lease_ms;
  ack.window_left_ms = static_cast<std::uint32_t>(window_left_ms(*link.volume));
  const bool joined = verdict != connect_verdict::evicted;
  if (joined) {
    ack.cookie = link.client->cookie;
    link.where = peer_link::stage::active;
    time_.cancel(std::exchange(link.handshake_timer, 0));
  }
  log_info("volume {}: client at {} epoch {:#x}: {}", link.volume->name, link.wire.peer_name(),
           link.epoch, name_of(verdict));
  std::array<std::byte, 256> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  send_control(link, message_type::connect_ack, {bytes.data(), size}, 0);
}

void export_core::say_later(peer_link& link, connect_verdict verdict, std::uint64_t retry_ms,
                            std::string_view text) {
  connect_ack_body ack;
  ack.verdict = verdict;
  ack.retry_ms = static_cast<std::uint32_t>(retry_ms);
  ack.boot_generation = link.volume->fs->boot_generation();
  ack.text = text;
  std::array<std::byte, 512> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  send_control(link, message_type::connect_ack, {bytes.data(), size}, 0);
}

void export_core::take_goodbye(peer_link& link, const message_view& message) {
  const std::optional<close_body> body = decode<close_body>(message.body);
  const bool forget = body && body->resume_ok == 0 && link.where == peer_link::stage::active;
  if (!forget) return close_link(link, down_reason::peer_closed);
  log_info("volume {}: client at {} says goodbye", link.volume->name, link.wire.peer_name());
  leave(link.client);
}

}  // namespace tangelo
