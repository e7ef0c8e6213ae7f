// mount_table: what /proc/self/mountinfo says, as far as Tangelo is concerned.
//
// Pure parsing of text that the kernel wrote (with names that users chose); any thread. Looking at
// the table never touches the mounts in it, so it answers while a mount is dead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tangelo {

inline constexpr std::string_view mount_type = "fuse.tangelo";

struct mount_entry {
  std::string mount_point;  // escapes taken out
  std::string type;
  std::string source;
  std::string device;  // "major:minor"
  unsigned user = 0;   // of a FUSE mount: who made it
};

// Lines that are not understood are left out.
std::vector<mount_entry> parse_mount_table(std::string_view text);
std::vector<mount_entry> read_mount_table();

// The topmost mount on exactly `mount_point`, or nullptr.
const mount_entry* find_mount(const std::vector<mount_entry>& table, std::string_view mount_point);

// The mount that an absolute path without links and dots is in; or nullptr.
const mount_entry* mount_around(const std::vector<mount_entry>& table, std::string_view path);

}  // namespace tangelo
