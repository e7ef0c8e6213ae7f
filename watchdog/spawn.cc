#include "watchdog/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

extern char** environ;

namespace tangelo {

namespace {

constexpr int spare_fd_min = 64;

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

struct prepared {
  const char* path;
  char* const* arguments;
  const std::vector<int>& fds;  // all of them above the places they go to
  int program;
  int nothing;
  const run_as& user;
};

[[noreturn]] void run_child(const prepared& p) noexcept {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGHUP, SIGPIPE, SIGTERM, SIGINT}) ::signal(number, SIG_DFL);
  ::dup2(p.nothing, STDIN_FILENO);
  place_fds(p.fds, p.program);
  become(p.user);
  ::execve(p.path, p.arguments, environ);
  // The way to the program may be closed to that user while the program itself is not.
  const int program = first_child_fd + static_cast<int>(p.fds.size());
  if (errno == EACCES) ::syscall(SYS_execveat, program, "", p.arguments, environ, AT_EMPTY_PATH);
  give_up(p.path);
}

}  // namespace

result<child_process, int> spawn(const program_call& call) {
  std::vector<unique_fd> owned;
  std::vector<int> fds;
  for (const int fd : call.fds) {
    owned.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, spare_fd_min));
    if (!owned.back()) return failure{errno};
    fds.push_back(owned.back().get());
  }
  const unique_fd opened(::open(call.path.c_str(), O_PATH | O_CLOEXEC));
  const unique_fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!opened || !nothing) return failure{errno};
  const unique_fd program(::fcntl(opened.get(), F_DUPFD_CLOEXEC, spare_fd_min));
  if (!program) return failure{errno};

  std::vector<char*> arguments;
  arguments.push_back(const_cast<char*>(call.path.c_str()));
  for (const std::string& a : call.arguments) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0) return failure{errno};
  if (pid == 0)
    run_child({call.path.c_str(), arguments.data(), fds, program.get(), nothing.get(), call.user});
  // It is our child and not reaped, so the number is still its own.
  unique_fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    const int error_number = errno;
    ::kill(pid, SIGKILL);
    return failure{error_number};
  }
  return child_process{pid, std::move(pidfd)};
}

run_as unprivileged_user() {
  if (::geteuid() != 0) return {};
  for (const char* name : {"tangelo", "nobody"}) {
    const passwd* entry = ::getpwnam(name);
    if (entry != nullptr && entry->pw_uid != 0) return {true, entry->pw_uid, entry->pw_gid};
  }
  return {true, 65534, 65534};
}

void raise_limits() noexcept {
  const rlimit everything{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &everything) != 0)
    log_info("locked memory stays limited: {} (matters for RDMA only)", std::strerror(errno));
#ifdef PR_SET_IO_FLUSHER
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
    log_info("PR_SET_IO_FLUSHER refused: {} (needs CAP_SYS_RESOURCE)", std::strerror(errno));
#endif
}

}  // namespace tangelo
