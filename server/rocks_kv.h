// rocks_kv: kv_store on RocksDB, the store of a served volume.
//
// Its write-ahead log is written by hand (manual_wal_flush): write() only appends to memory, so the
// loop thread does not wait for the disk; sync() on the commit thread writes and flushes. After a
// crash the log is read up to its first torn record: a prefix, as kv.h wants it.
//
// Nothing becomes durable but by sync() (kv.h invariant 1). What else could do it, and why it does
// not: the log's file keeps appended bytes in memory and writes in Sync alone, not when it is full
// or closed (wal_files.h). A table file is durable by itself, so changes in memory go to tables
// only from within sync(): there is no limit that RocksDB could meet, neither of a column, nor of
// all, nor of the log. RocksDB syncs the log up to there before such a table counts, so that no
// column runs ahead of another. Opening the store makes tables of the whole log, in which there is
// nothing that did not get there by sync().
//
// RocksDB before 8.3.3 loses an iterator's error (a block that is damaged, or for a cached read not
// in the cache) where one table file follows another, if the iterator looks for removed ranges: it
// ends there, or goes on behind the file, and says OK. So no scan has it look for them; in a column
// that has any, each key found is asked for by itself.
#pragma once

#include <memory>
#include <string>

#include "base/problem.h"
#include "server/kv.h"

namespace tangelo {

// Opens the store in `directory`, which must hold one, or with `create` makes it.
outcome<std::unique_ptr<kv_store>> open_rocks_kv(const std::string& directory, bool create);

}  // namespace tangelo
