// HELLO, AUTH and CONNECT: what became of a session (recovery.md §7.7).
//
// A CONNECT with a boot generation claims a session; without one it claims nothing. In this order:
//
//   the volume is served elsewhere                      wait, the connection stays: ADVICE follows
//   the client is being forgotten or written off        busy
//   an older incarnation than the known one             denied
//   a newer one, the known one is a tombstone           as if nothing were known
//   a newer one, the known one may live                 busy: it is asked, and purged if silent
//   an epoch not above the export's                     the connection ends
//   it claims, and knows more than our store does       evicted, kept_through 0
//
//   known as      claims nothing                        claims
//   nothing       window: wait; else remembered: fresh  holding: evicted; else as beside
//   remembering   fresh, when it is durable             the same
//   tombstone     as nothing                            evicted, kept_through
//   recorded      emptied (purged): busy, then fresh    window: recovering_new_boot;
//                                                       else resumed_new_boot
//   recovering    emptied, likewise                     recovering_resumed
//   active        emptied, likewise; fresh at once if   of this boot: resumed;
//                 nothing has come from it yet          else resumed_new_boot (the answer that said
//                                                       so was lost)
//
// Whether it holds anything after resumed_new_boot is the client's to find out, after it has
// trimmed by last_committed: its record says that it cannot.
#include <algorithm>

#include "base/log.h"
#include "base/prng.h"
#include "rdma/export_core.h"
#include "rdma/handshake.h"

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
  const bool signs = !options_.shared_secret.empty();
  if (signs != (body->auth_kind == auth_hmac_sha256) || body->auth_kind > auth_hmac_sha256)
    return breach(link, error_code::denied,
                  signs ? "this server wants a secret: mount with secret_file=FILE"
                        : "this server has no secret: mount without secret_file, or give it one",
                  down_reason::auth);
  link.volume = volume_named(body->volume);
  if (link.volume == nullptr) {
    const std::string name(body->volume.substr(0, 128));
    return breach(link, error_code::denied, "no volume " + name + " here", down_reason::auth);
  }
  link.where = signs ? peer_link::stage::auth : peer_link::stage::connect;
  link.features = body->features & feature::known;
  hello_ack_body ack;
  ack.features = link.features;
  ack.target_id = link.volume->target_id;
  ack.credits = options_.credits;
  ack.eager_payload_max = link.wire.is_eager() ? options_.eager_payload_max : 0;
  if (signs) {
    ack.auth_kind = auth_hmac_sha256;
    ack.nonce = new_nonce();
    ack.proof = server_proof(options_.shared_secret, message.body, ack);
    link.proof_wanted = client_proof(options_.shared_secret, message.body, ack);
  }
  std::array<std::byte, 256> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  send_control(link, message_type::hello_ack, {bytes.data(), size}, 0);
}

void export_core::take_auth(peer_link& link, const message_view& message) {
  const std::optional<auth_body> body = decode<auth_body>(message.body);
  if (!body || !same_mac(body->proof, link.proof_wanted))
    return breach(link, error_code::denied, "the client does not know the secret",
                  down_reason::auth);
  link.where = peer_link::stage::connect;
}

void export_core::take_connect(peer_link& link, const message_view& message) {
  const std::optional<connect_body> body = decode<connect_body>(message.body);
  if (!body) return breach(link, error_code::protocol, "malformed CONNECT");
  link.epoch = message.header.epoch;
  link.features &= body->features;
  if (link.volume->fs == nullptr) return say_standby(link);
  if (const std::string peer = link.wire.peer_name(); !link.volume->fs->admits(peer)) {
    log_warning("volume {}: a client at {} is refused: its address is not allowed",
                link.volume->name, peer);
    return breach(link, error_code::denied, "volume " + link.volume->name + " is not for " + peer,
                  down_reason::auth);
  }
  std::vector<client_ref>& clients = link.volume->clients;
  const auto it = std::find_if(clients.begin(), clients.end(), [&](const client_ref& c) {
    return c->key.client_id == body->client_id;
  });
  client_ref c = it == clients.end() ? nullptr : *it;
  const bool claims = body->last_boot_generation != 0;
  const bool newer = c != nullptr && body->incarnation > c->key.incarnation;
  const bool same = c != nullptr && body->incarnation == c->key.incarnation;
  if (c != nullptr && c->where == client_phase::tombstone && (newer || (same && !claims))) {
    clients.erase(it);  // in the store remember_client() does it
    c = nullptr;
  }
  if (c != nullptr && refused_at_once(link, c, *body)) return;
  if (claims && went_back(link, *body)) return;
  if (c == nullptr) return connect_unknown(link, *body);
  claims ? connect_known(link, c, *body) : connect_afresh(link, c);
}

bool export_core::refused_at_once(peer_link& link, const client_ref& c, const connect_body& body) {
  if (c->where == client_phase::leaving) {
    say_later(link, connect_verdict::busy, leaving_ms, "being forgotten");
  } else if (body.incarnation < c->key.incarnation) {
    say_later(link, connect_verdict::denied, 0, "a newer incarnation of this mount exists");
  } else if (body.incarnation > c->key.incarnation) {
    challenge(link, c);
  } else if (c->epoch != 0 && link.epoch <= c->epoch) {
    close_link(link, down_reason::epoch_superseded);
  } else {
    return false;
  }
  return true;
}

// Its store is younger than ours: ours was restored from an old copy, or is another one.
bool export_core::went_back(peer_link& link, const connect_body& body) {
  const service& fs = *link.volume->fs;
  if (body.last_boot_generation <= fs.boot_generation() &&
      body.last_committed <= fs.last_committed())
    return false;
  const std::string text =
      "this store went back in time: its boot generation is " +
      std::to_string(fs.boot_generation()) + ", the client saw " +
      std::to_string(body.last_boot_generation) + "; committed is " +
      std::to_string(fs.last_committed()) + ", the client saw " +
      std::to_string(body.last_committed);
  log_error("volume {}: client {} at {} is refused: {}", link.volume->name,
            hex_of(body.client_id), link.wire.peer_name(), text);
  say_evicted(link, 0, text);
  return true;
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
  if (c->link != nullptr && options_.fence_epochs)
    close_link(*c->link, down_reason::epoch_superseded);
  c->link = &link;
  c->epoch = link.epoch;
  c->heard_ns = time_.now_ns();
  link.client = c;
  if (c->cookie == 0) c->cookie = random_u64_or_die() | 1;
}

// The client has given its session up, or never heard of it: what is left of it is in the way.
void export_core::connect_afresh(peer_link& link, const client_ref& c) {
  if (c->where == client_phase::remembering) return attach(link, c);
  // Nothing has come from it yet: the answer that said "fresh" was lost.
  if (c->where == client_phase::active && c->calls == 0 && c->slots.empty()) {
    attach(link, c);
    return say_verdict(link, connect_verdict::fresh);
  }
  log_info("volume {}: client at {} claims nothing: its session is emptied", link.volume->name,
           link.wire.peer_name());
  c->epoch = link.epoch;
  if (c->link != nullptr) close_link(*c->link, down_reason::epoch_superseded);
  leave(c);
  say_later(link, connect_verdict::busy, again_later_ms, "the session is being emptied");
}

void export_core::connect_known(peer_link& link, const client_ref& c, const connect_body& body) {
  const export_volume& v = *link.volume;
  switch (c->where) {
    using enum client_phase;
    case recorded:
      c->where = v.window_open ? recovering : active;
      c->progress = true;
      attach(link, c);
      return say_verdict(link, v.window_open ? connect_verdict::recovering_new_boot
                                             : connect_verdict::resumed_new_boot);
    case remembering: return attach(link, c);  // the verdict comes when it is durable
    case recovering:
      attach(link, c);
      return say_verdict(link, connect_verdict::recovering_resumed);
    case active: {
      attach(link, c);
      const bool knows_boot = body.last_boot_generation == v.fs->boot_generation();
      return say_verdict(link, knows_boot ? connect_verdict::resumed
                                          : connect_verdict::resumed_new_boot);
    }
    case tombstone: return say_evicted(link, c->highest_transno, c->reason);
    case leaving: return;
  }
}

void export_core::connect_unknown(peer_link& link, const connect_body& body) {
  export_volume& v = *link.volume;
  if (body.last_boot_generation != 0 && body.held != 0)
    return say_evicted(link, 0, "this server knows nothing of the client");
  if (v.window_open)
    return say_later(link, connect_verdict::wait,
                     std::clamp<std::uint64_t>(window_left_ms(v), again_later_ms, 1000),
                     "waiting for clients from before the restart");
  auto c = std::make_shared<export_client>();
  c->key = {body.client_id, body.incarnation};
  c->volume = &v;
  c->where = client_phase::remembering;
  c->held_ns = time_.now_ns();
  v.clients.push_back(c);
  attach(link, c);
  schedule_look();
  v.fs->remember_client(c->key, [this, c, alive = std::weak_ptr<int>(alive_)](error_code status) {
    if (!alive.expired()) remembered(c, status);
  });
}

void export_core::remembered(const client_ref& c, error_code status) {
  if (c->where != client_phase::remembering) return check_leaving(c);
  if (status != error_code::ok) {
    log_error("volume {}: a client could not be recorded: {}", c->volume->name,
              name_of_error(status));
    std::erase(c->volume->clients, c);
    if (c->link != nullptr) breach(*c->link, status, "the client could not be recorded");
    return;
  }
  c->where = client_phase::active;
  c->awaited = export_client::mark::yes;  // a fresh record says so
  if (c->link != nullptr) say_verdict(*c->link, connect_verdict::fresh);
}

void export_core::send_ack(peer_link& link, const connect_ack_body& ack) {
  std::array<std::byte, 1024> bytes;
  const std::size_t size = encode(ack, bytes).value_or(0);
  send_control(link, message_type::connect_ack, {bytes.data(), size}, 0);
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
  ack.cookie = link.client->cookie;
  link.where = peer_link::stage::active;
  time_.cancel(std::exchange(link.handshake_timer, 0));
  log_info("volume {}: client at {} epoch {:#x}: {}", link.volume->name, link.wire.peer_name(),
           link.epoch, name_of(verdict));
  send_ack(link, ack);
  send_callbacks(*link.client);
}

void export_core::say_evicted(peer_link& link, std::uint64_t kept_through, std::string_view text) {
  const service& fs = *link.volume->fs;
  connect_ack_body ack;
  ack.verdict = connect_verdict::evicted;
  ack.boot_generation = fs.boot_generation();
  ack.last_committed = fs.last_committed();
  ack.features = link.features;
  ack.lease_ms = options_.lease_ms;
  ack.kept_through = kept_through;
  ack.text = text.substr(0, 512);
  log_info("volume {}: client at {} epoch {:#x}: evicted: {}", link.volume->name,
           link.wire.peer_name(), link.epoch, text);
  send_ack(link, ack);
}

// The connection stays, for ADVICE and another CONNECT.
void export_core::say_standby(peer_link& link) {
  time_.cancel(link.handshake_timer);
  link.handshake_timer = time_.call_after(standby_wait_ns, [this, &link] {
    link.handshake_timer = 0;
    close_link(link, down_reason::timeout);
  });
  link.waits = true;
  connect_ack_body ack;
  ack.verdict = connect_verdict::wait;
  ack.retry_ms = standby_retry_ms;
  ack.text = "standby: the volume is served elsewhere";
  send_ack(link, ack);
}

void export_core::say_later(peer_link& link, connect_verdict verdict, std::uint64_t retry_ms,
                            std::string_view text) {
  connect_ack_body ack;
  ack.verdict = verdict;
  ack.retry_ms = static_cast<std::uint32_t>(retry_ms);
  ack.boot_generation = link.volume->fs->boot_generation();
  ack.text = text;
  send_ack(link, ack);
}

void export_core::take_goodbye(peer_link& link, const message_view& message) {
  const std::optional<close_body> body = decode<close_body>(message.body);
  const bool forget = body && body->resume_ok == 0 && link.where == peer_link::stage::active;
  if (!forget) return close_link(link, down_reason::peer_closed);
  log_info("volume {}: client at {} says goodbye", link.volume->name, link.wire.peer_name());
  leave(link.client);
}

}  // namespace tangelo
