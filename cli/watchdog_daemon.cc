#include "cli/watchdog_daemon.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/places.h"
#include "base/private_directory.h"
#include "cli/control.h"
#include "cli/process.h"

namespace tangelo {

namespace {

constexpr int ready_wait_ms = 30'000;

outcome<void> make_log_directory(const std::string& run_root) {
  if (::geteuid() != 0) {
    outcome<void> own = make_private_directory(run_root);
    if (!own) return own;
  }
  for (const std::string& path : {run_root, run_root + "/log"})
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
      return failure{problem{exit_code::failed, path + ": " + std::strerror(errno),
                             "is its parent there, and are you root?"}};
  return {};
}

// What the watchdog writes to its --ready-fd: "ok", or the problem in two lines.
std::string read_ready(int fd) {
  std::string text;
  char part[1024];
  pollfd p{fd, POLLIN, 0};
  while (::poll(&p, 1, ready_wait_ms) == 1) {
    const ssize_t n = ::read(fd, part, sizeof part);
    if (n <= 0) break;
    text.append(part, static_cast<std::size_t>(n));
    if (text == "ok\n") break;
  }
  return text;
}

failure<problem> start_failure(pid_t pid, const std::string& text, const std::string& log_path) {
  const std::optional<int> status = exit_status_of(pid, 5000);
  problem p;
  const bool known = status && *status >= 1 && *status <= static_cast<int>(exit_code::unreachable);
  p.code = known ? static_cast<exit_code>(*status) : exit_code::failed;
  const std::size_t end = text.find('\n');
  p.text = !text.empty() ? text.substr(0, end)
           : status      ? "tangelo-watchdog ended without saying why"
                         : "tangelo-watchdog does not report that it serves";
  if (end != std::string::npos) p.hint = text.substr(end + 1, text.find('\n', end + 1) - end - 1);
  if (p.hint.empty()) p.hint = "its log is " + log_path;
  return failure{p};
}

}  // namespace

outcome<void> start_watchdog(const mount_ref& mount, const std::string& run_root,
                             std::vector<std::string> call) {
  const std::string program = find_program("tangelo-watchdog", "watchdog");
  if (program.empty())
    return failure{problem{exit_code::failed, "tangelo-watchdog: program not found",
                           "it belongs beside tangelo; TANGELO_BIN_DIR can name a directory"}};
  outcome<void> made = make_log_directory(run_root);
  if (!made) return made;
  call.insert(call.end(),
              {"--run-dir", run_root, "--ready-fd", std::to_string(daemon_ready_fd)});
  const std::string log_path = mount_log_path(run_root, mount.name);
  outcome<daemon_start> daemon = start_daemon(program, std::move(call), log_path);
  if (!daemon) return failure{daemon.error()};
  const std::string said = read_ready(daemon->ready.get());
  if (said != "ok\n") return start_failure(daemon->pid, said, log_path);
  return {};
}

outcome<void> adopt_mount(const mount_ref& mount, const std::string& run_root) {
  if (mount.user != ::geteuid())
    return failure{problem{exit_code::failed,
                           mount.mount_point + ": it is a mount of user " +
                               std::to_string(mount.user) + ", and so are its processes",
                           "do it as that user: sudo -u '#" + std::to_string(mount.user) +
                               "' tangelo watchdog --adopt " + mount.mount_point}};
  if (const pid_t pid = stopped_watchdog(run_root, mount); pid != 0)
    return failure{problem{exit_code::failed,
                           mount.mount_point + ": its watchdog (pid " + std::to_string(pid) +
                               ") is stopped",
                           "kill -CONT " + std::to_string(pid) + " lets it go on"}};
  const std::string directory = mount_run_dir(run_root, mount.name);
  if (::access(directory.c_str(), F_OK) != 0)
    return failure{problem{exit_code::unreachable,
                           mount.mount_point + ": " + directory + ": " + std::strerror(errno),
                           "was it mounted with another TANGELO_RUN_DIR?"}};
  return start_watchdog(mount, run_root, {"--adopt", "--mount-point", mount.mount_point});
}

}  // namespace tangelo
