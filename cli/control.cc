#include "cli/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/packet_socket.h"
#include "base/places.h"

namespace tangelo {

namespace {

constexpr std::string_view socket_of(asked who) noexcept {
  switch (who) {
    using enum asked;
    case watchdog: return "/control.sock";
    case front_end: return "/fs.sock";
  }
  return {};
}

constexpr std::string_view title_of(asked who) noexcept {
  switch (who) {
    using enum asked;
    case watchdog: return "watchdog";
    case front_end: return "front end";
  }
  return {};
}

failure<problem> not_here(const std::string& run_root, const std::string& name) {
  return failure{problem{exit_code::unreachable,
                         name + ": nothing of it in " + run_root + "/mounts",
                         "was it mounted with another TANGELO_RUN_DIR? Set that"}};
}

failure<problem> nobody(asked who, const std::string& name, std::string_view why) {
  return failure{problem{
      exit_code::unreachable,
      name + ": no " + std::string(title_of(who)) + " answers (" + std::string(why) + ")",
      "the mount is UNSUPERVISED: `tangelo watchdog --adopt MOUNT` starts a watchdog for it, "
      "`tangelo umount -f` ends it"}};
}

// A process that stands still with a full queue would let connect(2) wait for ever.
void bound_connect(int fd, int wait_ms) {
  const timeval limit{wait_ms / 1000, wait_ms % 1000 * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // else it waits longer
}

unique_fd connect_to(asked who, const std::string& run_root, const std::string& name,
                     int wait_ms) {
  const unique_fd directory(::open(mount_run_dir(run_root, name).c_str(),
                                   O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {};
  // A socket's path is short, a NAME may be long: go through the directory's descriptor.
  const std::string path =
      ("/proc/self/fd/" + std::to_string(directory.get())).append(socket_of(who));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return {};
  bound_connect(fd.get(), wait_ms);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  return fd;
}

bool belongs_to(int socket, uid_t user) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == user;
}

bool has_answer(int socket, int wait_ms, const std::function<void()>& meanwhile) {
  pollfd p{socket, POLLIN, 0};
  if (!meanwhile) return ::poll(&p, 1, wait_ms) == 1;
  constexpr int step_ms = 100;
  for (int waited = 0; waited < wait_ms; waited += step_ms) {
    if (::poll(&p, 1, step_ms) == 1) return true;
    meanwhile();
  }
  return false;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out(text.substr(0, text.find('\0')));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

outcome<control_reply> ask(asked who, const std::string& run_root, const mount_ref& mount,
                           const control_request& request, int wait_ms,
                           const std::function<void()>& meanwhile) {
  const std::string& name = mount.name;
  const unique_fd fd = connect_to(who, run_root, name, wait_ms);
  if (fd && !belongs_to(fd.get(), mount.user))
    return nobody(who, name, "the one there is another user's");
  if (!fd) {
    const int error = errno;
    if (::access(mount_run_dir(run_root, name).c_str(), F_OK) != 0) return not_here(run_root, name);
    return nobody(who, name, std::strerror(error));
  }
  if (send_packet(fd.get(), request) != packet_status::ok)
    return nobody(who, name, "it does not take the question");
  if (!has_answer(fd.get(), wait_ms, meanwhile)) return nobody(who, name, "it takes too long");
  control_answer answer;
  packet_fds fds;
  if (receive_object(fd.get(), answer, &fds) != packet_status::ok)
    return nobody(who, name, "it has closed the connection");
  if (answer.version != control_version)
    return failure{problem{exit_code::version,
                           name + ": the " + std::string(title_of(who)) +
                               " is of another version than this program",
                           "use the `tangelo` that belongs to it, or upgrade the mount"}};
  control_reply reply{who, answer.errno_value,
                      printable({answer.text.data(), answer.text.size()}), {}, {}};
  if (fds.count == 2) {
    reply.fs_arena = std::move(fds.fds[0]);
    reply.shared_arena = std::move(fds.fds[1]);
  }
  return reply;
}

outcome<control_reply> ask_watchdog(const std::string& run_root, const mount_ref& mount,
                                    control_verb verb, int wait_ms) {
  return ask(asked::watchdog, run_root, mount, {control_version, verb, {}}, wait_ms);
}

outcome<control_reply> ask_either(const std::string& run_root, const mount_ref& mount,
                                  control_verb verb, int wait_ms) {
  outcome<control_reply> reply = ask_watchdog(run_root, mount, verb, wait_ms);
  if (reply || reply.error().code != exit_code::unreachable) return reply;
  outcome<control_reply> other =
      ask(asked::front_end, run_root, mount, {control_version, verb, {}}, wait_ms);
  return other ? std::move(other) : std::move(reply);
}

problem refusal(const mount_ref& mount, const control_reply& reply) {
  const std::string said = reply.text.empty() ? std::strerror(reply.errno_value) : reply.text;
  const exit_code code = reply.errno_value == EINVAL ? exit_code::usage : exit_code::failed;
  return {code, mount.mount_point + ": " + said, {}};
}

}  // namespace tangelo
