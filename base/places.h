// places: where things are on this machine: run and state directories, sockets, our own programs.
//
// The defaults can be moved by TANGELO_RUN_DIR, TANGELO_STATE_DIR and TANGELO_BIN_DIR (tests, and
// running out of a build tree). Read once while a process starts; any thread.
#pragma once

#include <string>
#include <string_view>

namespace tangelo {

std::string default_run_dir();    // /run/tangelo
std::string default_state_dir();  // /var/lib/tangelo

// RUN/mounts/NAME: mount.toml and the sockets; it exists while the mount is served.
std::string mount_run_dir(std::string_view run_dir, std::string_view name);
// RUN/log/NAME.log: what a daemon without systemd says; it outlives the mount.
std::string mount_log_path(std::string_view run_dir, std::string_view name);

// The path of our program `name` ("tangelo-fs"), looked for in TANGELO_BIN_DIR, beside this
// program, and in the build tree's `folder` ("fs"). Empty when it is nowhere.
std::string find_program(std::string_view name, std::string_view folder);

}  // namespace tangelo
