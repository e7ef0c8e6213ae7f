// volume_hold: being the one holder of a volume: an flock(2) on its lock file, which says who.
//
// The superblock's lock generation names the lock: "lock", after a takeover from a holder whose
// lock stayed "lock.1", and so on. A holder of an older lock finds its generation gone and stops
// (still_held(), before each flush of the log: held_kv.h).
//
// Taking it blocks for as long as the filesystem does, and up to 5 s for a holder on this machine
// that has been killed and still has its files open: so a restart is not refused.
// still_held() may be called on any thread, one at a time.
//
// Invariants:
//   1. At most one process holds the lock of the superblock's generation.
//   2. Whoever holds it has read that generation after it got the lock.
//   3. A refusal changes nothing in the directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/problem.h"
#include "server/superblock.h"

namespace tangelo {

// What a lock file says of the one who holds it, or held it last.
struct volume_holder {
  std::uint64_t pid = 0;
  std::string host;
  std::uint64_t since_ns = 0;  // calendar time
  bool operator==(const volume_holder&) const = default;
};

// Being the holder, until the lock is closed.
struct volume_hold {
  unique_fd lock;
  superblock block;
  std::string directory;
  unique_fd block_file;  // the superblock as it was read: no name is left of it once it is replaced

  // False when a takeover has given the volume to others.
  bool still_held() const;
};

outcome<volume_hold> hold_volume(const std::string& directory);
// The same for one who waits; nothing while it is another's.
outcome<std::optional<volume_hold>> try_hold_volume(const std::string& directory);
problem held_by_another(const std::string& directory);

// The lock file of a generation; its record, nothing when it has none.
std::string lock_path(const std::string& directory, std::uint64_t generation);
std::optional<volume_holder> read_holder(const std::string& directory, std::uint64_t generation);
std::string text_of_holder(const std::optional<volume_holder>& holder);
std::string this_host();

}  // namespace tangelo
