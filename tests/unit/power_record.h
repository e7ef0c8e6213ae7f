// power_record: the events that power_disk.cc writes and power_image.cc reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tangelo::power {

enum class event_kind : std::uint8_t {
  create,     // path: a new, empty file
  mkdir,      // path
  rename,     // path, to
  unlink,     // path: a file or a directory
  write,      // file: bytes (or `size` zeros) at offset
  truncate,   // file: size
  sync_file,  // file: all of it before event `upto`
  sync_write,  // the write that is event `upto`
  sync_names,  // path, a directory: its changes before event `upto`
  sync_all,   // everything before event `upto`
};

struct event {
  event_kind what{};
  int file = -1;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::size_t upto = 0;
  std::string bytes;  // empty: zeros
  std::string path, to;
};

// All events, and the path under which each file was made. Read only when nothing is recorded.
const std::vector<event>& events();
const std::vector<std::string>& file_paths();
const std::string& recorded_root();

}  // namespace tangelo::power
