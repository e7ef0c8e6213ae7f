#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/fusermount.h"
#include "base/mount_table.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/render.h"
#include "cli/snapshot.h"

namespace tangelo {

namespace {

// A mount that ends by force is over within 2 s, also when its watchdog stands still.
constexpr int look_wait_ms = 400;
constexpr int answer_wait_ms = 1'400;  // behind that we do what it would have done
constexpr int force_wait_ms = 1'000;

failure<problem> umount_failure(const mount_ref& mount, int error, const std::string& said,
                                bool gentle) {
  std::string hint;
  if (error == EBUSY && gentle)
    hint = "something uses it (see: fuser -vm " + mount.mount_point + "); -l detaches it anyway";
  const std::string why = said.empty() ? std::strerror(error) : said;
  return failure{problem{exit_code::failed, mount.mount_point + ": " + why, hint}};
}

control_verb verb_of(const umount_arguments& words) {
  if (words.force) return control_verb::force;
  return words.lazy ? control_verb::detach : control_verb::unmount;
}

// "major:minor" of it; empty when it is not there.
std::string device_of(const mount_ref& mount) {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* top = find_mount(table, mount.mount_point);
  return top != nullptr && top->type == mount_type ? top->device : std::string();
}

// How many mounts of ours there are on one another.
std::ptrdiff_t count_there(const mount_ref& mount) {
  const std::vector<mount_entry> table = read_mount_table();
  return std::count_if(table.begin(), table.end(), [&mount](const mount_entry& m) {
    return m.mount_point == mount.mount_point && m.type == mount_type;
  });
}

// 0 or an errno. EINVAL: somebody else was faster.
int unmount_by_flags(const mount_ref& mount, int flags) {
  const int error = unmount_fuse(mount.mount_point, device_of(mount), flags);
  return error == EINVAL ? 0 : error;
}

// MNT_FORCE ends the connection to /dev/fuse, so that nobody waits any more and the processes that
// still run see it; what has files open there holds the mount, until it is detached.
int unmount_alone(const mount_ref& mount, const umount_arguments& words) {
  if (!words.force) return unmount_by_flags(mount, words.lazy ? MNT_DETACH : 0);
  (void)unmount_by_flags(mount, MNT_FORCE);  // EBUSY is what the next line is for
  return device_of(mount).empty() ? 0 : unmount_by_flags(mount, MNT_DETACH);
}

// The processes end after the mount; the next `tangelo mount` should not meet them.
void wait_for_the_end(const std::string& run_dir, unsigned wait_ms) {
  constexpr unsigned step_ms = 20;
  for (unsigned waited = 0; waited < wait_ms && ::access(run_dir.c_str(), F_OK) == 0;
       waited += step_ms)
    ::usleep(step_ms * 1000);
}

// Nobody was there to say that they are: the server, or the core.
void tell_undurable(const std::string& mount_point, std::uint64_t count) {
  if (count == 0) return;
  std::fprintf(stderr,
               "tangelo: %s: %llu answered changes are not known to be on the server's disk; the "
               "mount's log names the inodes\n",
               mount_point.c_str(), static_cast<unsigned long long>(count));
}

}  // namespace

outcome<void> run_umount(const umount_arguments& words) {
  outcome<mount_ref> mount = find_own_mount(words.directory, "umount");
  if (!mount) return failure{mount.error()};
  const std::string run_root = run_root_of(*mount);
  const std::string shown = printable(mount->mount_point);
  const std::ptrdiff_t before = count_there(*mount);
  const outcome<arena_view> arena = arena_view::open(run_root, *mount, look_wait_ms);
  outcome<control_reply> reply = ask_watchdog(run_root, *mount, verb_of(words),
                                              words.force ? force_wait_ms : answer_wait_ms);
  // It may be anything that the mount's user runs.
  if (reply && reply->errno_value == 0 && count_there(*mount) >= before)
    reply = failure{problem{exit_code::failed,
                            shown + ": its watchdog says that it is unmounted, and it is not", {}}};
  int error = reply ? reply->errno_value : 0;
  if (!reply) {
    std::fprintf(stderr, "tangelo: %s; unmounting without it\n",
                 printable(reply.error().text).c_str());
    error = unmount_alone(*mount, words);
  }
  if (error != 0)
    return umount_failure(*mount, error, reply ? reply->text : std::string(),
                          !words.lazy && !words.force);
  if (reply && !words.lazy)
    wait_for_the_end(mount_run_dir(run_root, mount->name), words.force ? 1000 : 3000);
  const std::string text = shown + " unmounted\n";
  std::fputs((words.json ? done_json(*mount, "unmounted") : text).c_str(), stdout);
  const bool lied = !reply && reply.error().code == exit_code::failed;
  if (arena && !words.lazy && !lied) tell_undurable(shown, arena->undurable_count());
  return {};
}

}  // namespace tangelo
