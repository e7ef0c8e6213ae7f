#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/places.h"
#include "cli/commands.h"
#include "cli/mounts.h"

namespace tangelo {

namespace {

failure<problem> umount_failure(const mount_ref& mount, int error, bool lazy) {
  std::string hint;
  if (error == EBUSY && !lazy)
    hint = "something uses it (see: fuser -vm " + mount.mount_point + "); -l detaches it anyway";
  return failure{problem{exit_code::failed, mount.mount_point + ": " + std::strerror(error), hint}};
}

// The processes end after the mount; the next `tangelo mount` should not meet them.
void wait_for_the_end(const std::string& run_dir) {
  constexpr unsigned wait_ms = 3000;
  constexpr unsigned step_ms = 20;
  for (unsigned waited = 0; waited < wait_ms && ::access(run_dir.c_str(), F_OK) == 0;
       waited += step_ms)
    ::usleep(step_ms * 1000);
}

}  // namespace

outcome<void> run_umount(const umount_arguments& words) {
  constexpr int answer_wait_ms = 60'000;
  outcome<mount_ref> mount = find_mount_of(words.directory);
  if (!mount) return failure{mount.error()};
  if (::geteuid() != 0)
    return failure{problem{exit_code::failed, "unmounting needs root", "try: sudo tangelo umount"}};
  const std::string run_root = default_run_dir();
  const control_verb verb = words.lazy ? control_verb::detach : control_verb::unmount;
  outcome<control_reply> reply = ask_watchdog(run_root, mount->name, verb, answer_wait_ms);
  int error = reply ? reply->answer.errno_value : 0;
  if (!reply) {
    std::fprintf(stderr, "tangelo: %s; unmounting without it\n", reply.error().text.c_str());
    const int flags = UMOUNT_NOFOLLOW | (words.lazy ? MNT_DETACH : 0);
    if (::umount2(mount->mount_point.c_str(), flags) != 0 && errno != EINVAL) error = errno;
  }
  if (error != 0) return umount_failure(*mount, error, words.lazy);
  if (!words.lazy) wait_for_the_end(mount_run_dir(run_root, mount->name));
  std::printf("%s unmounted\n", mount->mount_point.c_str());
  return {};
}

}  // namespace tangelo
