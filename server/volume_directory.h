// volume_directory: a volume's place on disk, and making it.
//
//   superblock   what it is (superblock.h)
//   lock         flock(2) by its holder, which it names (volume_hold.h); lock.N after a takeover
//   metadata/    the key-value store
//   objects/     the data files
//
// Blocks; for a process that starts. A refusal changes nothing in the directory.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>

#include "base/problem.h"
#include "server/superblock.h"
#include "server/volume_hold.h"

namespace tangelo {

// Who owns the root directory inside a new volume.
struct root_owner {
  uid_t uid = ::geteuid();
  gid_t gid = ::getegid();
};
// Makes an empty volume in `directory`, which must be empty or missing.
outcome<superblock> make_volume(const std::string& directory, const std::string& name,
                                std::uint64_t now_ns, const root_owner& owner = {});

std::string metadata_path(const std::string& directory);
std::string objects_path(const std::string& directory);

}  // namespace tangelo
