// channel: one connection of a session, seen from either end: messages built and taken apart,
// payloads inline or as chunks, credits, and a queue for what the endpoint cannot take just now.
//
// Owned by the client's session or the server's export_host; loop thread only. It lives and dies
// with its endpoint and never sends anything twice.
//
// Invariants:
//   1. Everything leaves in the order asked for, also through the queue.
//   2. A payload travels inline if it is at most wire_inline_payload_max and the message stays
//      within wire_message_size_max; else as a chunk with a transfer tag used only once.
//   3. A message that cannot be parsed closes the connection (protocol or checksum) after an ERROR.
//   4. Calls in flight never exceed the peer's grant; other messages need no credit (two are
//      reserved for them by the peer).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/errors.h"
#include "protocol/wire.h"
#include "rdma/provider.h"

namespace tangelo {

class channel_events {
 public:
  virtual ~channel_events() = default;
  virtual void on_channel_up() noexcept = 0;
  virtual void on_channel_message(const message_view& message) noexcept = 0;
  virtual void on_channel_done(std::uint64_t cookie, bool ok) noexcept = 0;
  virtual void on_channel_down(down_reason reason) noexcept = 0;
  virtual void on_channel_flushed() noexcept = 0;
};

// The tags under which a call's memory is exposed; 0: not.
struct call_tags {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
};

class channel final : private endpoint_events {
 public:
  // `tag_seed` makes the tags of this connection differ from those of others (the epoch).
  channel(std::unique_ptr<endpoint> e, channel_events& events, std::uint64_t tag_seed);
  void start() { endpoint_->start(*this); }

  bool up() const noexcept { return up_; }
  bool flushed() const noexcept { return flushed_; }
  std::string peer_name() const { return endpoint_->peer_name(); }
  bool is_eager() const noexcept { return endpoint_->is_eager(); }

  // A session message without payload.
  void send(const wire_header& header, byte_span extension, byte_span body);
  // A CALL; `eager_max` is the largest payload that follows unasked (0: none).
  call_tags send_call(const wire_header& header, byte_span extension, byte_span body,
                      mutable_byte_span in, mutable_byte_span out, std::uint32_t eager_max);
  // A PING for which the peer reads `in` and writes `out` before its PONG.
  call_tags send_ping(std::uint64_t xid, mutable_byte_span in, mutable_byte_span out);
  // A REPLY with its payload, inline.
  void send_reply(const wire_header& header, byte_span extension, byte_span body,
                  byte_span inline_payload);
  static bool fits_inline(std::size_t body_size, std::size_t payload_size) noexcept;
  void write_remote(const chunk& c, byte_span from, std::uint64_t cookie);
  void read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie);
  void retract(const call_tags& tags);
  void close(down_reason reason) noexcept { endpoint_->close(reason); }
  // Tells the peer why (ERROR), then closes.
  void close_with_error(down_reason reason, error_code code, std::string_view text);

  // Credits of the side that sends calls.
  void grant(std::uint16_t absolute) noexcept { granted_ = absolute; }
  std::uint16_t granted() const noexcept { return granted_; }
  bool may_call() const noexcept { return in_flight_ < granted_; }
  void call_answered() noexcept;

 private:
  struct exposure {
    chunk what;
    mutable_byte_span memory;
    bool eager = false;
  };
  // One thing to be done once the endpoint has room again.
  struct queued {
    enum class kind : std::uint8_t { message, read, write };
    kind what{};
    std::vector<std::byte> bytes;
    std::array<exposure, 2> exposures{};
    std::size_t exposure_count = 0;
    chunk target;
    byte_span from;
    mutable_byte_span into;
    std::uint64_t cookie = 0;
  };

  void on_up() noexcept override;
  void on_message(byte_span message) noexcept override;
  void on_done(std::uint64_t cookie, bool ok) noexcept override;
  void on_sendable() noexcept override;
  void on_down(down_reason reason) noexcept override;
  void on_flushed() noexcept override;

  call_tags send_exposing(const wire_header& header, byte_span extension, byte_span body,
                          mutable_byte_span in, mutable_byte_span out, std::uint32_t eager_max);
  void send_built(byte_span message, const std::array<exposure, 2>& exposures, std::size_t count);
  void expose(const std::array<exposure, 2>& exposures, std::size_t count);
  send_status try_queued(const queued& q);
  bool took(send_status status) noexcept;
  exposure make_exposure(chunk_kind kind, mutable_byte_span memory, bool eager);

  std::unique_ptr<endpoint> endpoint_;
  channel_events& events_;
  std::uint64_t next_tag_;
  bool up_ = false;
  bool flushed_ = false;
  std::uint16_t granted_ = 0;
  std::uint16_t in_flight_ = 0;
  std::deque<queued> queue_;
};

// The 32 bytes of an extension.
std::array<std::byte, wire_extension_size> encode_extension(const call_extension& e) noexcept;
std::array<std::byte, wire_extension_size> encode_extension(const reply_extension& e) noexcept;

}  // namespace tangelo
