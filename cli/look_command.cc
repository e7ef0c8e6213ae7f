#include <cstdio>

#include "base/clock.h"
#include "cli/at_once.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/op_paths.h"
#include "cli/render.h"
#include "cli/snapshot.h"

namespace tangelo {

namespace {

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace

outcome<void> run_look(const look_arguments& words) {
  outcome<std::vector<mount_ref>> chosen =
      mounts_to_look_into(words.what, words.ops ? "ops" : "status");
  if (!chosen) return failure{chosen.error()};
  if (chosen->empty() && !words.json) {
    print(no_mounts_text());
    return {};
  }
  const system_clock time;
  const std::vector<outcome<arena_view>> arenas =
      at_once(*chosen, [](const mount_ref& m) { return arena_view::open(run_root_of(m), m); });
  std::vector<mount_view> views;
  std::vector<mount_ops> pending;
  std::string silent;  // those of which not even the arenas are known, or no watchdog
  for (std::size_t i = 0; i < arenas.size(); ++i) {
    const mount_ref& mount = (*chosen)[i];
    const outcome<arena_view>& arena = arenas[i];
    if (!arena || (!words.ops && !arena->supervised())) silent += " " + mount.mount_point;
    if (arena && words.ops) {
      pending.push_back({mount, arena->ops(time.now_ns())});
      for (op_view& o : pending.back().ops) o.path = path_of(mount, o.pid, o.inode);
    }
    mount_view view;
    if (arena) view = arena->status(mount, time.now_ns());
    view.mount = mount;
    const problem why = arena ? arena->silence() : arena.error();
    if (!why.text.empty()) view.why_not = printable(why.text + "; " + why.hint);
    views.push_back(std::move(view));
  }
  if (words.ops)
    print(words.json ? ops_json(pending) : ops_text(pending));
  else
    print(words.json ? status_json(views) : status_text(views));
  if (silent.empty()) return {};
  return failure{problem{exit_code::unreachable, "UNSUPERVISED, no watchdog answers:" + silent,
                         "`tangelo status` says for each what can be done; or it was mounted "
                         "with another TANGELO_RUN_DIR"}};
}

}  // namespace tangelo
