#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "base/mount_name.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/mounts.h"
#include "cli/process.h"
#include "cli/snapshot.h"

namespace tangelo {

namespace {

constexpr int ready_wait_ms = 30'000;
constexpr unsigned answer_wait_ms = 10'000;
constexpr unsigned step_ms = 25;

failure<problem> system_failure(const std::string& what, std::string hint = {}) {
  return failure{problem{exit_code::failed, what + ": " + std::strerror(errno), std::move(hint)}};
}

// Nothing to do (0 and true), something wrong, or a mount to be made (false).
outcome<bool> is_mounted_already(const mount_arguments& words, const std::string& run_root) {
  outcome<mount_ref> there = find_mount_at(words.directory);
  if (!there) return false;
  if (there->source != words.source)
    return failure{problem{exit_code::failed,
                           there->mount_point + ": " + there->source + " is mounted here already",
                           "end it first: tangelo umount " + there->mount_point}};
  outcome<control_reply> alive = ask_watchdog(run_root, there->name, control_verb::arenas, 2000);
  if (!alive)
    return failure{problem{exit_code::failed,
                           there->mount_point + ": mounted already, but UNSUPERVISED",
                           "end it first: tangelo umount -l " + there->mount_point}};
  std::printf("%s is already mounted on %s\n", there->source.c_str(), there->mount_point.c_str());
  return true;
}

outcome<std::string> real_directory(const std::string& path) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real) == nullptr)
    return failure{problem{exit_code::usage, path + ": " + std::strerror(errno),
                           errno == ENOENT ? "make the directory first: mkdir -p " + path : ""}};
  return std::string(real);
}

outcome<void> make_log_directory(const std::string& run_root) {
  for (const std::string& path : {run_root, run_root + "/log"})
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
      return system_failure(path, "is its parent there, and are you root?");
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
  p.text = text.empty() ? "tangelo-watchdog ended without saying why" : text.substr(0, end);
  if (end != std::string::npos) p.hint = text.substr(end + 1, text.find('\n', end + 1) - end - 1);
  if (p.hint.empty()) p.hint = "its log is " + log_path;
  return failure{p};
}

outcome<void> start_watchdog(const mount_arguments& words, const mount_ref& mount,
                             const std::string& run_root) {
  const std::string program = find_program("tangelo-watchdog", "watchdog");
  if (program.empty())
    return failure{problem{exit_code::failed, "tangelo-watchdog: program not found",
                           "it belongs beside tangelo; TANGELO_BIN_DIR can name a directory"}};
  outcome<void> made = make_log_directory(run_root);
  if (!made) return made;
  std::vector<std::string> call{"--source",   words.source, "--mount-point", mount.mount_point,
                                "--run-dir",  run_root,     "--ready-fd",
                                std::to_string(daemon_ready_fd)};
  if (words.verbose) call.push_back("--verbose");
  for (const std::string& option : words.options) call.insert(call.end(), {"--option", option});
  const std::string log_path = mount_log_path(run_root, mount.name);
  outcome<daemon_start> daemon = start_daemon(program, std::move(call), log_path);
  if (!daemon) return failure{daemon.error()};
  const std::string said = read_ready(daemon->ready.get());
  if (said != "ok\n") return start_failure(daemon->pid, said, log_path);
  return {};
}

// Answers of a server that asking again does not change.
bool is_final(const core_view& core) {
  if (core.import_state == "FULL") return false;
  for (const char* words : {"no volume", "denied", "version", "not allowed"})
    if (core.last_text.find(words) != std::string::npos) return true;
  return false;
}

outcome<void> undo(const mount_ref& mount, const std::string& run_root, const core_view& core) {
  // Nothing uses it yet; what fails here the user sees in `tangelo status`.
  (void)ask_watchdog(run_root, mount.name, control_verb::detach, 3000);
  return failure{problem{exit_code::unreachable,
                         mount.source + ": the server at " + core.address + " says: " +
                             core.last_text,
                         "the volumes of a server are those it was started with: check the name "
                         "in SOURCE, and `tangelo-server` on that host"}};
}

// The mount is there; does the server answer?
outcome<void> check_answer(const mount_ref& mount, const std::string& run_root) {
  outcome<arena_view> arena = arena_view::open(run_root, mount);
  if (!arena) return failure{arena.error()};
  statfs_probe probe(mount.mount_point);
  for (unsigned waited = 0; waited < answer_wait_ms; waited += step_ms) {
    if (const std::optional<int> error = probe.poll()) {
      if (*error != 0)
        std::fprintf(stderr, "tangelo: warning: mounted, but statfs says: %s\n",
                     std::strerror(*error));
      return {};
    }
    const core_view core = arena->core();
    if (is_final(core)) return undo(mount, run_root, core);
    ::usleep(step_ms * 1000);
  }
  const core_view core = arena->core();
  std::fprintf(stderr,
               "tangelo: warning: mounted, but the server at %s does not answer yet: %s; "
               "operations wait\n",
               core.address.c_str(),
               core.last_text.empty() ? std::string(core.last_down_reason).c_str()
                                      : core.last_text.c_str());
  return {};
}

}  // namespace

outcome<void> run_mount(const mount_arguments& words) {
  const std::string run_root = default_run_dir();
  outcome<bool> there = is_mounted_already(words, run_root);
  if (!there) return failure{there.error()};
  if (*there) return {};
  if (::geteuid() != 0)
    return failure{problem{exit_code::failed, "mounting needs root", "try: sudo tangelo mount"}};
  outcome<std::string> real = real_directory(words.directory);
  if (!real) return failure{real.error()};
  const mount_ref mount{mount_name_of(*real), *real, words.source};
  outcome<void> started = start_watchdog(words, mount, run_root);
  if (!started) return started;
  outcome<void> answered = check_answer(mount, run_root);
  if (answered)
    std::printf("%s mounted on %s\n", words.source.c_str(), mount.mount_point.c_str());
  return answered;
}

}  // namespace tangelo
