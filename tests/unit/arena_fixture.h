// The two arenas, made and mapped as the processes do, for tests that stand on them.
#pragma once

#include <cstdlib>
#include <utility>

#include "protocol/arena.h"

namespace tangelo {

struct mapped_arenas {
  fs_arena_map fs;
  shared_arena_map shared;

  static mapped_arenas make() {
    outcome<arena_fds> fds = make_arenas();
    if (!fds) std::abort();
    outcome<fs_arena_map> fs = fs_arena_map::map(std::move(fds->fs), arena_access::read_write);
    outcome<shared_arena_map> shared =
        shared_arena_map::map(std::move(fds->shared), arena_access::read_write);
    if (!fs || !shared) std::abort();
    return {*std::move(fs), *std::move(shared)};
  }
};

}  // namespace tangelo
