// space_ops: more operations of scripts (app.h): room, holes, copies, files without a name.
#pragma once

#include "tests/sim/app.h"

namespace tangelo::sim::ops {

app_op fallocate(std::string file, std::uint32_t mode, std::uint64_t offset, std::uint64_t size);
app_op seek(std::string file, std::uint64_t offset, bool hole);
app_op copy(std::string from, std::uint64_t from_offset, std::string to, std::uint64_t to_offset,
            std::uint64_t size);
// A file without a name; it is node and file `as`.
app_op tmpfile(std::string at, std::string as);
// Opened for appending only; and a write that the kernel, knowing no better, sends for `offset`.
app_op open_append(std::string node, std::string file);
app_op append(std::string file, std::uint64_t offset, std::string data);

}  // namespace tangelo::sim::ops
