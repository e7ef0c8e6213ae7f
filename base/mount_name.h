// mount_name: the NAME of a mount, made from its mount point as `systemd-escape --path` does.
//
// NAME is what a mount is called everywhere: tangelo@NAME.service, RUN/mounts/NAME/, its client
// identity, its log. The name of a file must have room for it, so one of more than 200 characters
// is cut and ends with a hash of the path. Pure functions, callable by anybody.
#pragma once

#include <string>
#include <string_view>

namespace tangelo {

// "/mnt/a b/" -> "mnt-a\x20b", "/" -> "-". Double, leading and trailing slashes and "." do not
// count; the path must be absolute and without "..", else the name is empty.
std::string mount_name_of(std::string_view path);

// The mount point that `name` was made from; empty for something that is not a name, or was cut.
std::string mount_point_of(std::string_view name);

// `path` made absolute against `working_directory`, with ".", ".." and double slashes taken out by
// their letters only: no file is looked at, so a dead mount cannot make this wait.
std::string absolute_path(std::string_view path, std::string_view working_directory);

}  // namespace tangelo
