#include "cli/mounts.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <iterator>
#include <map>

#include "base/mount_name.h"
#include "base/mount_table.h"
#include "base/places.h"

namespace tangelo {

namespace {

std::string working_directory() {
  char path[PATH_MAX];
  return ::getcwd(path, sizeof path) == nullptr ? "/" : path;
}

// The real path of everything but the last part: a mount there is not looked into.
std::string real_parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  char real[PATH_MAX];
  if (slash == 0 || ::realpath(path.substr(0, slash).c_str(), real) == nullptr) return path;
  return std::string(real) + path.substr(slash);
}

// Of several on one path the last one is on top.
const mount_entry* find_ours(const std::vector<mount_entry>& table, std::string_view path) {
  const auto found = std::find_if(table.rbegin(), table.rend(), [path](const mount_entry& m) {
    return m.mount_point == path && m.type == mount_type;
  });
  return found == table.rend() ? nullptr : &*found;
}

// What the symbolic link `path` says, made absolute; empty when it is none.
std::string link_target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  if (n <= 0) return {};
  return absolute_path({target, static_cast<std::size_t>(n)}, path.substr(0, path.rfind('/')));
}

bool has_run_dir(const mount_ref& mount) {
  return ::access(mount_run_dir(run_root_of(mount), mount.name).c_str(), F_OK) == 0;
}

failure<problem> not_own(const mount_ref& mount, std::string_view command) {
  const std::string whose = mount.user == 0 ? ": this needs root"
                                            : ": this needs root, or user " +
                                                  std::to_string(mount.user) + ", whose it is";
  return failure{problem{exit_code::failed, mount.mount_point + whose,
                         "try: sudo tangelo " + std::string(command) + " " + mount.mount_point}};
}

mount_ref ref_of(const mount_entry& e) {
  return {mount_name_of(e.mount_point), e.mount_point, e.source, e.user};
}

// Of a bind mount the mount that it is a part of.
mount_ref original_of(const mount_ref& mount) {
  if (has_run_dir(mount)) return mount;
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* entry = find_mount(table, mount.mount_point);
  if (entry == nullptr) return mount;
  std::vector<mount_entry> same;
  std::copy_if(table.begin(), table.end(), std::back_inserter(same),
               [entry](const mount_entry& e) { return e.device == entry->device; });
  const std::vector<mount_ref> found = mounts_in(same, has_run_dir);
  return found.empty() ? mount : found.front();
}

}  // namespace

bool is_own(const mount_ref& mount) {
  return ::geteuid() == 0 || mount.user == ::geteuid();
}

std::string run_root_of(const mount_ref& mount) { return run_dir_of(mount.user, mount.name); }

std::vector<mount_ref> list_mounts() {
  return mounts_in(read_mount_table(), has_run_dir);
}

std::vector<mount_ref> mounts_in(const std::vector<mount_entry>& table,
                                 const std::function<bool(const mount_ref&)>& is_run) {
  std::vector<mount_ref> mounts;
  std::map<std::string, std::size_t> by_device;
  for (const mount_entry& e : table) {
    if (e.type != mount_type) continue;
    const mount_ref one = ref_of(e);
    const auto [known, is_new] = by_device.emplace(e.device, mounts.size());
    if (is_new)
      mounts.push_back(one);
    else if (!is_run(mounts[known->second]) && is_run(one))
      mounts[known->second] = one;
  }
  return mounts;
}

outcome<mount_ref> find_mount_of(std::string_view what) {
  outcome<mount_ref> at = find_mount_at(what);
  if (at) return at;
  for (const mount_ref& m : list_mounts())
    if (m.name == what) return m;
  return at;
}

outcome<mount_ref> find_own_mount(std::string_view what, std::string_view command) {
  outcome<mount_ref> mount = find_mount_of(what);
  if (mount && !is_own(*mount)) return not_own(*mount, command);
  return mount;
}

outcome<std::vector<mount_ref>> mounts_to_look_into(const std::string& what,
                                                    std::string_view command) {
  if (!what.empty()) {
    outcome<mount_ref> one = find_own_mount(what, command);
    if (!one) return failure{one.error()};
    return std::vector<mount_ref>{original_of(*one)};
  }
  std::vector<mount_ref> chosen = list_mounts();
  std::erase_if(chosen, [](const mount_ref& m) { return !is_own(m); });
  return chosen;
}

std::string no_mounts_text() {
  return list_mounts().empty() ? "no Tangelo mounts\n"
                               : "no mounts of yours; root sees those of others\n";
}

outcome<mount_ref> find_mount_at(std::string_view what) {
  const std::vector<mount_entry> table = read_mount_table();
  constexpr int link_count_max = 40;
  std::string path = absolute_path(what, working_directory());
  // A path is only read as a link once it is known to be no mount of ours.
  for (int i = 0; i <= link_count_max && !path.empty(); ++i) {
    const std::string real = real_parent_path(path);
    for (const std::string& candidate : {path, real})
      if (const mount_entry* there = find_ours(table, candidate)) return ref_of(*there);
    path = link_target(real);
  }
  return failure{problem{exit_code::unreachable,
                         std::string(what) + ": no Tangelo mount is there",
                         "`tangelo status` lists all of them"}};
}

}  // namespace tangelo
