// volume_options: what a volume (volume.h) is made with, and what it counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "protocol/wire.h"
#include "server/export_rules.h"

namespace tangelo {

class kv_store;
class object_store;
class workers;

struct volume_options {
  id128 id{};
  std::string where;               // for messages: the volume's directory
  bool audit = false;              // log and count duplicate effects
  bool keep_reply_records = true;  // false: a negative control of the tests
  bool flush = true;               // false: a negative control of the tests
  bool commit_on_share = true;     // false: a negative control of the tests
  export_rules rules;
  std::uint64_t slow_us = 0;       // added to each commit, for tests
  std::uint64_t commit_interval_ms = 50;
  std::size_t redo_size_max = 64 << 20;
  std::uint64_t redo_age_max_ns = 5 * ns_per_s;
};

// What a volume stands on; all must outlive it.
struct volume_parts {
  scheduler& time;
  kv_store& kv;
  object_store& objects;
  workers& pool;
  workers& committer;
};

struct volume_status {
  std::uint64_t executed = 0;  // mutations written
  std::uint64_t commits = 0;   // group commits
  std::uint64_t warmed = 0;    // attempts thrown away because a read needed the disk
  std::uint64_t held_answers = 0;  // waited for another client's change to be committed
  std::uint64_t duplicate_effects = 0;
  std::uint64_t protection_rereads = 0;  // blocks that did not fit their guard, and were read again
  std::uint64_t protection_faults = 0;   // and did not fit in the end
  std::uint64_t mended_regions = 0;      // guards made anew
  std::uint64_t checkpoints = 0;
  std::size_t running = 0;
  std::size_t open_handles = 0;
  std::size_t redo_size = 0;
  std::uint64_t last_transno = 0;
  std::uint64_t last_committed = 0;
};

}  // namespace tangelo
