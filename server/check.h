// check: verifies a volume's whole store while nobody serves it, and mends what can be mended.
//
// What must hold is in records.h and volume.h; each way in which it does not hold is a finding with
// a name. A round reads everything once and collects findings and repairs; with `repair` these are
// applied as one batch, and another round looks again (what one repair uncovers, the next
// mends), until a round finds nothing to mend. So a second check is clean.
//
// Blocks; for `tangelo-server check` and tests. Memory: some 100 bytes for each inode.
//
// Invariants:
//   1. Without `repair` nothing is changed.
//   2. A repair takes a name away only from nothing, or from what has another one; it removes data
//      only of which no record is left.
//   3. Redo records are left to the next start of a server, and what they will do counts as done.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"
#include "server/kv.h"
#include "server/progress.h"

namespace tangelo {

enum class finding_kind : std::uint8_t {
  meta,           // boot generation, transaction number or next inode number: missing or too low
  inode,          // a record that cannot be read, or says what cannot be
  link_count,     // not the number of names
  parent,         // ".." of a directory is another one
  unreachable,    // nothing leads there from the root
  entry,          // a name that leads nowhere, or cannot be read
  listing,        // name and listing (cookies) contradict each other
  xattr,          // of no inode, or of one that does not know of it
  small_data,     // data in the metadata: of no file, too long, or missing
  redo,           // cannot be read
  orphan,         // an inode without names that nobody will remove, or a record of none
  client,         // a client's record, or its range of inode numbers
  reply,          // a reply record
  data_missing,   // a file has data, its object is not there
  blocks,         // a file occupies less or more than its record says
  stray_object,   // an object of no file
  stranger,       // a file that is not ours between the objects
  log,            // the write-ahead log is damaged before its end
  guard,          // guards that cannot be read, of no file, or of blocks behind its end
  quota,          // what somebody has in use is counted wrongly, or a record of it makes no sense
};
std::string_view name_of(finding_kind k) noexcept;

enum class finding_level : std::uint8_t {
  damage,    // something is wrong
  leftover,  // a crash, or the filesystem below, may leave it: harmless
};

struct finding {
  finding_kind kind{};
  finding_level level = finding_level::damage;
  std::string where;
  std::string what;
  std::string repair;  // what mends it; empty: nothing does
  bool mended = false;
};

struct check_report {
  static constexpr std::size_t kept_max = 10'000;  // of findings; all are counted
  std::vector<finding> findings;
  std::uint64_t damages = 0;
  std::uint64_t leftovers = 0;
  std::uint64_t not_mended = 0;  // of the damages
  std::uint64_t inodes = 0;
  std::uint64_t directories = 0;
  std::uint64_t entries = 0;
  std::uint64_t objects = 0;
  std::uint64_t object_bytes = 0;
  void add(finding f);
};

struct check_options {
  std::string metadata;  // for messages: the metadata's directory
  std::string objects;   // the directory of the objects
  bool repair = false;
  // Changes were lost that have reached the objects: no guard is to be believed any more.
  bool guards_lost = false;
  std::int64_t now_ns = 0;  // the time of what is made anew
  // What is looked at and how much of it has been; often.
  progress_sink progress;
};

outcome<check_report> check_store(kv_store& kv, const check_options& options);
std::string check_text(const std::string& directory, const check_report& report, bool repaired);
std::string check_json(const std::string& directory, const check_report& report, bool repaired);

}  // namespace tangelo
