// op_paths: which file an op is about, as far as its caller's descriptors and directory say.
//
// Command line only. Only the names of links in /proc and attributes that the kernel has already
// are looked at: nothing here goes to the mounted filesystem, which may be dead.
#pragma once

#include <cstdint>
#include <string>

#include "cli/mounts.h"
#include "protocol/device.h"

namespace tangelo {

// The path of `inode` of the mount, if it is the mount point itself or process `pid` has it open or
// works in it; else empty. As the kernel knows it: " (deleted)" behind it if it is.
std::string path_of(const mount_ref& mount, std::uint32_t pid, std::uint64_t inode);
// The name in a directory (its inode) that an op looks up, makes or takes away; else empty.
std::string name_in_directory(const op_cell& cell);

}  // namespace tangelo
