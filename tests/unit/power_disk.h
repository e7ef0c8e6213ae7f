// power_disk: what this process does to the files below one directory, recorded, so that the
// directory can be made anew as a power failure at any moment would have left it.
//
// Linking power_disk.cc puts definitions of the C library's functions (open, write, rename, fsync,
// ...) and of liburing's submits into the test program, where they come before the libraries'. So
// RocksDB, the log files and the object files are recorded as they are; none knows of it. No sync
// is really made in such a program.
//
// What a failure leaves (of a filesystem like ext4, and no kinder):
//   1. Names: the changes of names in their order up to some moment, and at least up to the last
//      one in a directory that was synced after it. A sync of a file does nothing for its name.
//   2. Bytes: those written before a sync of the file that has ended. Of the others each page may
//      be there or not, and be cut at a sector, with the bytes from before behind the cut.
//   3. A truncate that is not there takes along all that is not synced behind it.
//
// One directory at a time; record_disk() and stop_recording() while no other thread uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tangelo::power {

// What becomes of everything that was not synced.
enum class fate : std::uint8_t { lost, kept, mixed };
// A disk that does not do what it says, to show that the test would see it.
enum class lie : std::uint8_t {
  none,
  object_syncs,  // syncs of the files below objects/ do nothing
  log_syncs,     // nor synchronous writes and syncs of the logs of the metadata
  table_syncs,   // nor syncs of the metadata's other files
  table_names,   // nor syncs of the metadata's directory
  object_names,  // nor of the directories below objects/
};

void record_disk(const std::string& root);
void stop_recording();
// How many events there are until now; what the loop's thread was told by the kernel is among them.
std::size_t recorded();
// What event `index` is, for a message.
std::string describe(std::size_t index);
// Makes `directory` (empty) what is left of the root after the first `cut` events.
void make_image(std::size_t cut, fate f, std::uint64_t seed, lie l, const std::string& directory);

}  // namespace tangelo::power
