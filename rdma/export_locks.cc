// Ends of waits for locks: told to their clients by CALLBACK until CALLBACK_ACK says that they are
// recorded. A connection may end between the two, so all are said again on the next one, and once a
// second on the same.
#include <algorithm>

#include "protocol/lock_ops.h"
#include "rdma/export_core.h"

namespace tangelo {

void export_core::lock_news(export_volume& v, const client_key& key) {
  const auto c = std::find_if(v.clients.begin(), v.clients.end(),
                              [&key](const client_ref& x) { return x->key == key; });
  if (c != v.clients.end()) send_callbacks(**c);
}

void export_core::send_callbacks(export_client& c) {
  if (c.link == nullptr || c.link->where != peer_link::stage::active) return;
  const std::vector<lock_notice> notices = c.volume->fs->notices_of(c.key);
  for (const lock_notice& n : notices) {
    const callback_body body{n.lock_id, static_cast<std::uint16_t>(n.status)};
    std::array<std::byte, 32> bytes;
    const std::size_t size = encode(body, bytes).value_or(0);
    send_control(*c.link, message_type::callback, {bytes.data(), size}, n.lock_id);
    if (c.link == nullptr) return;
  }
  if (!notices.empty()) repeat_callbacks(*c.volume);
}

void export_core::repeat_callbacks(export_volume& v) {
  if (v.callback_timer != 0 || stopping_) return;
  v.callback_timer = time_.call_after(callback_ns, [this, &v] {
    v.callback_timer = 0;
    const std::vector<client_ref> clients = v.clients;
    for (const client_ref& c : clients) send_callbacks(*c);
  });
}

void export_core::take_callback_ack(peer_link& link, const message_view& message) {
  const std::optional<callback_ack_body> body = decode<callback_ack_body>(message.body);
  if (!body) return breach(link, error_code::protocol, "malformed CALLBACK_ACK");
  link.volume->fs->noticed(link.client->key, body->lock_id, body->kept != 0);
}

}  // namespace tangelo
