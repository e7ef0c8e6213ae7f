#include "cli/mounts.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "base/mount_name.h"
#include "base/mount_table.h"

namespace tangelo {

namespace {

std::string working_directory() {
  char path[PATH_MAX];
  return ::getcwd(path, sizeof path) == nullptr ? "/" : path;
}

// The real path of everything but the last part: the mount itself is not looked into.
std::string real_parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  char real[PATH_MAX];
  if (slash == 0 || ::realpath(path.substr(0, slash).c_str(), real) == nullptr) return path;
  return std::string(real) + path.substr(slash);
}

}  // namespace

std::vector<mount_ref> list_mounts() {
  std::vector<mount_ref> mounts;
  for (const mount_entry& e : read_mount_table())
    if (e.type == mount_type)
      mounts.push_back({mount_name_of(e.mount_point), e.mount_point, e.source});
  return mounts;
}

outcome<mount_ref> find_mount_of(std::string_view what) {
  outcome<mount_ref> at = find_mount_at(what);
  if (at) return at;
  for (const mount_ref& m : list_mounts())
    if (m.name == what) return m;
  return at;
}

outcome<std::vector<mount_ref>> mounts_to_look_into(const std::string& what,
                                                    std::string_view command) {
  std::vector<mount_ref> chosen;
  if (what.empty()) {
    chosen = list_mounts();
  } else {
    outcome<mount_ref> one = find_mount_of(what);
    if (!one) return failure{one.error()};
    chosen.push_back(*std::move(one));
  }
  if (::geteuid() != 0 && !chosen.empty())
    return failure{problem{exit_code::failed, "looking into a mount needs root",
                           "try: sudo tangelo " + std::string(command)}};
  return chosen;
}

outcome<mount_ref> find_mount_at(std::string_view what) {
  const std::vector<mount_ref> mounts = list_mounts();
  const std::string path = absolute_path(what, working_directory());
  // Of several on one path the last one is on top.
  for (const std::string& candidate : {path, real_parent_path(path)})
    for (auto m = mounts.rbegin(); m != mounts.rend(); ++m)
      if (m->mount_point == candidate) return *m;
  return failure{problem{exit_code::unreachable,
                         std::string(what) + ": no Tangelo mount is there",
                         "`tangelo status` lists all of them"}};
}

}  // namespace tangelo
