// mount_file: RUN/mounts/NAME/mount.toml, what a running mount was resolved to.
//
// Pure. Written by the watchdog when the mount is made, adopted, or its policy changed; read by
// people and scripts, and by an adopter for the words that nothing else keeps.
#pragma once

#include <string>
#include <vector>

#include "protocol/policy.h"
#include "watchdog/settings.h"

namespace tangelo {

std::string mount_file_text(const watchdog_settings& settings, const mount_policy& policy);

// A TOML basic string, quotes included.
std::string toml_text(std::string_view text);

}  // namespace tangelo
