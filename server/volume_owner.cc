#include "server/volume_owner.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace tangelo {

namespace {

failure<problem> trouble(const std::string& place, const char* why, std::string hint) {
  return failure{problem{exit_code::failed, place + ": " + why, std::move(hint)}};
}

// The owner of `path`, or of the directory nearest to it that is there.
struct stat nearest(std::filesystem::path path) {
  struct stat st {};
  while (::stat(path.c_str(), &st) != 0 && path.has_relative_path()) path = path.parent_path();
  return st;
}

outcome<void> become_ids(uid_t uid, gid_t gid) {
  if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0)
    return trouble(fmt::format("becoming uid {}", uid), std::strerror(errno), {});
  return {};
}

}  // namespace

outcome<void> become_user(const std::string& user) {
  const passwd* p = ::getpwnam(user.c_str());
  if (p == nullptr)
    return failure{problem{exit_code::usage, "--user " + user + ": no such user", {}}};
  if (::initgroups(user.c_str(), p->pw_gid) != 0 || ::setgid(p->pw_gid) != 0 ||
      ::setuid(p->pw_uid) != 0)
    return trouble("--user " + user, std::strerror(errno), "start it as root, or without --user");
  (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);  // best effort
  return {};
}

outcome<void> become_volume_owner(const std::string& directory, const std::string& user) {
  if (::geteuid() != 0) return user.empty() ? outcome<void>{} : become_user(user);
  std::error_code e;
  const std::filesystem::path path = std::filesystem::absolute(directory, e).lexically_normal();
  const bool is_new = !std::filesystem::exists(path, e);
  struct stat owner = nearest(path);
  if (!user.empty()) {
    const passwd* p = ::getpwnam(user.c_str());
    if (p == nullptr)
      return failure{problem{exit_code::usage, "--user " + user + ": no such user", {}}};
    owner.st_uid = p->pw_uid;
    owner.st_gid = p->pw_gid;
  }
  if (owner.st_uid == 0) return {};
  std::filesystem::create_directories(path, e);
  if (e) return trouble(directory, e.message().c_str(), "choose another directory");
  if ((is_new || (!user.empty() && std::filesystem::is_empty(path, e))) &&
      ::chown(path.c_str(), owner.st_uid, owner.st_gid) != 0)
    return trouble(directory, std::strerror(errno), {});
  return become_ids(owner.st_uid, owner.st_gid);
}

}  // namespace tangelo
