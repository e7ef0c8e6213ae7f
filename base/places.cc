#include "base/places.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

#include "base/private_directory.h"

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

// $XDG_RUNTIME_DIR, if it is ours: su(1) leaves another user's there.
std::string own_runtime_dir() {
  const std::string path = from_environment("XDG_RUNTIME_DIR", "");
  struct stat st {};
  const bool is_ours = path.starts_with('/') && ::stat(path.c_str(), &st) == 0 &&
                       S_ISDIR(st.st_mode) && st.st_uid == ::geteuid();
  return is_ours ? path : std::string();
}

std::string home_directory() {
  const passwd* entry = ::getpwuid(::geteuid());
  return from_environment("HOME", entry == nullptr ? "/" : entry->pw_dir);
}

std::string in_tmp(uid_t user) { return "/tmp/tangelo-" + std::to_string(user); }

}  // namespace

std::string default_run_dir() {
  const std::string own = own_runtime_dir();
  const std::string otherwise = ::geteuid() == 0 ? "/run/tangelo"
                                : own.empty()    ? in_tmp(::geteuid())
                                                 : own + "/tangelo";
  return from_environment("TANGELO_RUN_DIR", otherwise.c_str());
}

std::string default_state_dir() {
  const std::string otherwise =
      ::geteuid() == 0
          ? "/var/lib/tangelo"
          : from_environment("XDG_STATE_HOME", (home_directory() + "/.local/state").c_str()) +
                "/tangelo";
  return from_environment("TANGELO_STATE_DIR", otherwise.c_str());
}

std::vector<std::string> run_dirs_of(uid_t user) {
  const std::string given = from_environment("TANGELO_RUN_DIR", "");
  if (!given.empty()) return {given};
  if (user == 0) return {"/run/tangelo"};
  std::vector<std::string> found;
  if (user == ::geteuid()) found.push_back(default_run_dir());
  for (const std::string& path :
       {"/run/user/" + std::to_string(user) + "/tangelo", in_tmp(user)})
    if (path != default_run_dir()) found.push_back(path);
  std::erase_if(found, [user](const std::string& p) { return !is_private_directory(p, user); });
  return found;
}

std::string run_dir_of(uid_t user, std::string_view name) {
  const std::vector<std::string> places = run_dirs_of(user);
  for (const std::string& place : places)
    if (::access(mount_run_dir(place, name).c_str(), F_OK) == 0) return place;
  return places.empty() ? default_run_dir() : places.front();
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
