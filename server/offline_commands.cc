#include "server/offline_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "server/fence_command.h"
#include "server/takeover.h"

namespace tangelo {

namespace {

constexpr std::uint64_t lock_wait_ms = 10'000;

}  // namespace

int run_takeover(const server_command& c) {
  const fence run_fence = [&c](const volume_holder& holder) {
    log_notice("takeover of {}: fencing process {} on {}: {}", c.directory, holder.pid,
               holder.host, c.fence);
    return run_fence_command(c.fence, c.directory, holder);
  };
  const outcome<takeover_report> done = take_over(c.directory, run_fence, lock_wait_ms);
  if (!done) return say_problem("tangelo-server", done.error());
  const std::string text = text_of_takeover(c.directory, *done);
  log_notice("takeover of {}", text);
  (void)std::fputs((text + "\n").c_str(), stdout);  // nobody to tell otherwise
  return 0;
}

int run_check(const server_command&) { return 0; }

}  // namespace tangelo
