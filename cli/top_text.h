// top_text: what `tangelo top` shows of two looks at the same mounts. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/mount_sample.h"

namespace tangelo {

// Mounts that are in `later` only are shown from the next look on.
std::string top_text(const std::vector<mount_sample>& earlier,
                     const std::vector<mount_sample>& later);
std::string top_json(const std::vector<mount_sample>& earlier,
                     const std::vector<mount_sample>& later);
// "85us", "1.2ms", "3.4s".
std::string short_time(std::uint64_t ns);

}  // namespace tangelo
