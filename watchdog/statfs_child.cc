#include "watchdog/statfs_child.h"

#include <signal.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace tangelo {

void statfs_child::ask(const std::string& path) noexcept {
  if (runs()) return;
  const outcome<program> own = open_program_of(::getpid());
  if (!own) return;
  result<child_process, int> child = spawn({*own, {"--statfs", path}, {}, {}, 0});
  if (!child) return;
  process_ = *std::move(child);
  open_gate(process_);
}

std::optional<int> statfs_child::poll() noexcept {
  int status = 0;
  if (!runs() || ::waitpid(process_.pid, &status, WNOHANG) != process_.pid) return std::nullopt;
  process_ = {};
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

void statfs_child::end() noexcept {
  if (runs()) ::kill(process_.pid, SIGKILL);  // it is not reaped, so the number is still its own
}

int call_statfs(const char* path) noexcept {
  constexpr unsigned patience_s = 30;
  ::alarm(patience_s);
  struct statfs about {};
  return ::statfs(path, &about) == 0 ? 0 : errno & 0xff;
}

}  // namespace tangelo
