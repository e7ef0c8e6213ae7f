// wal_files: RocksDB's write-ahead log in files whose blocks are there before they are needed.
//
// An fdatasync behind an append makes the filesystem commit its own journal for the new size, with
// everybody else's changes in it; one behind an overwrite does not. Measured in turns on one ext4:
// 123 us for the append, 83 us for a direct write with O_DSYNC over old blocks (medians). So a
// log file is kept filled with zeros some megabytes ahead of its end by a thread of its own, and
// syncing the log is one direct, synchronous write of whole blocks. RocksDB's reader takes zeros
// for the end of a log.
//
// make_wal_env() wraps the default environment; everything but files called *.log passes through.
// Appends come on the thread that writes to the database and only copy; Sync comes on the commit
// thread and may wait. On a filesystem without O_DIRECT (tmpfs) the same is done through the cache.
//
// Invariants:
//   1. Bytes behind the synced end of a log are zeros, or of a write that was not acknowledged.
//   2. What was appended is written by Sync alone; closing a file drops what was not synced.
//   3. Only the filling thread extends a file; Sync waits for it when it has caught up.
#pragma once

#include <cstdint>
#include <memory>

namespace rocksdb {
class Env;
}

namespace tangelo {

// Must outlive the database that uses it. `disk_size`: of the filesystem that the logs are on; on a
// small one they are filled less far ahead.
std::unique_ptr<rocksdb::Env> make_wal_env(std::uint64_t disk_size);

}  // namespace tangelo
