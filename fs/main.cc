// tangelo-fs: the front end of one mount. Started by tangelo-watchdog, never by hand.
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "base/log.h"
#include "fs/process.h"

namespace {

using namespace std::literals;

int fd_of(std::string_view text) noexcept {
  int fd = -1;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), fd);
  return end.ec == std::errc{} && end.ptr == text.data() + text.size() ? fd : -1;
}

tangelo::fs_fds parse(int argc, char** argv, int first) noexcept {
  tangelo::fs_fds fds;
  for (int i = first; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const int fd = fd_of(argv[i + 1]);
    if (name == "--fuse-fd"sv) fds.fuse = fd;
    if (name == "--arena-fd"sv) fds.arena = fd;
    if (name == "--shared-fd"sv) fds.shared = fd;
    if (name == "--watchdog-fd"sv) fds.watchdog = fd;
    if (name == "--listen-fd"sv) fds.listener = fd;
  }
  return fds;
}

int fail(const tangelo::problem& p) noexcept {
  tangelo::log_error("{}; {}", p.text, p.hint);
  return static_cast<int>(p.code);
}

}  // namespace

int main(int argc, char** argv) {
  using tangelo::log_level;
  const bool verbose = std::getenv("TANGELO_DEBUG") != nullptr;
  tangelo::log_start("fs", verbose ? log_level::debug : log_level::info);
  const bool is_test = argc > 1 && argv[1] == "--self-test"sv;
  const tangelo::fs_fds fds = parse(argc, argv, is_test ? 2 : 1);
  if (is_test) {
    const tangelo::outcome<void> fit = tangelo::fs_process::self_test(fds.arena);
    return fit ? 0 : fail(fit.error());
  }
  if (fds.fuse < 0 || fds.arena < 0 || fds.shared < 0 || fds.watchdog < 0) {
    tangelo::log_error("usage: tangelo-fs --fuse-fd N --arena-fd N --shared-fd N --watchdog-fd N "
                       "[--listen-fd N]; it is started by tangelo-watchdog: use `tangelo mount`");
    return static_cast<int>(tangelo::exit_code::usage);
  }
  // The watchdog decides when a mount ends; a terminal or a session must not.
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  auto process = tangelo::fs_process::make(fds);
  if (!process) return fail(process.error());
  return (*process)->run();
}
