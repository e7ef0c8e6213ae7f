#include "watchdog/own_record.h"

#include <unistd.h>

#include "base/places.h"
#include "base/state_table.h"
#include "watchdog/proc_view.h"

namespace tangelo {

void write_own_record(watchdog_page& page, const clock& time) {
  process_record& own = page.processes[ordinal(process_role::watchdog)];
  const std::optional<process_sight> seen = look_at_process(::getpid());
  const std::uint64_t starts = own.generation.fetch_add(1, std::memory_order_relaxed) + 1;
  own.restarts.store(static_cast<std::uint32_t>(starts - 1), std::memory_order_relaxed);
  own.started_ns.store(time.now_ns(), std::memory_order_relaxed);
  own.start_ticks.store(seen ? seen->start_ticks : 0, std::memory_order_relaxed);
  own.pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_release);
}

outcome<shared_arena_map> map_read_only(int shared_fd) {
  outcome<unique_fd> copy = read_only_copy(shared_fd);
  if (!copy) return failure{copy.error()};
  return shared_arena_map::map(*std::move(copy), arena_access::read_only);
}

outcome<program> find_installed(std::string_view name, std::string_view folder) {
  std::string path = find_program(name, folder);
  if (path.empty())
    return failure{problem{exit_code::failed, std::string(name) + ": program not found",
                           "it belongs beside tangelo-watchdog; TANGELO_BIN_DIR can name another "
                           "directory"}};
  return open_program(std::move(path));
}

}  // namespace tangelo
