// packet_socket: small fixed-size messages and descriptors over a UNIX SEQPACKET socket.
//
// Never waits: send and receive are non-blocking, so that no process hangs on another one. Used by
// watchdog, front end, core and the command line for the dialogues of protocol/device.h and
// protocol/supervise.h.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/fd.h"

namespace tangelo {

inline constexpr std::size_t packet_fd_count_max = 4;

enum class packet_status : std::uint8_t {
  ok,
  none,    // nothing there, or no room to send
  closed,  // the other side is gone, or said something that is no packet of ours
};

struct packet_fds {
  std::array<unique_fd, packet_fd_count_max> fds;
  std::size_t count = 0;
};

// Sends `packet` with `fd_count` descriptors (which stay the caller's).
packet_status send_packet(int socket, byte_span packet, const int* fds = nullptr,
                          std::size_t fd_count = 0) noexcept;
// Receives one packet of exactly `packet.size()` bytes; descriptors go to `fds`, or are closed.
packet_status receive_packet(int socket, mutable_byte_span packet,
                             packet_fds* fds = nullptr) noexcept;

template <class T>
packet_status send_packet(int socket, const T& packet) noexcept {
  return send_packet(socket, object_bytes(packet), nullptr, 0);
}
template <class T>
packet_status receive_object(int socket, T& packet, packet_fds* fds = nullptr) noexcept {
  return receive_packet(socket, writable_bytes(packet), fds);
}

// A connected pair, close-on-exec.
struct socket_pair {
  unique_fd first;
  unique_fd second;
};
socket_pair make_socket_pair() noexcept;  // both empty when the system refuses

}  // namespace tangelo
