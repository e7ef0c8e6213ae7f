// The two arenas, made and mapped as the processes do, for tests that stand on them.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "protocol/arena.h"
#include "protocol/policy.h"

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
    write_policy((*fs)->watchdog.policy, {});  // as the watchdog does
    return {*std::move(fs), *std::move(shared)};
  }

  // From here until thaw() what is written does not count: its writer is dead, and only runs on to
  // the end of what it was called for.
  void freeze() { remap(MAP_PRIVATE); }
  void thaw() { remap(MAP_SHARED); }

 private:
  void remap(int flags) {
    remap(&*fs, sizeof(fs_arena), fs.fd(), flags);
    remap(&*shared, sizeof(shared_arena), shared.fd(), flags);
  }
  static void remap(void* address, std::size_t size, int fd, int flags) {
    constexpr int access = PROT_READ | PROT_WRITE;
    if (::mmap(address, size, access, flags | MAP_FIXED, fd, 0) == MAP_FAILED) std::abort();
  }
};

}  // namespace tangelo
