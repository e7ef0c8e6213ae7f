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

failure<problem> stopped(const mount_ref& mount, pid_t pid) {
  const std::string number = std::to_string(pid);
  return failure{problem{exit_code::unreachable,
                         mount.mount_point + ": its watchdog (pid " + number + ") is stopped",
                         "kill -CONT " + number + " lets it go on; `tangelo umount -f " +
                             mount.mount_point + "` ends the mount"}};
}

// A process that stands still with a full queue would let connect(2) wait for ever.
void bound_connect(int fd, int wait_ms) {
  const timeval limit{wait_ms / 1000, wait_ms % 1000 * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // else it waits longer
}

unique_fd connect_to(std::string_view socket_name, const std::string& run_root,
                     const std::string& name, int wait_ms) {
  const unique_fd directory(::open(mount_run_dir(run_root, name).c_str(),
                                   O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {};
  // A socket's path is short, a NAME may be long: go through the directory's descriptor.
  const std::string path =
      ("/proc/self/fd/" + std::to_string(directory.get())).append(socket_name);
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

// Who listens at the other end; of fs.sock and core.sock it is the watchdog that made them.
ucred peer_of(int socket) {
  ucred peer{0, ~uid_t{0}, ~gid_t{0}};
  socklen_t size = sizeof peer;
  // Else it stays nobody's.
  (void)::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size);
  return peer;
}

bool is_stopped(pid_t pid) {
  const unique_fd fd(
      ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  const ssize_t n = fd ? ::read(fd.get(), text, sizeof text) : 0;
  const std::string_view line(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::size_t command_end = line.rfind(") ");
  return command_end != line.npos && line.substr(command_end + 2).starts_with('T');
}

failure<problem> nobody(asked who, const mount_ref& mount, std::string_view why) {
  return failure{problem{
      exit_code::unreachable,
      mount.name + ": no " + std::string(title_of(who)) + " answers (" + std::string(why) + ")",
      "the mount is UNSUPERVISED: `tangelo watchdog --adopt " + mount.mount_point +
          "` starts a watchdog for it, `tangelo umount -f " + mount.mount_point + "` ends it"}};
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
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto c = static_cast<unsigned char>(out[i]);
    const unsigned next = i + 1 < out.size() ? static_cast<unsigned char>(out[i + 1]) : 0;
    if (c < 0x20 || c == 0x7f) out[i] = '?';
    if (c == 0xc2 && next >= 0x80 && next < 0xa0) out[i] = out[i + 1] = '?';  // U+0080 to U+009F
  }
  return out;
}

outcome<control_reply> ask(asked who, const std::string& run_root, const mount_ref& mount,
                           const control_request& request, int wait_ms,
                           const std::function<void()>& meanwhile) {
  const std::string& name = mount.name;
  const auto no_answer = [who, &mount](std::string_view why) { return nobody(who, mount, why); };
  const unique_fd fd = connect_to(socket_of(who), run_root, name, wait_ms);
  if (!fd) {
    const int error = errno;
    if (::access(mount_run_dir(run_root, name).c_str(), F_OK) != 0) return not_here(run_root, name);
    return no_answer(std::strerror(error));
  }
  const ucred peer = peer_of(fd.get());
  if (peer.uid != mount.user) return no_answer("the one there is another user's");
  if (who == asked::watchdog && is_stopped(peer.pid)) return stopped(mount, peer.pid);
  if (send_packet(fd.get(), request) != packet_status::ok)
    return no_answer("it does not take the question");
  if (!has_answer(fd.get(), wait_ms, meanwhile)) return no_answer("it takes too long");
  control_answer answer;
  packet_fds fds;
  if (receive_object(fd.get(), answer, &fds) != packet_status::ok)
    return no_answer("it has closed the connection");
  if (answer.version != control_version)
    return failure{problem{exit_code::version,
                           name + ": the " + std::string(title_of(who)) +
                               " is of another version than this program",
                           "use the `tangelo` that belongs to it, or upgrade the mount"}};
  control_reply reply{who, answer.errno_value,
                      printable({answer.text.data(), answer.text.size()}), {}, {}, {}};
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

namespace {

// Of a mount whose front end does not answer: a core can hand it over, a watchdog that is stopped
// can go on, and what is not here may be elsewhere.
bool may_go_on(const std::string& run_root, const mount_ref& mount) {
  constexpr int connect_wait_ms = 100;
  return ::access(mount_run_dir(run_root, mount.name).c_str(), F_OK) != 0 ||
         connect_to("/core.sock", run_root, mount.name, connect_wait_ms) ||
         stopped_watchdog(run_root, mount) != 0;
}

}  // namespace

outcome<control_reply> ask_either(const std::string& run_root, const mount_ref& mount,
                                  control_verb verb, int wait_ms) {
  outcome<control_reply> reply = ask_watchdog(run_root, mount, verb, wait_ms / 2);
  if (reply || reply.error().code != exit_code::unreachable) return reply;
  outcome<control_reply> other = ask(asked::front_end, run_root, mount,
                                     {control_version, verb, {}}, wait_ms - wait_ms / 2);
  if (!other && may_go_on(run_root, mount)) return reply;
  if (!other)
    return failure{problem{exit_code::unreachable, reply.error().text,
                           "nothing is left that could hand the mount over to another watchdog: "
                           "`tangelo umount -f " + mount.mount_point + "` ends it"}};
  other->silence = reply.error();
  return other;
}

pid_t stopped_watchdog(const std::string& run_root, const mount_ref& mount) {
  constexpr int connect_wait_ms = 500;
  const unique_fd fd =
      connect_to(socket_of(asked::watchdog), run_root, mount.name, connect_wait_ms);
  const ucred peer = peer_of(fd.get());
  return peer.uid == mount.user && is_stopped(peer.pid) ? peer.pid : 0;
}

problem refusal(const mount_ref& mount, const control_reply& reply) {
  const std::string said = reply.text.empty() ? std::strerror(reply.errno_value) : reply.text;
  const exit_code code = reply.errno_value == EINVAL ? exit_code::usage : exit_code::failed;
  return {code, mount.mount_point + ": " + said, {}};
}

}  // namespace tangelo
