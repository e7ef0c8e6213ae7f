#include "base/packet_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tangelo {

packet_status send_packet(int socket, byte_span packet, const int* fds,
                          std::size_t fd_count) noexcept {
  iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * packet_fd_count_max)] = {};
  if (fd_count != 0) {
    if (fd_count > packet_fd_count_max) return packet_status::closed;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    std::memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
  }
  for (;;) {
    const ssize_t n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(packet.size())) return packet_status::ok;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) return packet_status::none;
    return packet_status::closed;
  }
}

namespace {

void take_fds(msghdr& message, packet_fds& out) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      if (out.count < packet_fd_count_max)
        out.fds[out.count++].reset(fd);
      else
        ::close(fd);
    }
  }
}

}  // namespace

packet_status receive_packet(int socket, mutable_byte_span packet, packet_fds* fds) noexcept {
  iovec part{packet.data(), packet.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * packet_fd_count_max)];
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  do {
    n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN ? packet_status::none : packet_status::closed;
  packet_fds unwanted;
  take_fds(message, fds != nullptr ? *fds : unwanted);
  const bool whole = n == static_cast<ssize_t>(packet.size());
  const bool truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  return whole && !truncated ? packet_status::ok : packet_status::closed;
}

socket_pair make_socket_pair() noexcept {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return {};
  return {unique_fd(fds[0]), unique_fd(fds[1])};
}

}  // namespace tangelo
