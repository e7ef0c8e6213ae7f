// fusermount: how who is not root mounts and unmounts: by fusermount3, a program of fuse3 that is
// setuid root, lets users mount on directories of their own, and passes /dev/fuse back.
//
// For root these calls are those of the system. They wait for the program: the watchdog mounts
// before its loop runs and unmounts on threads of their own. fusermount3 is looked for in PATH.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

// Mounts on `mount_point` with `options` (of fusermount3: "fsname=...,nosuid,..."). The failure
// says what fusermount3 said, and what can be done.
outcome<unique_fd> mount_by_fusermount(const std::string& mount_point,
                                       const std::string& options);
// A text as an option's value, which may have commas.
std::string fusermount_value(const std::string& text);

// umount2(2), for root or by fusermount3; never follows a symbolic link. `flags`: 0, MNT_DETACH or
// MNT_FORCE; `device`: "major:minor" of the mount. 0 or an errno: EBUSY in use, EINVAL not there.
int unmount_fuse(const std::string& mount_point, const std::string& device, int flags);

}  // namespace tangelo
