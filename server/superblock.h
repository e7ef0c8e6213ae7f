// superblock: the file VOLUME/superblock, by which a directory is a volume and says its format.
//
// Written once, by init, last of all (so a half-made volume has none); read at every open, before
// anything else is touched. The layout is fixed: magic, format version, feature bits, volume id,
// time, name, and a CRC32C over all of it, in a block of 4096 bytes.
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
inline constexpr std::uint64_t protection = 1;  // incompatible, reserved: protection tuples
inline constexpr std::uint64_t known_incompatible = 0;
}  // namespace superblock_feature

struct superblock {
  std::uint32_t version = format_version;
  std::uint64_t compatible = 0;
  std::uint64_t incompatible = 0;
  id128 volume_id{};
  std::uint64_t created_ns = 0;
  std::string name;
};

std::string superblock_path(const std::string& directory);
outcome<superblock> read_superblock(const std::string& directory);
// Durably, by a rename.
outcome<bool> write_superblock(const std::string& directory, const superblock& s);

}  // namespace tangelo
