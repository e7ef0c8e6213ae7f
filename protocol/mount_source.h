// mount_source: what is mounted, "host[:port][,host...]:/VOLUME", taken apart. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"

namespace tangelo {

struct mount_source {
  std::vector<std::string> addresses;  // "host:port", at least one
  std::string volume;
};
outcome<mount_source> parse_mount_source(std::string_view text);

}  // namespace tangelo
