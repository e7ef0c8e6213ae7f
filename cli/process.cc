#include "cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tangelo {

namespace {

constexpr off_t log_size_max = 1 << 20;
constexpr std::size_t program_output_max = 64 << 10;

failure<problem> system_failure(const std::string& what) {
  return failure{problem{exit_code::failed, what + ": " + std::strerror(errno), {}}};
}

unique_fd open_log(const std::string& path) {
  unique_fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  struct stat st {};
  if (fd && ::fstat(fd.get(), &st) == 0 && st.st_size > log_size_max &&
      ::ftruncate(fd.get(), 0) != 0)
    return {};
  return fd;
}

[[noreturn]] void become_daemon(const char* path, char* const* arguments, int log, int ready) {
  ::setsid();
  const int nothing = ::open("/dev/null", O_RDWR);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  if (ready == daemon_ready_fd)
    ::fcntl(ready, F_SETFD, 0);
  else
    ::dup2(ready, daemon_ready_fd);
  ::close_range(daemon_ready_fd + 1, ~0u, 0);
  ::execv(path, arguments);
  ::_exit(127);
}

}  // namespace

outcome<daemon_start> start_daemon(const std::string& path, std::vector<std::string> arguments,
                                   const std::string& log_path) {
  const unique_fd log = open_log(log_path);
  if (!log) return system_failure(log_path);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_failure("pipe");
  unique_fd read_end(ends[0]);
  const unique_fd write_end(ends[1]);
  std::vector<char*> pointers;
  arguments.insert(arguments.begin(), path);
  for (std::string& a : arguments) pointers.push_back(a.data());
  pointers.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure("fork");
  if (pid == 0) become_daemon(path.c_str(), pointers.data(), log.get(), write_end.get());
  return daemon_start{pid, std::move(read_end)};
}

std::optional<int> exit_status_of(pid_t pid, int wait_ms) {
  constexpr int step_ms = 20;
  for (int waited = 0;; waited += step_ms) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, WNOHANG);
    if (got == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (got < 0 || waited >= wait_ms) return std::nullopt;
    ::usleep(step_ms * 1000);
  }
}

outcome<program_end> run_program(std::vector<std::string> words, int wait_ms) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_failure("pipe");
  const unique_fd read_end(ends[0]);
  unique_fd write_end(ends[1]);
  std::vector<char*> pointers;
  for (std::string& w : words) pointers.push_back(w.data());
  pointers.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return system_failure("fork");
  if (pid == 0) {
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(write_end.get(), STDERR_FILENO);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  write_end.reset();
  program_end end;
  char part[1024];
  pollfd p{read_end.get(), POLLIN, 0};
  while (::poll(&p, 1, wait_ms) == 1) {
    const ssize_t n = ::read(read_end.get(), part, sizeof part);
    if (n <= 0) break;
    if (end.output.size() < program_output_max)
      end.output.append(part, static_cast<std::size_t>(n));
  }
  const std::optional<int> status = exit_status_of(pid, 100);
  if (status) {
    end.status = *status;
    return end;
  }
  ::kill(pid, SIGKILL);
  (void)exit_status_of(pid, 1000);
  return failure{problem{exit_code::failed, words[0] + ": no end within its time", {}}};
}

statfs_probe::statfs_probe(const std::string& path) : pid_(::fork()) {
  if (pid_ != 0) return;
  ::signal(SIGINT, SIG_DFL);
  struct statfs st {};
  ::_exit(::statfs(path.c_str(), &st) == 0 ? 0 : errno & 0xff);
}

statfs_probe::~statfs_probe() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  // A killed caller of a FUSE mount ends; give it a moment, and leave it to init otherwise.
  (void)exit_status_of(pid_, 500);
}

std::optional<int> statfs_probe::poll() {
  if (pid_ < 0) return EAGAIN;
  if (pid_ == 0) return 0;
  const std::optional<int> status = exit_status_of(pid_, 0);
  if (status) pid_ = 0;
  return status;
}

}  // namespace tangelo
