// uring_objects: object_store on files, VOLUME/objects/xx/yy/INODE (hexadecimal), xx and yy a hash
// of the inode number's upper 56 bits.
//
// Reading and writing go through the loop's io_uring; opening, cutting and removing through the
// pool, since they may wait for the disk without a way to be told. A read that the page cache can
// answer is done at once (RWF_NOWAIT). Keeps a bounded number of files open.
//
// Invariants:
//   1. A file is closed only when nothing uses it.
//   2. A directory in which a file was made or removed is flushed with the next sync of that inode.
#pragma once

#include <memory>
#include <string>

#include "base/loop.h"
#include "server/objects.h"
#include "server/workers.h"

namespace tangelo {

// `directory` must exist; all three must outlive the store.
outcome<std::unique_ptr<object_store>> open_uring_objects(const std::string& directory, loop& home,
                                                          workers& pool);

}  // namespace tangelo
