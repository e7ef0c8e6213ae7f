// mounts: finding the mounts of this machine.
//
// Command line only. The mount table says what is mounted. No call here touches the mounted
// filesystem itself, so all of them answer while it is dead.
#pragma once

#include <sys/types.h>

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
  uid_t user = 0;  // who made it, and whom its processes run as
};

// Each once, however many bind mounts there are of it.
std::vector<mount_ref> list_mounts();
// The same of that table; `is_run`: there is a run directory of that one.
std::vector<mount_ref> mounts_in(const std::vector<mount_entry>& table,
                                 const std::function<bool(const mount_ref&)>& is_run);
// The RUN that `mount` is served from, or was.
std::string run_root_of(const mount_ref& mount);
// By mount point, as the user types it. Fails with exit_code::unreachable.
outcome<mount_ref> find_mount_at(std::string_view path);
// `what` is a mount point or, where there is none of that path, a NAME.
outcome<mount_ref> find_mount_of(std::string_view what);
bool is_own(const mount_ref& mount);  // the caller is its user, or root
// As find_mount_of(); refused where it is not the caller's own. `command`: what to try with sudo.
outcome<mount_ref> find_own_mount(std::string_view what, std::string_view command);
// That one (of a bind mount, what it is a part of), or, when nothing is named, all that are the
// caller's own, root's being all: those of others would seem UNSUPERVISED.
outcome<std::vector<mount_ref>> mounts_to_look_into(const std::string& what,
                                                    std::string_view command);
// For a person, where mounts_to_look_into() found none.
std::string no_mounts_text();

}  // namespace tangelo
