#include "server/passed_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <vector>

#include "base/notify.h"

namespace tangelo {

namespace {

bool takes_tcp_connections(int fd) {
  const auto value = [fd](int option) {
    int v = -1;
    socklen_t size = sizeof v;
    return ::getsockopt(fd, SOL_SOCKET, option, &v, &size) == 0 ? v : -1;
  };
  const int family = value(SO_DOMAIN);
  return value(SO_ACCEPTCONN) == 1 && value(SO_TYPE) == SOCK_STREAM &&
         (family == AF_INET || family == AF_INET6);
}

}  // namespace

outcome<unique_fd> take_passed_socket() {
  std::vector<stored_fd> passed = take_stored_fds();
  if (passed.empty()) return unique_fd();
  if (passed.size() > 1 || !takes_tcp_connections(passed.front().fd.get()))
    return failure{problem{exit_code::usage, "the socket unit passes something else than one TCP "
                                             "socket that listens",
                           "write one ListenStream=ADDRESS:PORT in it, and Accept=no"}};
  unique_fd fd = std::move(passed.front().fd);
  (void)::fcntl(fd.get(), F_SETFL, 0);  // accept waits, in the ring
  return fd;
}

}  // namespace tangelo
