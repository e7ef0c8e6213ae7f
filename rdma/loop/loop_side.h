// loop_side: one end of a connection of a loop_network. Included by rdma/loop/*.cc only.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "rdma/loop/loop_network.h"
#include "rdma/placement.h"

namespace tangelo {

struct loop_frame {
  enum class kind : std::uint8_t { message, data, pull, end };
  kind what{};
  chunk target;
  std::vector<std::byte> bytes;
};

class loop_side final : public std::enable_shared_from_this<loop_side> {
 public:
  loop_side(loop_network& network, std::string peer);
  void start(endpoint_events& events);
  send_status send(byte_span message);
  void expose(const chunk& c, mutable_byte_span memory, bool eager);
  void retract(std::uint64_t tag);
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie);
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie);
  void close(down_reason reason);
  void orphan();
  const endpoint_stats& stats() const noexcept { return stats_; }
  const std::string& peer_name() const noexcept { return peer_name_; }

  void set_address(std::string address) { address_ = std::move(address); }
  void cut();  // both ends learn that the other has gone

 private:
  enum class phase : std::uint8_t { idle, connecting, up, closing, flushed };
  void find_listener();
  void came_up();
  void later(void (loop_side::*step)());
  void put(loop_frame frame);
  void arrive(loop_frame frame);
  void drain();
  void take(const loop_frame& frame);
  void take_message(const loop_frame& frame);
  bool take_data(const loop_frame& frame);
  void take_pull(const loop_frame& frame);
  void put_bulk(exposed_memory& e);
  void frame_taken();
  bool room(std::size_t frames) const noexcept;
  void say_down();
  void say_flushed();
  void say_sendable();

  loop_network& network_;
  std::string peer_name_;
  std::string address_;  // of a connecting one
  endpoint_events* events_ = nullptr;
  phase phase_ = phase::idle;
  down_reason reason_ = down_reason::none;
  std::weak_ptr<loop_side> peer_;
  placement placement_;
  std::deque<loop_frame> inbox_;
  bool held_ = false;
  bool draining_ = false;
  bool refused_ = false;
  std::size_t in_flight_ = 0;
  std::uint64_t last_arrival_ns_ = 0;  // at this side
  endpoint_stats stats_;
};

}  // namespace tangelo
