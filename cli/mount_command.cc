#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/clock.h"
#include "base/mount_name.h"
#include "base/mount_table.h"
#include "base/places.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/mount_helper.h"
#include "cli/process.h"
#include "cli/render.h"
#include "cli/service_mount.h"
#include "cli/snapshot.h"
#include "cli/watchdog_daemon.h"

namespace tangelo {

namespace {

constexpr std::uint64_t answer_wait_ns = 10 * ns_per_s;
constexpr unsigned step_ms = 25;

void say(const mount_arguments& words, const mount_ref& mount, const std::string& done) {
  if (words.quiet) return;
  const std::string text = printable(mount.source + " " + done) + "\n";
  std::fputs((words.json ? done_json(mount, done) : text).c_str(), stdout);
}

// True: there was nothing to do but, perhaps, to give the mount a watchdog again.
outcome<bool> is_mounted_already(const mount_arguments& words) {
  outcome<mount_ref> there = find_mount_at(words.directory);
  if (!there) return false;
  if (!is_own(*there))
    return failure{problem{exit_code::failed,
                           there->mount_point + ": " + there->source + " is mounted here already, "
                               "by " + (there->user == 0 ? "root"
                                                         : "user " + std::to_string(there->user)),
                           "mount on another directory"}};
  if (there->source != words.source)
    return failure{problem{exit_code::failed,
                           there->mount_point + ": " + there->source + " is mounted here already",
                           "end it first: tangelo umount " + there->mount_point}};
  const std::string run_root = run_root_of(*there);
  if (ask_watchdog(run_root, *there, control_verb::arenas, 2000)) {
    say(words, *there,
        "is already mounted on " + there->mount_point +
            (words.options.empty() ? ""
                                   : "; -o is not looked at: change it with tangelo set, or mount "
                                     "it anew"));
    return true;
  }
  outcome<void> adopted = adopt_mount(*there, run_root);
  if (!adopted)
    return failure{problem{adopted.error().code,
                           there->mount_point + ": mounted already, but UNSUPERVISED, and cannot "
                                                "be adopted: " + adopted.error().text,
                           "end it: tangelo umount -f " + there->mount_point}};
  say(words, *there,
      "was mounted on " + there->mount_point + " without a watchdog; it has one again");
  return true;
}

outcome<std::string> real_directory(const std::string& path) {
  char real[PATH_MAX];
  if (::realpath(path.c_str(), real) == nullptr)
    return failure{problem{exit_code::usage, path + ": " + std::strerror(errno),
                           errno == ENOENT ? "make the directory first: mkdir -p " + path : ""}};
  return std::string(real);
}

// Answers of a server that asking again does not change.
bool is_final(const core_view& core) {
  if (is_reachable(core) || core.last_text.empty()) return false;
  return core.last_down_reason == "auth" || core.last_text.find("version") != std::string::npos;
}

outcome<void> undo(const mount_ref& mount, const std::string& run_root, const core_view& core) {
  // Nothing uses it yet; what fails here the user sees in `tangelo status`.
  (void)ask_watchdog(run_root, mount, control_verb::detach, 3000);
  return failure{problem{exit_code::unreachable,
                         mount.source + ": the server at " + core.address + " says: " +
                             core.last_text,
                         core.last_text.find("secret") != std::string::npos
                             ? "server and mount have to know the same one: docs/OPERATIONS.md, "
                               "\"Beyond this machine\""
                         : core.last_text.find(" is not for ") != std::string::npos
                             ? "the volume's `allow`, in the server's file, names who may mount it"
                             : "the volumes of a server are those it was started with: check the "
                               "name in SOURCE, and `tangelo-server` on that host"}};
}

// Whoever looks below an automount waits for us, who are making its mount.
bool is_automount(const std::string& mount_point) {
  const std::vector<mount_entry> table = read_mount_table();
  return std::any_of(table.begin(), table.end(), [&mount_point](const mount_entry& m) {
    return m.type == "autofs" && m.mount_point == mount_point;
  });
}

// The mount is there; does the server answer, before `deadline_ns`?
outcome<void> check_answer(const mount_ref& mount, const std::string& run_root,
                           std::uint64_t deadline_ns) {
  outcome<arena_view> arena = arena_view::open(run_root, mount);
  if (!arena) return failure{arena.error()};
  std::optional<statfs_probe> probe;
  if (!is_automount(mount.mount_point)) probe.emplace(mount.mount_point);
  const system_clock time;
  for (bool again = true; again; ::usleep(step_ms * 1000)) {
    again = time.now_ns() < deadline_ns;
    if (!probe && is_reachable(arena->core())) return {};
    if (const std::optional<int> error = probe ? probe->poll() : std::nullopt) {
      if (*error != 0)
        std::fprintf(stderr, "tangelo: warning: mounted, but statfs says: %s\n",
                     std::strerror(*error));
      return {};
    }
    const core_view core = arena->core();
    if (is_final(core)) return undo(mount, run_root, core);
  }
  const core_view core = arena->core();
  std::fprintf(stderr,
               "tangelo: warning: mounted, but the server at %s does not answer yet: %s; "
               "operations wait\n",
               core.address.c_str(),
               core.last_text.empty() ? std::string(core.last_down_reason).c_str()
                                      : core.last_text.c_str());
  return {};
}

outcome<void> start_daemon_of(const mount_ref& mount, const std::string& run_root,
                              const mount_arguments& words, const std::string& through) {
  std::vector<std::string> call{"--source", words.source, "--mount-point", mount.mount_point};
  if (!through.empty()) call.insert(call.end(), {"--through", through});
  if (words.verbose) call.push_back("--verbose");
  for (const std::string& option : words.options) call.insert(call.end(), {"--option", option});
  return start_watchdog(mount, run_root, std::move(call));
}

}  // namespace

outcome<void> run_mount(const mount_arguments& words) {
  if (words.source.empty())
    return failure{problem{exit_code::usage, "SOURCE is empty",
                           "write it as host[:port][,host...]:/VOLUME"}};
  if (std::find(words.options.begin(), words.options.end(), "remount") != words.options.end())
    return run_remount(words);
  const std::string run_root = default_run_dir();
  outcome<bool> there = is_mounted_already(words);
  if (!there) return failure{there.error()};
  if (*there) return {};
  outcome<std::string> real = real_directory(words.directory);
  if (!real) return failure{real.error()};
  const mount_ref mount{mount_name_of(*real), *real, words.source, ::geteuid()};
  // Who makes the mount of an automount for systemd can open it; the watchdog cannot.
  const unique_fd open_point(is_automount(*real) ? ::open(real->c_str(), O_PATH | O_CLOEXEC) : -1);
  const std::string through = open_point ? "/proc/" + std::to_string(::getpid()) + "/fd/" +
                                               std::to_string(open_point.get())
                                         : std::string();
  // A service waits for the server as well.
  const std::uint64_t deadline_ns = system_clock().now_ns() + answer_wait_ns;
  outcome<void> started = mounts_are_services()
                              ? start_service(mount, run_root, words.options, through)
                              : start_daemon_of(mount, run_root, words, through);
  if (!started) {
    // Another one may have made that mount meanwhile.
    there = is_mounted_already(words);
    if (!there) return failure{there.error()};
    return *there ? outcome<void>() : started;
  }
  outcome<void> answered = check_answer(mount, run_root, deadline_ns);
  if (answered) say(words, mount, "mounted on " + mount.mount_point);
  return answered;
}

}  // namespace tangelo
