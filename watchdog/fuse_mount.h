// fuse_mount: making the mount: /dev/fuse, mount(2) or fusermount3, and the INIT dialogue.
//
// Called once by the watchdog before its loop runs; it may wait (bounded: INIT within 5 s). What it
// returns outlives every child; the mount itself ends by umount2(2) or when the last descriptor of
// its /dev/fuse is closed.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/problem.h"
#include "protocol/device.h"
#include "watchdog/mount_options.h"

namespace tangelo {

// Opens /dev/fuse and mounts it on `mount_point`. `source` is shown in the mount table as it is.
outcome<unique_fd> make_fuse_mount(const std::string& source, const std::string& mount_point,
                                   const mount_options& options);

// Reads INIT, answers it, and saves both in `page`.
outcome<void> agree_on_init(int fuse_fd, watchdog_page& page, const mount_options& options);

}  // namespace tangelo
