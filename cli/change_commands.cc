#include <cstdio>

#include "cli/commands.h"
#include "cli/control.h"
#include "cli/render.h"
#include "cli/snapshot.h"
#include "cli/watchdog_daemon.h"

namespace tangelo {

namespace {

constexpr int answer_wait_ms = 5'000;
constexpr int upgrade_wait_ms = 60'000;

outcome<policy_change> parse_change(const std::vector<std::string>& words) {
  policy_change change;
  for (const std::string& word : words) {
    const std::optional<outcome<void>> taken = parse_policy_word(word, change);
    if (!taken)
      return failure{problem{exit_code::usage, "'" + word + "': nothing that can be set",
                             "reconnect_delay, fast_io_fail_tmo, dev_loss_tmo, commit and log can, "
                             "as in dev_loss_tmo=60; see tangelo set --help"}};
    if (!*taken) return failure{taken->error()};
  }
  return change;
}

}  // namespace

outcome<void> run_set(const set_arguments& words) {
  outcome<policy_change> change = parse_change(words.words);
  if (!change) return failure{change.error()};
  outcome<mount_ref> mount = find_own_mount(words.mount, "set");
  if (!mount) return failure{mount.error()};
  const std::string run_root = run_root_of(*mount);
  outcome<arena_view> arena = arena_view::open(run_root, *mount);
  if (!arena) return failure{arena.error()};
  if (!words.words.empty()) {
    outcome<void> checked = check_policy(changed(arena->policy(), *change));
    if (!checked) return checked;
    outcome<control_reply> reply =
        ask(asked::watchdog, run_root, *mount, {control_version, control_verb::set, *change},
            answer_wait_ms);
    if (!reply) return failure{reply.error()};
    if (reply->errno_value != 0) return failure{refusal(*mount, *reply)};
  }
  if (words.quiet) return {};
  std::printf("%s: %s\n", mount->mount_point.c_str(), policy_line(arena->policy()).c_str());
  return {};
}

outcome<void> run_abort(const abort_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "abort");
  if (!mount) return failure{mount.error()};
  outcome<control_reply> reply =
      ask_either(run_root_of(*mount), *mount, control_verb::abort, answer_wait_ms);
  if (!reply) return failure{reply.error()};
  if (reply->errno_value != 0) return failure{refusal(*mount, *reply)};
  std::printf("%s: %s\n", mount->mount_point.c_str(),
              reply->text.empty() ? "who waited has been answered" : reply->text.c_str());
  return {};
}

outcome<void> run_upgrade(const upgrade_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "upgrade");
  if (!mount) return failure{mount.error()};
  outcome<control_reply> reply = ask_watchdog(run_root_of(*mount), *mount,
                                              control_verb::upgrade, upgrade_wait_ms);
  if (!reply) return failure{reply.error()};
  if (reply->errno_value != 0) return failure{refusal(*mount, *reply)};
  std::printf("%s: %s\n", mount->mount_point.c_str(),
              reply->text.empty() ? "upgraded" : reply->text.c_str());
  return {};
}

outcome<void> run_adopt(const adopt_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "watchdog --adopt");
  if (!mount) return failure{mount.error()};
  const std::string run_root = run_root_of(*mount);
  if (ask_watchdog(run_root, *mount, control_verb::arenas, answer_wait_ms)) {
    std::printf("%s has a watchdog already\n", mount->mount_point.c_str());
    return {};
  }
  outcome<void> adopted = adopt_mount(*mount, run_root);
  if (adopted) std::printf("%s has a watchdog again\n", mount->mount_point.c_str());
  return adopted;
}

}  // namespace tangelo
