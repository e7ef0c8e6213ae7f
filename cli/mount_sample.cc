#include "cli/mount_sample.h"

#include "base/clock.h"

namespace tangelo {

mount_sample sample_of(const mount_ref& mount, int wait_ms) {
  const system_clock time;
  mount_sample s;
  s.taken_ns = time.now_ns();
  outcome<arena_view> arena = arena_view::open(run_root_of(mount), mount, wait_ms);
  if (arena) {
    s.view = arena->status(mount, s.taken_ns);
    s.figures = figures_of(arena->front_end());
    s.core = figures_of(arena->shared());
    s.now = summary_of(arena->front_end(), s.taken_ns);
  } else {
    s.view.why_not = arena.error().text;
  }
  s.view.mount = mount;
  return s;
}

}  // namespace tangelo
