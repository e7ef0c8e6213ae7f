#include "watchdog/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include "base/log.h"
#include "base/open_files.h"
#include "watchdog/proc_view.h"

extern char** environ;

namespace tangelo {

namespace {

constexpr int spare_fd_min = 64;
constexpr rlim_t open_files_min = 128;

[[noreturn]] void give_up(const char* what) noexcept {
  const char* error = strerrordesc_np(errno);
  char line[256];
  std::size_t n = 0;
  for (const char* part : {"ERROR cannot start ", what, ": ", error == nullptr ? "?" : error, "\n"})
    while (*part != '\0' && n < sizeof line) line[n++] = *part++;
  // Nothing to be done when even that cannot be said.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, n);
  ::_exit(127);
}

void place_fds(const std::vector<int>& fds, int program) noexcept {
  for (std::size_t i = 0; i < fds.size(); ++i) {
    const int target = first_child_fd + static_cast<int>(i);
    if (::dup2(fds[i], target) < 0) ::_exit(127);
  }
  const int next = first_child_fd + static_cast<int>(fds.size());
  if (::dup3(program, next, O_CLOEXEC) < 0) ::_exit(127);
  ::syscall(SYS_close_range, static_cast<unsigned>(next + 1), ~0u, 0u);
}

void become(const run_as& user) noexcept {
  if (!user.set) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user.gid, user.gid, user.gid) != 0 ||
      ::setresuid(user.uid, user.uid, user.uid) != 0 ||
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    give_up("as another user");
}

// Best effort: lowering it below what we were given needs CAP_SYS_RESOURCE.
bool set_oom_score(int score) noexcept {
  char text[16];
  std::size_t n = sizeof text;
  for (int rest = score < 0 ? -score : score; rest != 0 || n == sizeof text; rest /= 10)
    text[--n] = static_cast<char>('0' + rest % 10);
  if (score < 0) text[--n] = '-';
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = ::write(fd, text + n, sizeof text - n) > 0;
  ::close(fd);
  return done;
}

struct prepared {
  const char* path;
  bool by_path;  // else by descriptor
  char* const* arguments;
  const std::vector<int>& fds;  // all of them above the places they go to
  int program;
  int nothing;
  const run_as& user;
  int oom_score;
  int gate;
  int gate_of_parent;
};

[[noreturn]] void run_child(const prepared& p) noexcept {
  ::close(p.gate_of_parent);
  char go = 0;
  ssize_t got = 0;
  do {
    got = ::read(p.gate, &go, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(127);  // our parent has died
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGHUP, SIGPIPE, SIGTERM, SIGINT}) ::signal(number, SIG_DFL);
  ::dup2(p.nothing, STDIN_FILENO);
  place_fds(p.fds, p.program);
  set_oom_score(p.oom_score);
  become(p.user);
  if (p.by_path) ::execve(p.path, p.arguments, environ);
  // Also where the way to the program is closed to that user while the program itself is not.
  const int program = first_child_fd + static_cast<int>(p.fds.size());
  ::syscall(SYS_execveat, program, "", p.arguments, environ, AT_EMPTY_PATH);
  give_up(p.path);
}

// A process started by its path has its name in lists of processes, so that is preferred.
bool is_at_its_path(const program& p) noexcept {
  struct stat kept {};
  struct stat named {};
  return ::fstat(p.file.get(), &kept) == 0 && ::stat(p.path.c_str(), &named) == 0 &&
         kept.st_dev == named.st_dev && kept.st_ino == named.st_ino;
}

std::vector<char*> words_for_exec(const program& what, const std::vector<std::string>& arguments) {
  std::vector<char*> words;
  words.push_back(const_cast<char*>(what.path.c_str()));
  for (const std::string& a : arguments) words.push_back(const_cast<char*>(a.c_str()));
  words.push_back(nullptr);
  return words;
}

}  // namespace

outcome<program> open_program(std::string path) {
  unique_fd file(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!file)
    return failure{problem{exit_code::failed, path + ": " + std::strerror(errno), {}}};
  return program{std::move(path), std::move(file)};
}

outcome<program> open_program_of(pid_t pid) {
  constexpr std::string_view deleted = " (deleted)";
  const std::string link = "/proc/" + std::to_string(pid) + "/exe";
  std::array<char, PATH_MAX> path{};
  const ssize_t n = ::readlink(link.c_str(), path.data(), path.size());
  outcome<program> opened = open_program(link);
  if (!opened || n <= 0) return opened;
  opened->path.assign(path.data(), static_cast<std::size_t>(n));
  if (opened->path.ends_with(deleted)) opened->path.resize(opened->path.size() - deleted.size());
  return opened;
}

result<child_process, int> spawn(const program_call& call) {
  std::vector<unique_fd> owned;
  std::vector<int> fds;
  for (const int fd : call.fds) {
    owned.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, spare_fd_min));
    if (!owned.back()) return failure{errno};
    fds.push_back(owned.back().get());
  }
  const unique_fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return failure{errno};
  const unique_fd file(::fcntl(call.what.file.get(), F_DUPFD_CLOEXEC, spare_fd_min));
  if (!file) return failure{errno};

  const std::vector<char*> arguments = words_for_exec(call.what, call.arguments);
  int gate[2] = {-1, -1};
  if (::pipe2(gate, O_CLOEXEC) != 0) return failure{errno};
  const unique_fd child_gate(gate[0]);
  unique_fd own_gate(gate[1]);

  const bool by_path = is_at_its_path(call.what);
  const pid_t pid = ::fork();
  if (pid < 0) return failure{errno};
  if (pid == 0)
    run_child({call.what.path.c_str(), by_path, arguments.data(), fds, file.get(), nothing.get(),
               call.user, call.oom_score, child_gate.get(), own_gate.get()});
  // It is our child and not reaped, so the number is still its own.
  unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const int error_number = errno;
    ::kill(pid, SIGKILL);
    return failure{error_number};
  }
  return child_process{pid, std::move(pidfd), std::move(own_gate)};
}

int become_program(const program& what, const std::vector<std::string>& arguments) {
  const std::vector<char*> words = words_for_exec(what, arguments);
  if (is_at_its_path(what)) ::execve(what.path.c_str(), words.data(), environ);
  ::syscall(SYS_execveat, what.file.get(), "", words.data(), environ, AT_EMPTY_PATH);
  return errno;
}

bool set_inheritable(int fd, bool inheritable) noexcept {
  return fd >= 0 && ::fcntl(fd, F_SETFD, inheritable ? 0 : FD_CLOEXEC) == 0;
}

void open_gate(child_process& child) noexcept {
  const char go = 1;
  if (child.gate && ::write(child.gate.get(), &go, 1) != 1)
    log_warning("process {} has ended before it began", child.pid);
  child.gate.reset();
}

result<child_process, int> find_process(pid_t pid, std::uint64_t start_ticks) {
  if (pid <= 1) return failure{ESRCH};
  unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return failure{errno};
  // Looked at after the descriptor was opened: from then on the number cannot change hands unseen.
  const std::optional<process_sight> seen = look_at_process(pid);
  if (!seen || seen->start_ticks != start_ticks || seen->state == 'Z' || seen->state == 'X')
    return failure{ESRCH};
  return child_process{pid, std::move(pidfd), {}};
}

run_as unprivileged_user() {
  if (::geteuid() != 0) return {};
  for (const char* name : {"tangelo", "nobody"}) {
    const passwd* entry = ::getpwnam(name);
    if (entry != nullptr && entry->pw_uid != 0) return {true, entry->pw_uid, entry->pw_gid};
  }
  return {true, 65534, 65534};
}

outcome<void> need_open_files() {
  const rlim_t have = raise_open_files();
  if (have >= open_files_min) return {};
  return failure{problem{exit_code::failed,
                         "only " + std::to_string(have) +
                             " files may be open at a time here, and a mount needs " +
                             std::to_string(open_files_min),
                         "raise the hard limit (ulimit -Hn, LimitNOFILE= of a service)"}};
}

void raise_limits() noexcept {
  if (::geteuid() != 0)
    return log_info("unprivileged: all processes run as user {}; locked memory, I/O flusher and "
                    "OOM score stay as they are",
                    ::geteuid());
  const rlimit everything{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &everything) != 0)
    log_info("locked memory stays limited: {} (matters for RDMA only)", std::strerror(errno));
#ifdef PR_SET_IO_FLUSHER
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
    log_info("PR_SET_IO_FLUSHER refused: {} (needs CAP_SYS_RESOURCE)", std::strerror(errno));
#endif
  if (!set_oom_score(oom_score_watchdog))
    log_info("oom_score_adj {} refused: {}", oom_score_watchdog, std::strerror(errno));
}

void lock_memory() noexcept {
  // Below a limit, what is mapped later could fail.
  const int later = ::geteuid() == 0 ? MCL_FUTURE : 0;
  if (::mlockall(MCL_CURRENT | later | MCL_ONFAULT) != 0)
    log_info("memory cannot be locked: {}", std::strerror(errno));
}

}  // namespace tangelo
