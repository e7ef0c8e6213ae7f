// tangelo-core: the client core of one mount. Started by tangelo-watchdog, never by hand.
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/log.h"
#include "client_core/process.h"
#include "rdma/fabric.h"

namespace {

using namespace std::literals;

struct core_words {
  tangelo::core_fds fds;
  std::string source;
  tangelo::fabric_choice fabric = tangelo::fabric_choice::automatic;
  std::uint32_t busy_poll_us = 0;
  bool self_test = false;
};

core_words parse(int argc, char** argv) {
  core_words words;
  words.self_test = argc > 1 && argv[1] == "--self-test"sv;
  for (int i = words.self_test ? 2 : 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = argv[i + 1];
    int* fd = name == "--device-fd"sv   ? &words.fds.device
              : name == "--keeper-fd"sv ? &words.fds.keeper
              : name == "--fuse-fd"sv   ? &words.fds.fuse
              : name == "--arena-fd"sv  ? &words.fds.arena
              : name == "--secret-fd"sv ? &words.fds.secret
                                        : nullptr;
    if (fd != nullptr) std::from_chars(value.data(), value.data() + value.size(), *fd);
    if (name == "--source"sv) words.source = value;
    if (name == "--fabric"sv)
      words.fabric = tangelo::fabric_named(value).value_or(tangelo::fabric_choice::automatic);
    if (name == "--busy-poll-us"sv)
      std::from_chars(value.data(), value.data() + value.size(), words.busy_poll_us);
  }
  return words;
}

int fail(const tangelo::problem& p) noexcept {
  const bool is_ours = p.code != tangelo::exit_code::unreachable;
  tangelo::log_line(is_ours ? tangelo::log_level::error : tangelo::log_level::notice, "{}; {}",
                    p.text, p.hint);
  return static_cast<int>(p.code);
}

}  // namespace

int main(int argc, char** argv) {
  using tangelo::log_level;
  const bool verbose = std::getenv("TANGELO_DEBUG") != nullptr;
  tangelo::log_start("core", verbose ? log_level::debug : log_level::info);
  core_words words = parse(argc, argv);
  if (words.self_test) {
    const tangelo::outcome<void> fit = tangelo::core_process::self_test(words.fds.arena);
    return fit ? 0 : fail(fit.error());
  }
  if (words.fds.device < 0 || words.source.empty()) {
    tangelo::log_error("usage: tangelo-core --device-fd N --source HOSTS:/VOLUME [--keeper-fd N "
                       "--fuse-fd N] [--secret-fd N]; it is started by tangelo-watchdog: use "
                       "`tangelo mount`");
    return static_cast<int>(tangelo::exit_code::usage);
  }
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  auto process = tangelo::core_process::make(words.fds, words.source, words.fabric,
                                             words.busy_poll_us * tangelo::ns_per_us);
  if (!process) return fail(process.error());
  return (*process)->run();
}
