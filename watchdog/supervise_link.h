// supervise_link: the watchdog's end of the dialogue with its front end (protocol/supervise.h).
//
// Owned by the watchdog, loop thread only; never waits. What the front end cannot take now stands
// in a short queue and is tried again; a packet of the wrong size closes the link.
//
// Invariant: packets leave in the order of send().
#pragma once

#include <array>

#include "base/fd.h"
#include "base/loop.h"
#include "protocol/supervise.h"

namespace tangelo {

class link_events {
 public:
  virtual ~link_events() = default;
  virtual void on_packet(const supervise_packet& packet) noexcept = 0;
  virtual void on_link_closed() noexcept = 0;
};

class supervise_link {
 public:
  supervise_link(loop& time, link_events& owner) noexcept : time_(time), owner_(owner) {}

  void open(unique_fd socket) noexcept;
  // The peer is no more: what is queued for it is dropped. Does not call on_link_closed().
  void reset() noexcept;
  // The descriptor goes along with the packet. False when the queue is full.
  bool send(const supervise_packet& packet, unique_fd fd = {}) noexcept;
  // Takes in what has arrived; for use when the peer has just ended.
  void drain() noexcept;
  // True when nothing is waiting to be sent.
  bool idle() const noexcept { return queued_ == 0; }
  // -1: closed.
  int fd() const noexcept { return socket_.get(); }

 private:
  struct outgoing {
    supervise_packet packet;
    unique_fd fd;
  };
  void watch() noexcept;
  void on_readable(int res, std::uint32_t flags) noexcept;
  void flush() noexcept;
  void close() noexcept;
  void forget() noexcept;

  loop& time_;
  link_events& owner_;
  unique_fd socket_;
  bool polling_ = false;
  std::array<outgoing, 8> queue_;
  std::size_t queued_ = 0;
  timer_id retry_timer_ = 0;
  member_completion<supervise_link, &supervise_link::on_readable> readable_{*this};
};

}  // namespace tangelo
