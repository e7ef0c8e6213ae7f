// settings: the command line of tangelo-watchdog, checked.
//
// Made once while the process starts; a value, read by everybody afterwards.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/problem.h"
#include "protocol/mount_source.h"
#include "watchdog/mount_options.h"

namespace tangelo {

// The descriptors that one program of the watchdog leaves to the next (upgrade.h), in this order on
// the command line: --resume F,A,S,D,C,L,Q,P.
struct resume_fds {
  int fuse = -1;
  int arena = -1;
  int shared = -1;
  int directory = -1;  // the run directory, locked
  int control = -1;    // listening control.sock
  int link = -1;       // to the front end
  int asker = -1;      // who asked for the upgrade; -1: gone
  int program = -1;    // the program before this one
  std::array<int*, 8> all() noexcept {
    return {&fuse, &arena, &shared, &directory, &control, &link, &asker, &program};
  }
};
std::string resume_text(resume_fds fds);

struct watchdog_settings {
  std::string source;       // as given
  mount_source parsed_source;
  std::string mount_point;  // absolute, symbolic links resolved
  // Where to mount instead, if not empty: the same directory as somebody else has it open. On an
  // automount nobody but who makes its mount for systemd gets to the directory by its path, until
  // the mount is there.
  std::string through;
  std::string name;         // NAME
  std::string config;       // the file that names source, mount point and options; may be empty
  std::string run_dir;
  std::string state_dir;
  mount_options options;
  bool check = false;          // only says whether `config` is right
  bool adopt = false;          // source and options come from the mount that is there
  bool resume = false;         // this process was the watchdog before, as another program
  bool resume_failed = false;  // and is that again
  resume_fds inherited;
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
