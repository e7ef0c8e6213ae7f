// tangelo-core: the client core of one mount. Started by tangelo-watchdog, never by hand.
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/log.h"
#include "client_core/process.h"

int main(int argc, char** argv) {
  using namespace std::literals;
  using tangelo::log_level;
  const bool verbose = std::getenv("TANGELO_DEBUG") != nullptr;
  tangelo::log_start("core", verbose ? log_level::debug : log_level::info);
  int device_fd = -1;
  std::string source;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = argv[i + 1];
    if (name == "--device-fd"sv)
      std::from_chars(value.data(), value.data() + value.size(), device_fd);
    if (name == "--source"sv) source = value;
  }
  if (device_fd < 0 || source.empty()) {
    tangelo::log_error("usage: tangelo-core --device-fd N --source HOSTS:/VOLUME; it is started "
                       "by tangelo-watchdog: use `tangelo mount`");
    return static_cast<int>(tangelo::exit_code::usage);
  }
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  auto process = tangelo::core_process::make(device_fd, source);
  if (!process) {
    tangelo::log_error("{}; {}", process.error().text, process.error().hint);
    return static_cast<int>(process.error().code);
  }
  return (*process)->run();
}
