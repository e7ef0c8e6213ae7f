// tcp_connection: one TCP connection as an endpoint: framing, placement, batching.
//
// At most one sendmsg and one recv are with the kernel. What is sent while a sendmsg is prepared
// and not yet submitted joins it; what comes later waits for its completion and then goes out in
// one piece. Received bytes are staged, except bulk, which is received where it belongs.
//
// Lifetime: the handle given to the owner (tcp_endpoint) holds it; a handle destroyed early lets
// the connection close by itself and delete itself when the kernel is done with it. Loop only.
//
// Invariants:
//   1. on_flushed only when `ops_` is zero: no submission of ours can touch memory any more.
//   2. Events only from completions and posted calls, never from inside an endpoint call.
//   3. Parsing stops at a DATA frame whose read_remote has not come: back-pressure by TCP.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/fd.h"
#include "base/loop.h"
#include "rdma/address.h"
#include "rdma/placement.h"
#include "rdma/provider.h"
#include "rdma/tcp/send_queue.h"

namespace tangelo {

class tcp_connection {
 public:
  // An accepted socket, or none yet: to be connected once its address is looked up.
  tcp_connection(loop& l, unique_fd fd, std::string peer) noexcept;
  ~tcp_connection();

  void start(endpoint_events& events);
  send_status send(byte_span message);
  void expose(const chunk& c, mutable_byte_span memory, bool eager);
  void retract(std::uint64_t tag);
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie);
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie);
  void close(down_reason reason) noexcept;
  const endpoint_stats& stats() const noexcept { return stats_; }
  const std::string& peer() const noexcept { return peer_; }
  // The handle is gone: close, and delete this when flushed.
  void orphan() noexcept;

  // The address lookup of a connecting one; it holds the connection alive until it reports.
  void lookup_began() noexcept;
  void lookup_ended(std::vector<socket_address> found) noexcept;

 private:
  enum class phase : std::uint8_t { idle, connecting, up, closing, flushed };

  void connect_to_next();
  void came_up();
  void fail(down_reason reason) noexcept { close(reason); }
  void later(void (tcp_connection::*step)());
  void op_ended() noexcept { --ops_; }
  void try_flush() noexcept;
  void say_down();

  // connection.cc: sending
  void kick() noexcept;
  bool send_is_unsubmitted() const noexcept;
  void push_bulk(message_type type, const chunk& c, byte_span payload, sent_item what);
  bool has_room(std::size_t frames) const noexcept;
  void say_sendable();

  // receive.cc
  void arm_receive();
  void parse();
  bool parse_one();
  void take_data(byte_span message);
  void take_pull_request(byte_span message);
  bool begin_placing(const chunk& c);
  void place_staged();
  void end_placing();
  void resume();

  void on_connected(int res, std::uint32_t flags) noexcept;
  void on_sent(int res, std::uint32_t flags) noexcept;
  void on_received(int res, std::uint32_t flags) noexcept;
  void on_ended(int res, std::uint32_t flags) noexcept;

  static constexpr std::size_t staging_size = 64 * 1024;

  loop& loop_;
  unique_fd fd_;
  std::string peer_;
  endpoint_events* events_ = nullptr;
  phase phase_ = phase::idle;
  down_reason reason_ = down_reason::none;
  bool orphaned_ = false;
  bool accepted_ = false;
  bool down_said_ = false;
  unsigned ops_ = 0;  // submissions and posted calls that refer to this object
  std::vector<socket_address> addresses_;  // one after the other
  std::size_t tried_ = 0;

  placement placement_;
  send_queue queue_;
  msghdr send_header_{};
  unsigned send_position_ = 0;  // of the sendmsg in the submission ring
  bool sending_ = false;
  bool reaping_ = false;  // attributing a completion: no new sendmsg yet
  bool refused_ = false;  // no_buffers was said: on_sendable is owed

  std::unique_ptr<std::byte[]> staging_;
  std::size_t staged_begin_ = 0;
  std::size_t staged_end_ = 0;
  bool receiving_ = false;
  bool held_ = false;  // parsing waits for a read_remote
  chunk held_chunk_;
  bool placing_ = false;
  bool placing_is_read_ = false;
  std::uint64_t placing_tag_ = 0;
  mutable_byte_span placing_into_;  // what is left of it; empty while dropping
  std::size_t placing_left_ = 0;

  endpoint_stats stats_;
  member_completion<tcp_connection, &tcp_connection::on_connected> connected_{*this};
  member_completion<tcp_connection, &tcp_connection::on_sent> sent_{*this};
  member_completion<tcp_connection, &tcp_connection::on_received> received_{*this};
  member_completion<tcp_connection, &tcp_connection::on_ended> ended_{*this};
};

down_reason reason_of_errno(int errno_value) noexcept;

}  // namespace tangelo
