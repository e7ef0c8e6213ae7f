#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/standard_fds.h"
#include "watchdog/spawn.h"
#include "watchdog/watchdog.h"

namespace tangelo {
namespace {

// SIGTERM and SIGINT as events of the loop.
class stop_signals {
 public:
  stop_signals(loop& time, watchdog& target) noexcept : time_(time), target_(target) {}
  void watch(int fd) noexcept {
    fd_ = fd;
    io_uring_sqe* sqe = time_.entry(&completion_);
    io_uring_prep_read(sqe, fd_, &info_, sizeof info_, 0);
    io_uring_sqe_set_data(sqe, &completion_);
  }

 private:
  void on_read(int res, std::uint32_t) noexcept {
    if (res == static_cast<int>(sizeof info_)) {
      log_notice("signal {} from pid {}: ending", info_.ssi_signo, info_.ssi_pid);
      target_.on_stop_signal();
    }
    watch(fd_);
  }
  loop& time_;
  watchdog& target_;
  int fd_ = -1;
  signalfd_siginfo info_{};
  member_completion<stop_signals, &stop_signals::on_read> completion_{*this};
};

int block_stop_signals() noexcept {
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return ::signalfd(-1, &set, SFD_CLOEXEC);
}

int fail(const problem& p, int ready_fd) noexcept {
  const std::string hint = p.hint.empty() ? "" : "; " + p.hint;
  log_error("{}{}", p.text, hint);
  notify_status(p.text + hint);
  if (ready_fd >= 0) {
    const std::string text = p.text + "\n" + p.hint + "\n";
    // Nobody reads it any more when this fails, and the log has it.
    [[maybe_unused]] const ssize_t n = ::write(ready_fd, text.data(), text.size());
  }
  return static_cast<int>(p.code);
}

// Whoever asks by --check reads it on a terminal.
int say(const problem& p) noexcept {
  std::fprintf(stderr, "tangelo-watchdog: %s\n", p.text.c_str());
  if (!p.hint.empty()) std::fprintf(stderr, "tangelo-watchdog: %s\n", p.hint.c_str());
  return static_cast<int>(p.code);
}

outcome<mount_parts> prepare(watchdog_settings& settings, const clock& time) {
  if (outcome<void> enough = need_open_files(); !enough) return failure{enough.error()};
  if (settings.resume) return resume_mount(settings, time);
  if (settings.adopt) return adopt_mount(settings, time, {});
  return make_or_adopt_mount(settings, time, take_stored_fds());
}

// Gives everything back to the program before this one, whose descriptor is the last in the list
// behind --resume; also when we do not understand the rest of the command line.
void go_back(std::vector<std::string> arguments) {
  const auto word = std::find(arguments.begin(), arguments.end(), "--resume");
  const bool again =
      std::find(arguments.begin(), arguments.end(), "--resume-failed") != arguments.end();
  if (again || word == arguments.end() || word + 1 == arguments.end()) return;
  const std::string list = *(word + 1);
  log_warning("the program before this one goes on");
  arguments.push_back("--resume-failed");
  outcome<program> before = open_program("/proc/self/fd/" + list.substr(list.rfind(',') + 1));
  if (before) become_program(*before, arguments);
}

// What the programs of an upgrade are asked first: could it serve this mount?
int self_test(const char* arena_fd) {
  outcome<std::unique_ptr<loop>> events = loop::make(64);
  if (!events) return fail(events.error(), -1);
  outcome<fs_arena_map> arena =
      fs_arena_map::map(unique_fd(std::atoi(arena_fd)), arena_access::read_only);
  return arena ? 0 : fail(arena.error(), -1);
}

int run(watchdog_settings settings, const std::vector<std::string>& arguments) {
  const int ready_fd = settings.ready_fd;
  const int signals = block_stop_signals();
  if (!settings.foreground) ::setsid();
  ::umask(022);
  if (::chdir("/") != 0) log_debug("cannot go to /");
  raise_limits();
  outcome<std::unique_ptr<loop>> events = loop::make(64);
  if (!events) return fail(events.error(), ready_fd);
  outcome<mount_parts> parts = prepare(settings, **events);
  if (!parts) {
    const int code = fail(parts.error(), ready_fd);
    go_back(arguments);
    return code;
  }
  if (settings.under_systemd) store_mount(*parts);
  watchdog dog(std::move(settings), *std::move(parts), **events);
  stop_signals stop(**events, dog);
  stop.watch(signals);
  lock_memory();
  dog.start();
  (*events)->run();
  log_notice("ended");
  // No destructors: a thread may still be inside umount2(2).
  ::_exit(static_cast<int>(dog.code()));
}

}  // namespace
}  // namespace tangelo

int main(int argc, char** argv) {
  using namespace tangelo;
  open_standard_fds();
  log_start("watchdog", log_level::info);
  if (argc == 3 && std::string_view(argv[1]) == "--statfs") return call_statfs(argv[2]);
  if (argc == 4 && std::string_view(argv[1]) == "--self-test") return self_test(argv[3]);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  int ready_fd = -1;
  outcome<watchdog_settings> settings = parse_settings(arguments, ready_fd);
  if (!settings) {
    if (std::find(arguments.begin(), arguments.end(), "--check") != arguments.end())
      return say(settings.error());
    const int code = fail(settings.error(), ready_fd);
    go_back(arguments);
    return code;
  }
  if (settings->show_help) return std::fputs(watchdog_usage, stdout) < 0 ? 1 : 0;
  if (settings->show_version) return std::puts("tangelo-watchdog " TANGELO_VERSION) < 0 ? 1 : 0;
  if (settings->check)
    return std::printf("%s: nothing is wrong\n", settings->config.c_str()) < 0 ? 1 : 0;
  if (settings->verbose) log_start("watchdog", log_level::debug);
  return run(*std::move(settings), arguments);
}
