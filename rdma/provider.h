// The provider seam: what a fabric (tcp over io_uring, verbs, loop for tests) does for us.
//
// One `endpoint` is one connection instance. It dies once and is never used again; what was in
// flight on it is sent again on another one by the session, never by the endpoint. The manner is
// RPC-over-RDMA: whole messages, small; bulk moved by the server with read_remote/write_remote to
// and from memory that the client exposed under a transfer tag. The life of a connection follows
// iSER: connect (non-blocking) -> up -> ... -> down(reason) -> flushed.
//
// All calls and events are on the loop thread of the owner. Events are never delivered from inside
// a call on the endpoint.
//
// Invariants:
//   1. on_up at most once, then messages and completions, then on_down exactly once, then
//      on_flushed exactly once. Nothing after on_flushed.
//      Transfers without an on_done before on_down get none: on_flushed makes them quiet.
//   2. After on_flushed no byte of exposed or local memory is read or written any more; only then
//      may memory that was in use be given to another purpose, and the endpoint destroyed.
//   3. Messages arrive in the order sent; a write_remote is complete at the peer before a message
//      sent after it arrives.
//   4. send() is whole or not at all: sent, not_connected (connect, then call again), no_buffers
//      (call again after on_sendable), out_of_memory (call again later), io_error (permanent).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/problem.h"
#include "protocol/wire.h"

namespace tangelo {

namespace chunk_flag {
inline constexpr std::uint16_t eager = 4;  // on the wire: the bytes of this pull chunk come unasked
}  // namespace chunk_flag

enum class send_status : std::uint8_t { sent, not_connected, no_buffers, out_of_memory, io_error };

enum class down_reason : std::uint8_t {
  none = 0,
  peer_closed = 1,
  timeout = 2,
  refused = 3,
  unreachable = 4,
  protocol = 5,
  checksum = 6,
  auth = 7,
  device_removed = 8,
  address_change = 9,
  admin = 10,
  epoch_superseded = 11,
  local_error = 12,
};

constexpr std::string_view name_of(send_status s) noexcept {
  switch (s) {
    using enum send_status;
    case sent: return "sent";
    case not_connected: return "not_connected";
    case no_buffers: return "no_buffers";
    case out_of_memory: return "out_of_memory";
    case io_error: return "io_error";
  }
  return {};
}

constexpr std::string_view name_of(down_reason r) noexcept {
  switch (r) {
    using enum down_reason;
    case none: return "none";
    case peer_closed: return "peer_closed";
    case timeout: return "timeout";
    case refused: return "refused";
    case unreachable: return "unreachable";
    case protocol: return "protocol";
    case checksum: return "checksum";
    case auth: return "auth";
    case device_removed: return "device_removed";
    case address_change: return "address_change";
    case admin: return "admin";
    case epoch_superseded: return "epoch_superseded";
    case local_error: return "local_error";
  }
  return {};
}

class endpoint_events {
 public:
  virtual ~endpoint_events() = default;
  virtual void on_up() noexcept = 0;
  // One whole message, valid during the call. A provider checks only its length; the channel
  // parses it (wire.h). PULL_REQUEST and DATA are the provider's own and never delivered.
  virtual void on_message(byte_span message) noexcept = 0;
  // A read_remote or write_remote has ended; its local memory is quiet again.
  virtual void on_done(std::uint64_t cookie, bool ok) noexcept = 0;
  // After no_buffers: there is room again.
  virtual void on_sendable() noexcept = 0;
  virtual void on_down(down_reason reason) noexcept = 0;
  virtual void on_flushed() noexcept = 0;
};

struct endpoint_stats {
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
};

class endpoint {
 public:
  virtual ~endpoint() = default;
  // Where events go; called once, before anything else (by the acceptor for accepted ones).
  virtual void start(endpoint_events& events) = 0;
  // Sends one message built by build_message(); the bytes are taken before it returns.
  virtual send_status send(byte_span message) = 0;
  // Lets the peer read (chunk_kind::pull, call_body) or write (push, reply) `memory` under
  // c.transfer_tag until retract(). With `eager`, the bytes of a pull chunk follow the next
  // message sent without being asked for (feature::eager_payload).
  virtual void expose(const chunk& c, mutable_byte_span memory, bool eager) = 0;
  // Ends it. Only for a tag whose reply has arrived, or that never left in a message.
  virtual void retract(std::uint64_t transfer_tag) = 0;
  // Server side: moves bulk from or to the peer's exposed memory, whole; ends with on_done.
  // read_remote must be called for each pull chunk of a message, from within on_message or later;
  // a provider may hold back what follows until then. An empty `into` drops the bytes: on_done
  // then says that the peer's memory is quiet.
  virtual send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) = 0;
  virtual send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie) = 0;
  // Begins the end; on_down(reason) and on_flushed follow unless they already came. Idempotent.
  virtual void close(down_reason reason) noexcept = 0;
  virtual endpoint_stats stats() const noexcept = 0;
  virtual std::string peer_name() const = 0;
  // Payloads that are sent unasked (feature::eager_payload) spare a round trip here.
  virtual bool is_eager() const noexcept { return true; }
};

// A new connection from a peer: the acceptor must call start() on it before returning.
using acceptor = std::function<void(std::unique_ptr<endpoint>)>;

class listener {
 public:
  virtual ~listener() = default;  // stops listening; accepted endpoints live on
  virtual std::string address() const = 0;  // as bound, "127.0.0.1:7471"
};

enum class memory_use : std::uint8_t {
  local,    // read_remote() and write_remote() move bytes from and to it
  exposed,  // expose() offers parts of it to a peer
};

class provider {
 public:
  virtual ~provider() = default;
  // Begins to connect to "host:port"; the endpoint says on_up or on_down(refused | unreachable |
  // timeout) after start().
  virtual std::unique_ptr<endpoint> connect(std::string_view address) = 0;
  virtual outcome<std::unique_ptr<listener>> listen(std::string_view address, acceptor a) = 0;
  // Memory that transfers will use again and again, so that a fabric that has to register memory
  // does so once. Any other memory may be used too, but may cost a registration each time.
  virtual void register_memory(mutable_byte_span, memory_use) {}
  // Before it is unmapped; no transfer uses it, and none will.
  virtual void forget_memory(mutable_byte_span) {}
};

}  // namespace tangelo
