// tangelo top: what mounts do each second.
#include <poll.h>

#include <cstdio>

#include "cli/at_once.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/top_text.h"

namespace tangelo {

namespace {

constexpr int period_ms = 1000;
constexpr int answer_wait_ms = 1000;

std::vector<mount_sample> look(const std::vector<mount_ref>& mounts) {
  return at_once(mounts, [](const mount_ref& m) { return sample_of(m, answer_wait_ms); });
}

}  // namespace

outcome<void> run_top(const top_arguments& words) {
  outcome<std::vector<mount_ref>> chosen = mounts_to_look_into(words.mount, "top");
  if (!chosen) return failure{chosen.error()};
  if (chosen->empty() && !words.json) {
    std::fputs(no_mounts_text().c_str(), stdout);
    return {};
  }
  std::vector<mount_sample> earlier = look(*chosen);
  if (words.json || !terminal::is_there()) {
    (void)::poll(nullptr, 0, period_ms);
    const std::vector<mount_sample> later = look(*chosen);
    const std::string out = words.json ? top_json(earlier, later) : top_text(earlier, later);
    std::fwrite(out.data(), 1, out.size(), stdout);
    return {};
  }
  const terminal screen;
  screen.show("looking ...\n");
  while (!screen.ended(period_ms)) {
    if (words.mount.empty())
      if (outcome<std::vector<mount_ref>> now = mounts_to_look_into({}, "top")) chosen = *now;
    std::vector<mount_sample> later = look(*chosen);
    screen.show(top_text(earlier, later));
    earlier = std::move(later);
  }
  return {};
}

}  // namespace tangelo
