#include "watchdog/supervise_link.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"
#include "base/packet_socket.h"

namespace tangelo {

void supervise_link::open(unique_fd socket) noexcept {
  socket_ = std::move(socket);
  watch();
}

void supervise_link::watch() noexcept {
  if (!socket_ || polling_) return;
  io_uring_sqe* sqe = time_.entry(&readable_);
  io_uring_prep_poll_add(sqe, socket_.get(), POLLIN);
  io_uring_sqe_set_data(sqe, &readable_);
  polling_ = true;
}

void supervise_link::on_readable(int, std::uint32_t) noexcept {
  polling_ = false;
  drain();
  watch();
}

void supervise_link::drain() noexcept {
  constexpr int packets_per_turn = 64;
  for (int i = 0; i < packets_per_turn && socket_; ++i) {
    supervise_packet packet;
    const packet_status got = receive_object(socket_.get(), packet);
    if (got == packet_status::none) return;
    if (got == packet_status::closed) return close();
    owner_.on_packet(packet);
  }
}

bool supervise_link::send(const supervise_packet& packet, unique_fd fd) noexcept {
  if (queued_ == queue_.size()) return false;
  queue_[queued_++] = {packet, std::move(fd)};
  flush();
  return true;
}

void supervise_link::flush() noexcept {
  constexpr std::uint64_t retry_ns = 10 * ns_per_ms;
  std::size_t sent = 0;
  for (; sent < queued_; ++sent) {
    const outgoing& next = queue_[sent];
    const int fd = next.fd.get();
    if (socket_ && send_packet(socket_.get(), object_bytes(next.packet), &fd, fd >= 0 ? 1 : 0) ==
                       packet_status::none)
      break;
  }
  for (std::size_t i = 0; i < sent; ++i) queue_[i].fd.reset();
  std::move(queue_.begin() + static_cast<std::ptrdiff_t>(sent),
            queue_.begin() + static_cast<std::ptrdiff_t>(queued_), queue_.begin());
  queued_ -= sent;
  time_.cancel(retry_timer_);
  retry_timer_ = queued_ == 0 ? 0 : time_.call_after(retry_ns, [this] { flush(); });
}

void supervise_link::close() noexcept {
  if (!socket_) return;
  forget();
  owner_.on_link_closed();
}

void supervise_link::reset() noexcept {
  forget();
  for (std::size_t i = 0; i < queued_; ++i) queue_[i].fd.reset();
  queued_ = 0;
  time_.cancel(retry_timer_);
  retry_timer_ = 0;
}

// The pending poll has to complete although the peer may still hold its end.
void supervise_link::forget() noexcept {
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
  socket_.reset();
}

}  // namespace tangelo
