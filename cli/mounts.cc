#include "cli/mounts.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "base/bytes.h"
#include "base/mount_name.h"
#include "base/mount_table.h"
#include "base/places.h"

namespace tangelo {

namespace {

std::string working_directory() {
  char path[PATH_MAX];
  return ::getcwd(path, sizeof path) == nullptr ? "/" : path;
}

// The real path of everything but the last part: the mount itself is not looked into.
std::string real_parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  char real[PATH_MAX];
  if (slash == 0 || ::realpath(path.substr(0, slash).c_str(), real) == nullptr) return path;
  return std::string(real) + path.substr(slash);
}

failure<problem> no_watchdog(const std::string& name, std::string_view why) {
  return failure{problem{exit_code::unreachable,
                         name + ": no watchdog answers (" + std::string(why) + ")",
                         "the mount is UNSUPERVISED; `tangelo umount -l` ends it"}};
}

unique_fd connect_to(const std::string& run_root, const std::string& name) {
  const unique_fd directory(::open(mount_run_dir(run_root, name).c_str(),
                                   O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {};
  // A socket's path is short, a NAME may be long: go through the directory's descriptor.
  const std::string path =
      "/proc/self/fd/" + std::to_string(directory.get()) + "/control.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  return fd;
}

bool receive_reply(int fd, control_reply& reply) {
  constexpr std::size_t fd_count = 2;
  iovec part{&reply.answer, sizeof reply.answer};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int) * fd_count)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  const ssize_t n = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); n > 0 && c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
        c->cmsg_len != CMSG_LEN(sizeof(int) * fd_count))
      continue;
    int fds[fd_count];
    std::memcpy(fds, CMSG_DATA(c), sizeof fds);
    reply.fs_arena.reset(fds[0]);
    reply.shared_arena.reset(fds[1]);
  }
  reply.answer.text.back() = '\0';
  return n == static_cast<ssize_t>(sizeof reply.answer) &&
         reply.answer.version == control_version;
}

}  // namespace

std::vector<mount_ref> list_mounts() {
  std::vector<mount_ref> mounts;
  for (const mount_entry& e : read_mount_table())
    if (e.type == mount_type)
      mounts.push_back({mount_name_of(e.mount_point), e.mount_point, e.source});
  return mounts;
}

outcome<mount_ref> find_mount_of(std::string_view what) {
  outcome<mount_ref> at = find_mount_at(what);
  if (at) return at;
  for (const mount_ref& m : list_mounts())
    if (m.name == what) return m;
  return at;
}

outcome<mount_ref> find_mount_at(std::string_view what) {
  const std::vector<mount_ref> mounts = list_mounts();
  const std::string path = absolute_path(what, working_directory());
  // Of several on one path the last one is on top.
  for (const std::string& candidate : {path, real_parent_path(path)})
    for (auto m = mounts.rbegin(); m != mounts.rend(); ++m)
      if (m->mount_point == candidate) return *m;
  return failure{problem{exit_code::unreachable,
                         std::string(what) + ": no Tangelo mount is there",
                         "`tangelo status` lists all of them"}};
}

outcome<control_reply> ask_watchdog(const std::string& run_root, const std::string& name,
                                    control_verb verb, int wait_ms) {
  const unique_fd fd = connect_to(run_root, name);
  if (!fd) return no_watchdog(name, std::strerror(errno));
  const control_request request{control_version, verb};
  if (::send(fd.get(), &request, sizeof request, MSG_NOSIGNAL) !=
      static_cast<ssize_t>(sizeof request))
    return no_watchdog(name, std::strerror(errno));
  pollfd p{fd.get(), POLLIN, 0};
  if (::poll(&p, 1, wait_ms) != 1) return no_watchdog(name, "it takes too long");
  control_reply reply;
  if (!receive_reply(fd.get(), reply)) return no_watchdog(name, "it has closed the connection");
  return reply;
}

}  // namespace tangelo
