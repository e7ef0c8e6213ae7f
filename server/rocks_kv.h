// rocks_kv: kv_store on RocksDB, the store of a served volume.
//
// Its write-ahead log is written by hand (manual_wal_flush): write() only appends to memory, so the
// loop thread does not wait for the disk; sync() on the commit thread writes and flushes. After a
// crash the log is read up to its first torn record: a prefix, as kv.h wants it.
#pragma once

#include <memory>
#include <string>

#include "base/problem.h"
#include "server/kv.h"

namespace tangelo {

// Opens the store in `directory`, which must hold one, or with `create` makes it.
outcome<std::unique_ptr<kv_store>> open_rocks_kv(const std::string& directory, bool create);

}  // namespace tangelo
