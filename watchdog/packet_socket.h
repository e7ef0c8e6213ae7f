// packet_socket: small SEQPACKET messages with descriptors, without ever waiting.
//
// Used by the watchdog for its front end and for the command line. Every call is non-blocking;
// whatever cannot be done now is told to the caller.
#pragma once

#include <span>

#include "base/bytes.h"
#include "base/fd.h"

namespace tangelo {

inline constexpr std::size_t packet_fd_count_max = 4;

// 0, or an errno (EAGAIN: the peer does not read).
int send_packet(int socket, byte_span packet, std::span<const int> fds) noexcept;

enum class receive_status { packet, nothing_yet, closed };
struct receive_answer {
  receive_status status = receive_status::nothing_yet;
  std::size_t size = 0;
};
// Descriptors that come along are closed unseen. A packet longer than `into` counts as closed.
receive_answer receive_packet(int socket, mutable_byte_span into) noexcept;

struct socket_pair {
  unique_fd ours;
  unique_fd theirs;
};
// An error leaves both ends empty and errno set.
socket_pair make_socket_pair() noexcept;

}  // namespace tangelo
