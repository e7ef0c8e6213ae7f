// settings: the command line of tangelo-watchdog, checked.
//
// Made once while the process starts; a value, read by everybody afterwards.
#pragma once

#include <string>
#include <vector>

#include "base/problem.h"
#include "watchdog/mount_options.h"

namespace tangelo {

struct watchdog_settings {
  std::string source;       // as given
  mount_source parsed_source;
  std::string mount_point;  // absolute, symbolic links resolved
  std::string name;         // NAME
  std::string run_dir;
  std::string state_dir;
  mount_options options;
  bool adopt = false;          // source and options come from the mount that is there
  bool under_systemd = false;  // which keeps our descriptors for us
  bool foreground = false;
  bool verbose = false;
  bool show_version = false;
  bool show_help = false;
  int ready_fd = -1;
};

// `ready_fd` is set as soon as it was read, so that a refusal can be told through it.
outcome<watchdog_settings> parse_settings(const std::vector<std::string>& arguments,
                                          int& ready_fd);

extern const char* const watchdog_usage;

}  // namespace tangelo
