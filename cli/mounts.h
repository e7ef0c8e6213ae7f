// mounts: finding the mounts of this machine.
//
// Command line only. The mount table says what is mounted. No call here touches the mounted
// filesystem itself, so all of them answer while it is dead.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mount_table.h"
#include "base/problem.h"

namespace tangelo {

struct mount_ref {
  std::string name;
  std::string mount_point;
  std::string source;
};

// Each once, however many bind mounts there are of it.
std::vector<mount_ref> list_mounts();
// The same of that table; `is_run`: there is a run directory of that NAME.
std::vector<mount_ref> mounts_in(const std::vector<mount_entry>& table,
                                 const std::function<bool(const std::string&)>& is_run);
// By mount point, as the user types it. Fails with exit_code::unreachable.
outcome<mount_ref> find_mount_at(std::string_view path);
// `what` is a mount point or, where there is none of that path, a NAME.
outcome<mount_ref> find_mount_of(std::string_view what);
// That one (of a bind mount, what it is a part of), or every mount when nothing is named; refused
// to whoever is not root, since to him every mount would seem UNSUPERVISED. `command`: what to try
// with sudo.
outcome<std::vector<mount_ref>> mounts_to_look_into(const std::string& what,
                                                    std::string_view command);

}  // namespace tangelo
