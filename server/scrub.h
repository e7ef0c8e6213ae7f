// scrub: reads every byte of a volume that is not served, and compares it with its guards
// (block_guards.h): so that a disk that has forgotten something is found out while there is a
// backup.
//
// What the store itself cannot read, a record of a file, its guards or the data of a small one, is
// damage as well. Bytes other than zero in a block without a guard are named: they are from before
// there were guards, a copy's whose guards are still to be made, or were never written.
//
// What a crash may have left unfit is not looked at: inodes with redo records, and regions that are
// marked (dirty_regions.h); the next start of the server sees to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"
#include "protocol/protection.h"
#include "server/kv.h"
#include "server/progress.h"

namespace tangelo {

// A part of an inode that cannot be read at all.
struct unreadable_part {
  std::uint64_t inode = 0;
  std::string_view what;  // "its guards"
  auto operator<=>(const unreadable_part&) const = default;
};

struct scrub_report {
  static constexpr std::size_t kept_max = 1000;  // of faults and files named; all are counted
  std::vector<protection_fault> faults;
  std::vector<unreadable_part> unreadable;
  std::vector<std::uint64_t> unguarded;  // inodes with such blocks
  std::uint64_t bad_blocks = 0;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;             // that were compared
  std::uint64_t unguarded_blocks = 0;  // they have no guard, and are not zeros
  std::uint64_t left_out = 0;          // files or regions that a crash has left
  std::uint64_t unreadable_parts = 0;
  bool clean() const noexcept { return bad_blocks == 0 && unreadable_parts == 0; }
};

struct scrub_options {
  std::string metadata;  // for messages
  std::string objects;   // the directory of the objects
  // Blocks without guards are to get them when the server next runs, of what is there then.
  bool protect = false;
  progress_sink progress;
};

outcome<scrub_report> scrub_store(kv_store& kv, const scrub_options& options);
std::string scrub_text(const std::string& directory, const scrub_report& report, bool protects);
std::string scrub_json(const std::string& directory, const scrub_report& report);

}  // namespace tangelo
