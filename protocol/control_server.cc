#include "protocol/control_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/packet_socket.h"

namespace tangelo {

namespace {

bool is_ours(int socket) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == 0 || peer.uid == ::geteuid());
}

}  // namespace

control_answer answer_of(int errno_value, std::string_view text) noexcept {
  control_answer answer;
  answer.errno_value = errno_value;
  (void)text.copy(answer.text.data(), answer.text.size() - 1);
  return answer;
}

bool control_events::on_request(byte_span packet, control_ticket ticket) noexcept {
  control_request request;
  if (packet.size() != sizeof request) return false;
  std::memcpy(&request, packet.data(), sizeof request);
  if (request.version != control_version) return false;
  on_control(request, ticket);
  return true;
}

control_server::control_server(loop& time, control_events& owner,
                               std::size_t request_size) noexcept
    : time_(time), owner_(owner), request_size_(std::min(request_size, request_size_max)) {
  for (std::uint32_t i = 0; i < client_count_max; ++i) {
    clients_[i].owner = this;
    clients_[i].index = i;
  }
}

void control_server::open(unique_fd listener) noexcept {
  const bool is_watched = static_cast<bool>(listener_);
  listener_ = std::move(listener);
  if (!is_watched) return watch_listener();
  // The pending poll ends, and the next one is for the new listener.
  io_uring_sqe* sqe = time_.entry(nullptr);
  io_uring_prep_poll_remove(sqe, reinterpret_cast<std::uintptr_t>(&listener_ready_));
  io_uring_sqe_set_data(sqe, nullptr);
}

void control_server::watch_listener() noexcept {
  io_uring_sqe* sqe = time_.entry(&listener_ready_);
  io_uring_prep_poll_add(sqe, listener_.get(), POLLIN);
  io_uring_sqe_set_data(sqe, &listener_ready_);
}

void control_server::on_listener(int, std::uint32_t) noexcept {
  for (std::uint32_t i = 0; i < client_count_max; ++i) {
    unique_fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // Without a descriptor left, the connection stays and would wake us at once.
      constexpr std::uint64_t pause_ns = 100 * ns_per_ms;
      const bool is_empty = errno == EAGAIN || errno == EWOULDBLOCK || errno == ECONNABORTED;
      if (is_empty) break;
      (void)time_.call_after(pause_ns, [this] { watch_listener(); });
      return;
    }
    admit(std::move(socket));
  }
  watch_listener();
}

void control_server::admit(unique_fd socket) noexcept {
  constexpr std::uint64_t request_wait_ns = 2 * ns_per_s;
  for (client& c : clients_) {
    if (c.socket) continue;
    c.socket = std::move(socket);
    ++c.sequence;
    // Makes the pending poll complete, which frees the slot.
    c.deadline = time_.call_after(request_wait_ns,
                                  [&c] { ::shutdown(c.socket.get(), SHUT_RDWR); });
    io_uring_sqe* sqe = time_.entry(&c);
    io_uring_prep_poll_add(sqe, c.socket.get(), POLLIN);
    io_uring_sqe_set_data(sqe, &c);
    return;
  }
  // No slot free: the connection is closed and the caller tries again.
}

void control_server::client::on_complete(int, std::uint32_t) noexcept {
  owner->on_readable(*this);
}

void control_server::on_readable(client& c) noexcept {
  time_.cancel(c.deadline);
  c.deadline = 0;
  std::array<std::byte, request_size_max> room{};
  const mutable_byte_span packet(room.data(), request_size_);
  if (!is_ours(c.socket.get())) return drop(c);
  if (receive_packet(c.socket.get(), packet) != packet_status::ok) return drop(c);
  if (!owner_.on_request(packet, {c.index, c.sequence})) drop(c);
}

void control_server::answer(control_ticket ticket, const control_answer& answer,
                            std::span<const int> fds) noexcept {
  client& c = clients_[ticket.index];
  if (!c.socket || c.sequence != ticket.sequence) return;
  if (send_packet(c.socket.get(), object_bytes(answer), fds.data(), fds.size()) !=
      packet_status::ok)
    log_debug("control.sock: an answer was not taken");
  drop(c);
}

unique_fd control_server::answer_and_keep(control_ticket ticket, const control_answer& answer,
                                         std::span<const int> fds) noexcept {
  client& c = clients_[ticket.index];
  if (!c.socket || c.sequence != ticket.sequence) return {};
  unique_fd socket = std::move(c.socket);
  drop(c);
  if (send_packet(socket.get(), object_bytes(answer), fds.data(), fds.size()) !=
      packet_status::ok)
    return {};
  return socket;
}

int control_server::socket_of(control_ticket ticket) const noexcept {
  const client& c = clients_[ticket.index];
  return c.sequence == ticket.sequence ? c.socket.get() : -1;
}

void control_server::drop(client& c) noexcept { c.socket.reset(); }

}  // namespace tangelo
