// control_server: the answering end of control.sock, fs.sock and core.sock (supervise.h), and of a
// server's control.sock (server_control.h).
//
// Owned by a process of the mount or a server, loop thread only. One request and one answer per
// connection, at most client_count_max connections, each for at most 2 s until its request is
// there; whatever is not a request of the owner's size, or comes from another user than ourselves
// or root, closes its connection.
//
// Invariant: a client slot is free, or polled, or being answered by the owner; never two of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/loop.h"
#include "protocol/supervise.h"

namespace tangelo {

// Names one connection; answering one that is gone does nothing.
struct control_ticket {
  std::uint32_t index = 0;
  std::uint32_t sequence = 0;
};

// An answer with its text, cut to what fits.
control_answer answer_of(int errno_value, std::string_view text) noexcept;

class control_events {
 public:
  virtual ~control_events() = default;
  // To be answered by control_server::answer(), now or later.
  virtual void on_control(const control_request&, control_ticket) noexcept {}
  // The same, of an owner with requests of its own: false for what is none.
  virtual bool on_request(byte_span packet, control_ticket ticket) noexcept;
};

class control_server {
 public:
  static constexpr std::uint32_t client_count_max = 16;
  static constexpr std::size_t request_size_max = 1024;

  control_server(loop& time, control_events& owner,
                 std::size_t request_size = sizeof(control_request)) noexcept;
  // A second call changes to another listener.
  void open(unique_fd listener) noexcept;
  // Sends the answer and ends the connection.
  void answer(control_ticket ticket, const control_answer& answer,
              std::span<const int> fds = {}) noexcept;
  // The same, but the connection goes on: it is the caller's now. Empty when it is gone.
  unique_fd answer_and_keep(control_ticket ticket, const control_answer& answer,
                            std::span<const int> fds) noexcept;
  // The descriptors, for a process that is about to become another program; -1: gone.
  int listener() const noexcept { return listener_.get(); }
  int socket_of(control_ticket ticket) const noexcept;

 private:
  struct client final : completion {
    void on_complete(int res, std::uint32_t flags) noexcept override;
    control_server* owner = nullptr;
    std::uint32_t index = 0;
    std::uint32_t sequence = 0;
    unique_fd socket;  // empty: free
    timer_id deadline = 0;
  };
  void watch_listener() noexcept;
  void on_listener(int res, std::uint32_t flags) noexcept;
  void admit(unique_fd socket) noexcept;
  void on_readable(client& c) noexcept;
  void drop(client& c) noexcept;

  loop& time_;
  control_events& owner_;
  const std::size_t request_size_;
  unique_fd listener_;
  std::array<client, client_count_max> clients_;
  member_completion<control_server, &control_server::on_listener> listener_ready_{*this};
};

}  // namespace tangelo
