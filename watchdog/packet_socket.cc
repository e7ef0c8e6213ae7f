#include "watchdog/packet_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace tangelo {

int send_packet(int socket, byte_span packet, std::span<const int> fds) noexcept {
  if (fds.size() > packet_fd_count_max) return EINVAL;
  iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int) * packet_fd_count_max)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = room;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
  }
  const ssize_t n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return n == static_cast<ssize_t>(packet.size()) ? 0 : (n < 0 ? errno : EIO);
}

receive_answer receive_packet(int socket, mutable_byte_span into) noexcept {
  // Without room for control data the kernel drops descriptors that come along.
  const ssize_t n = ::recv(socket, into.data(), into.size(), MSG_DONTWAIT | MSG_TRUNC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {receive_status::nothing_yet, 0};
  if (n <= 0 || static_cast<std::size_t>(n) > into.size()) return {receive_status::closed, 0};
  return {receive_status::packet, static_cast<std::size_t>(n)};
}

socket_pair make_socket_pair() noexcept {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return {};
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

}  // namespace tangelo
