// files: the few small files that the watchdog keeps: read whole, replaced whole.
//
// Start and end of the process only, except where it says so: these calls wait for the disk.
#pragma once

#include <string>
#include <string_view>

#include "base/problem.h"

namespace tangelo {

// mkdir -p with mode 0755.
outcome<void> make_directories(const std::string& path);
// Up to 64 KiB of a file; a file that is not there is empty.
outcome<std::string> read_small_file(const std::string& path);
// The old content or the new one, never a mixture; on the disk when it returns, or only some day
// (of use where a reboot makes the content void, and the loop may not wait).
enum class durability { disk, none };
outcome<void> replace_file(const std::string& path, std::string_view content, unsigned mode,
                           durability how = durability::disk);

}  // namespace tangelo
