// config: /etc/tangelo/mounts/NAME.toml, one mount as systemd starts it.
//
//   source = "host[:port][,host...]:/VOLUME"
//   mount_point = "/mnt/tangelo"
//   options = ["ro", "reconnect_delay=10"]     # optional
//   through = "/proc/PID/fd/N"                 # written by `mount` alone, see settings.h
//
// Read once while the watchdog starts. The only place of this folder that includes toml++.
#pragma once

#include <string>
#include <vector>

#include "base/problem.h"

namespace tangelo {

struct mount_config {
  std::string source;
  std::string mount_point;
  std::vector<std::string> options;
  std::string through;
  std::string mount_point_place;  // "FILE:LINE:COLUMN: "
};

// A file that is not there, is no TOML, lacks one of the first two, has a key that nobody knows or
// a value that cannot be is a problem that names file, line and column.
outcome<mount_config> read_mount_config(const std::string& path);
// The words in the `options` of a mount.toml; none when it is not to be understood.
std::vector<std::string> options_in(const std::string& mount_file);

}  // namespace tangelo
