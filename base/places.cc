#include "base/places.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

namespace tangelo {

namespace {

std::string from_environment(const char* variable, const char* otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string own_directory() {
  std::array<char, PATH_MAX> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) return {};
  const std::string_view whole(path.data(), static_cast<std::size_t>(n));
  return std::string(whole.substr(0, whole.rfind('/')));
}

}  // namespace

std::string default_run_dir() { return from_environment("TANGELO_RUN_DIR", "/run/tangelo"); }
std::string default_state_dir() {
  return from_environment("TANGELO_STATE_DIR", "/var/lib/tangelo");
}

std::string mount_run_dir(std::string_view run_dir, std::string_view name) {
  return std::string(run_dir).append("/mounts/").append(name);
}

std::string mount_log_path(std::string_view run_dir, std::string_view name) {
  return std::string(run_dir).append("/log/").append(name).append(".log");
}

std::string find_program(std::string_view name, std::string_view folder) {
  const std::string given = from_environment("TANGELO_BIN_DIR", "");
  const std::string own = own_directory();
  const std::array<std::string, 3> directories{given, own,
                                               std::string(own).append("/../").append(folder)};
  for (const std::string& directory : directories) {
    if (directory.empty()) continue;
    std::string path = std::string(directory).append("/").append(name);
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return {};
}

}  // namespace tangelo
