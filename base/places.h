// places: where things are on this machine: run and state directories, sockets, our own programs.
//
// Root's are those of the system, a user's are that user's own. All can be moved by
// TANGELO_RUN_DIR, TANGELO_STATE_DIR and TANGELO_BIN_DIR (tests, and running out of a build tree).
// Read once while a process starts; any thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace tangelo {

// /run/tangelo; $XDG_RUNTIME_DIR/tangelo, else /tmp/tangelo-UID.
std::string default_run_dir();
// /var/lib/tangelo; $XDG_STATE_HOME/tangelo, else ~/.local/state/tangelo.
std::string default_state_dir();

// Where mounts of `user` may have their run directories; a user's only if nobody else can have put
// anything there.
std::vector<std::string> run_dirs_of(uid_t user);
// Of these the one that has a mount of that NAME; the default one if none has.
std::string run_dir_of(uid_t user, std::string_view name);

// RUN/mounts/NAME: mount.toml and the sockets; it exists while the mount is served.
std::string mount_run_dir(std::string_view run_dir, std::string_view name);
// RUN/log/NAME.log: what a daemon without systemd says; it outlives the mount.
std::string mount_log_path(std::string_view run_dir, std::string_view name);

// The path of our program `name` ("tangelo-fs"), looked for in TANGELO_BIN_DIR, beside this
// program, and in the build tree's `folder` ("fs"). Empty when it is nowhere.
std::string find_program(std::string_view name, std::string_view folder);

}  // namespace tangelo
