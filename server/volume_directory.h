// volume_directory: a volume's place on disk: making it, and being its one holder.
//
//   superblock   what it is (superblock.h)
//   lock         flock(2) by its holder, whose process number it contains
//   metadata/    the key-value store
//   objects/     the data files
//
// Blocks; for a process that starts. A refusal changes nothing in the directory.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/problem.h"
#include "server/superblock.h"

namespace tangelo {

// Makes an empty volume in `directory`, which must be empty or missing.
outcome<superblock> make_volume(const std::string& directory, const std::string& name,
                                std::uint64_t now_ns);

// Being the holder, until the descriptor is closed.
struct volume_hold {
  unique_fd lock;
  superblock block;
};
outcome<volume_hold> hold_volume(const std::string& directory);

std::string metadata_path(const std::string& directory);
std::string objects_path(const std::string& directory);

}  // namespace tangelo
