#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>
#include <optional>

#include "base/clock.h"
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

// Which processes have been replaced: a line for each on a terminal, once it runs.
class upgrade_progress {
 public:
  upgrade_progress(const std::string& run_root, const mount_ref& mount) : mount_(mount) {
    if (::isatty(STDERR_FILENO) != 1) return;
    outcome<arena_view> arena = arena_view::open(run_root, mount);
    if (!arena) return;  // who is asked to upgrade will say why
    arena_.emplace(*std::move(arena));
    before_ = look();
  }
  void show() {
    if (!arena_) return;
    const processes now = look();
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (now[i].pid == 0 || now[i].pid == before_[i].pid) continue;
      std::fprintf(stderr, "%s replaced, pid %u\n", std::string(now[i].role).c_str(), now[i].pid);
      before_[i] = now[i];
    }
  }

 private:
  using processes = std::array<process_view, process_role_count>;
  processes look() const { return arena_->status(mount_, system_clock().now_ns()).processes; }

  const mount_ref& mount_;
  std::optional<arena_view> arena_;
  processes before_{};
};

void say_done(const mount_ref& mount, const std::string& done, bool json) {
  const std::string text = printable(mount.mount_point) + ": " + done + "\n";
  std::fputs((json ? done_json(mount, done) : text).c_str(), stdout);
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
  const mount_policy policy = arena->policy();
  const std::string text = printable(mount->mount_point) + ": " + policy_line(policy) + "\n";
  std::fputs((words.json ? policy_json(*mount, policy) : text).c_str(), stdout);
  return {};
}

outcome<void> run_abort(const abort_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "abort");
  if (!mount) return failure{mount.error()};
  outcome<control_reply> reply =
      ask_either(run_root_of(*mount), *mount, control_verb::abort, answer_wait_ms);
  if (!reply) return failure{reply.error()};
  if (reply->errno_value != 0) return failure{refusal(*mount, *reply)};
  say_done(*mount, reply->text.empty() ? "who waited has been answered" : reply->text, words.json);
  return {};
}

outcome<void> run_upgrade(const upgrade_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "upgrade");
  if (!mount) return failure{mount.error()};
  const std::string run_root = run_root_of(*mount);
  upgrade_progress progress(run_root, *mount);
  const std::function<void()> show = [&progress] { progress.show(); };
  outcome<control_reply> reply =
      ask(asked::watchdog, run_root, *mount, {control_version, control_verb::upgrade, {}},
          upgrade_wait_ms, show);
  show();
  if (!reply) return failure{reply.error()};
  if (reply->errno_value != 0) return failure{refusal(*mount, *reply)};
  say_done(*mount, reply->text.empty() ? "upgraded" : reply->text, words.json);
  return {};
}

outcome<void> run_adopt(const adopt_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.mount, "watchdog --adopt");
  if (!mount) return failure{mount.error()};
  const std::string run_root = run_root_of(*mount);
  if (ask_watchdog(run_root, *mount, control_verb::arenas, answer_wait_ms)) {
    say_done(*mount, "it has a watchdog already", words.json);
    return {};
  }
  outcome<void> adopted = adopt_mount(*mount, run_root);
  if (adopted) say_done(*mount, "it has a watchdog again", words.json);
  return adopted;
}

}  // namespace tangelo
