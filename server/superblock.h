// superblock: the file VOLUME/superblock, by which a directory is a volume and says its format.
//
// Written by init, last of all (so a half-made volume has none); read at every open, before
// anything else is touched; replaced only by a takeover that raises the lock generation. The layout
// is fixed: magic, format version, feature bits, volume id, time, name, lock generation, and a
// CRC32C over all of it, in a block of 4096 bytes; what is added comes at the end.
//
// Features: an unknown `compatible` bit is ignored, an unknown `incompatible` bit refuses.
#pragma once

#include <cstdint>
#include <string>

#include "base/problem.h"
#include "protocol/wire.h"

namespace tangelo {

inline constexpr std::uint32_t format_version = 1;

namespace superblock_feature {
inline constexpr std::uint64_t protection = 1;  // incompatible: blocks have guards (block_guards.h)
inline constexpr std::uint64_t lock_generation = 2;  // incompatible: the lock is not the first one
inline constexpr std::uint64_t known_incompatible = protection | lock_generation;
}  // namespace superblock_feature

struct superblock {
  std::uint32_t version = format_version;
  std::uint64_t compatible = 0;
  std::uint64_t incompatible = 0;
  id128 volume_id{};
  std::uint64_t created_ns = 0;
  std::string name;
  std::uint64_t lock_generation = 0;  // which lock its holder holds (volume_hold.h)
};

std::string superblock_path(const std::string& directory);
outcome<superblock> read_superblock(const std::string& directory);
// Durably, by a rename.
outcome<bool> write_superblock(const std::string& directory, const superblock& s);

}  // namespace tangelo
