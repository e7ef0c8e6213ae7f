// PING: answered at once, or when the payload it asks for has been moved: from the peer to memory
// that nobody reads, and to the peer from memory in which nobody writes. Both are shared by all.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "rdma/export_core.h"

namespace tangelo {

// Cookies of jobs are addresses: even numbers.
namespace {
constexpr std::uint64_t cookie_of(std::uint64_t number) noexcept { return number * 2 + 1; }
}  // namespace

void export_core::take_ping(peer_link& link, const message_view& message) {
  const std::span<const chunk> chunks(message.chunks.data(), message.chunk_count);
  if (chunks.empty()) return send_control(link, message_type::pong, {}, message.header.xid);
  const auto of_kind = [&chunks](chunk_kind kind) {
    return std::count_if(chunks.begin(), chunks.end(),
                         [kind](const chunk& c) { return c.kind == kind && c.size != 0; });
  };
  const auto pulls = of_kind(chunk_kind::pull), pushes = of_kind(chunk_kind::push);
  if (pulls > 1 || pushes > 1 || static_cast<std::size_t>(pulls + pushes) != chunks.size())
    return breach(link, error_code::protocol, "a PING with payloads that it cannot have");
  if (link.pings.size() == pings_max)
    return breach(link, error_code::protocol, "more payloads of PINGs than can be moved at once");
  if (moving_pings_++ == 0) {
    ping_sink_ = buffers_.acquire(wire_payload_size_max, true);
    ping_source_ = buffers_.acquire(wire_payload_size_max, true);
    std::memset(ping_source_.data(), 0, ping_source_.size());  // it may have been another's
  }
  const std::uint64_t number = next_ping_++;
  link.pings.push_back({number, message.header.xid, chunks.size()});
  for (const chunk& c : chunks) {
    if (c.kind == chunk_kind::pull) {
      link.wire.read_remote(c, ping_sink_.first(c.size), cookie_of(number));
    } else {
      link.wire.write_remote(c, ping_source_.first(c.size), cookie_of(number));
    }
  }
}

// False: the cookie is none of a PING.
bool export_core::ping_moved(peer_link& link, std::uint64_t cookie) {
  const auto it = std::find_if(link.pings.begin(), link.pings.end(), [cookie](const auto& p) {
    return cookie_of(p.number) == cookie;
  });
  if (it == link.pings.end()) return false;
  heard(link);
  if (--it->transfers != 0) return true;
  const std::uint64_t xid = it->xid;
  link.pings.erase(it);
  --moving_pings_;
  give_back_ping_memory();
  if (link.where != peer_link::stage::closing) send_control(link, message_type::pong, {}, xid);
  return true;
}

// The connection has ended, and nothing is moved over it any more.
void export_core::forget_pings(peer_link& link) {
  moving_pings_ -= link.pings.size();
  link.pings.clear();
  give_back_ping_memory();
}

void export_core::give_back_ping_memory() {
  if (moving_pings_ != 0 || ping_sink_.empty()) return;
  buffers_.release(std::exchange(ping_sink_, {}));
  buffers_.release(std::exchange(ping_source_, {}));
  schedule_trim();
  if (!starved_.empty()) serve_starved();
}

}  // namespace tangelo
