// private_directory: a directory that only its owner can get into, wherever it stands.
//
// For what a user's processes keep in a place like /tmp, where others may have been before. In a
// sticky directory nobody can move it away once it was found to be the owner's. Any thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/problem.h"

namespace tangelo {

// A directory itself, not a link to one; it belongs to `owner`, and has no rights for others.
bool is_private_directory(const std::string& path, uid_t owner);
// Makes it, mode 0700, unless it is there; one of somebody else's or open to others is refused.
outcome<void> make_private_directory(const std::string& path);

}  // namespace tangelo
