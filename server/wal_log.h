// wal_log: reads the write-ahead log of a metadata store by itself, before the store is opened, to
// tell a torn end from damage.
//
// A power cut may leave any part of what was being written when it came: the log then ends with a
// record that cannot be read, and behind it may stand others of the same flush. None of that was
// acknowledged; it is cut off, so that what is left is a prefix. A record that cannot be read
// although a later one says that it had been flushed is damage: acknowledged changes are lost,
// and whoever opens the store must know. So each batch says up to which sequence number all was
// flushed when it was written (rocks_kv.cc puts a mark in front of it).
//
// Blocks; for a process that starts. The format is RocksDB's: blocks of 32 KiB of records {masked
// CRC32C, length, type, bytes}, long ones in fragments; a record is one batch {sequence number,
// count, changes}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"

namespace tangelo {

enum class log_state : std::uint8_t {
  whole,    // up to its end, or up to a torn record with nothing behind it
  torn,     // something is behind the first record that cannot be read; none was acknowledged
  damaged,  // acknowledged changes cannot be read
};

struct log_verdict {
  log_state state = log_state::whole;
  std::string file;          // of the break
  std::uint64_t offset = 0;  // of the first record that cannot be read
  std::uint64_t next_sequence = 0;           // expected there; 0: not known
  std::uint64_t records_behind = 0;          // that can be read still
  std::vector<std::uint64_t> inodes_behind;  // that they change, up to 100
  std::vector<std::string> later_files;
};

// Of all logs in `directory`.
outcome<log_verdict> inspect_logs(const std::string& directory);
// Gives up everything from the break on, durably.
outcome<bool> cut_logs(const std::string& directory, const log_verdict& verdict);
// What is lost by that, for people.
std::string text_of_loss(const log_verdict& verdict);

// The mark in front of a batch: all up to `flushed` is durable.
std::string flushed_mark(std::uint64_t flushed);

}  // namespace tangelo
