// scrub: reads every byte of a volume that is not served, and compares it with its guards
// (block_guards.h): so that a disk that has forgotten something is found out while there is a
// backup.
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

struct scrub_report {
  static constexpr std::size_t kept_max = 1000;  // of faults; all are counted
  std::vector<protection_fault> faults;
  std::uint64_t bad_blocks = 0;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;             // that were compared
  std::uint64_t unguarded_blocks = 0;  // they have no guard
  std::uint64_t left_out = 0;          // files or regions that a crash has left
  std::uint64_t unreadable = 0;        // files with an error of the disk
  bool clean() const noexcept { return bad_blocks == 0 && unreadable == 0; }
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
