// own_record: the watchdog's own line in the arena, and the two other things that making and
// adopting a mount have in common. Used while the process starts.
#pragma once

#include <string_view>

#include "base/clock.h"
#include "protocol/arena.h"
#include "watchdog/spawn.h"

namespace tangelo {

// This process is the watchdog now; one more start than the page tells of.
void write_own_record(watchdog_page& page, const clock& time);

outcome<shared_arena_map> map_read_only(int shared_fd);

// Our program `name`, from where it is installed or was built.
outcome<program> find_installed(std::string_view name, std::string_view folder);

}  // namespace tangelo
