// Adoption: a watchdog takes over a mount whose watchdog has died. The front end hands over
// /dev/fuse and both arenas, and its link; where none answers, the core hands over the same. All
// else stands in the watchdog's page of the arena, which only a watchdog writes.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "base/mount_table.h"
#include "base/packet_socket.h"
#include "base/places.h"
#include "protocol/policy.h"
#include "watchdog/config.h"
#include "watchdog/mount_file.h"
#include "watchdog/own_record.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

// Empty descriptors when nobody answers there within 2 s.
kept_mount ask_for_mount(const run_dir& directory, const char* socket_name) {
  constexpr int patience_ms = 2000;
  unique_fd socket = directory.connect_to(socket_name);
  control_request request;
  request.verb = control_verb::adopt;
  pollfd p{socket.get(), POLLIN, 0};
  control_answer answer;
  packet_fds fds;
  if (!socket || send_packet(socket.get(), request) != packet_status::ok ||
      ::poll(&p, 1, patience_ms) != 1 ||
      receive_object(socket.get(), answer, &fds) != packet_status::ok)
    return {};
  if (answer.errno_value != 0 || fds.count != 3) {
    answer.text.back() = '\0';
    log_warning("{} hands nothing over: {}", socket_name, answer.text.data());
    return {};
  }
  return {std::move(socket), std::move(fds.fds[0]), std::move(fds.fds[1]), std::move(fds.fds[2])};
}

problem cannot_adopt(const watchdog_settings& s, const std::string& why, std::string hint) {
  return {exit_code::unreachable, s.mount_point + ": " + why, std::move(hint)};
}

// A core has the front end's arena read-only.
outcome<unique_fd> writable(unique_fd fd) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDWR) return fd;
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  unique_fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!again)
    return failure{problem{exit_code::failed, path + ": " + std::strerror(errno), {}}};
  return again;
}

bool is_dev_fuse(int fd) {
  constexpr unsigned misc_major = 10;
  constexpr unsigned fuse_minor = 229;
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
         st.st_rdev == makedev(misc_major, fuse_minor);
}

template <std::size_t N>
std::string text_of(const std::array<char, N>& field) {
  return std::string(field.data(), ::strnlen(field.data(), N));
}

// What the arena says about the mount goes into the settings.
outcome<void> complete_settings(const watchdog_page& page, watchdog_settings& s) {
  if (text_of(page.mount_point) != s.mount_point)
    return failure{cannot_adopt(s, "the arena belongs to " + text_of(page.mount_point), {})};
  const std::string source_text = text_of(page.source);
  if (!s.source.empty() && s.source != source_text)
    log_warning("{} is mounted from {}; {} takes effect when it is mounted anew", s.mount_point,
                source_text, s.source);
  s.source = source_text;
  outcome<mount_source> source = parse_mount_source(s.source);
  if (!source) return failure{source.error()};
  s.parsed_source = *std::move(source);
  return check_policy(read_policy(page.policy));
}

child_process find_child(const process_record& record) {
  result<child_process, int> found =
      find_process(static_cast<pid_t>(record.pid.load(std::memory_order_acquire)),
                   record.start_ticks.load(std::memory_order_relaxed));
  return found ? *std::move(found) : child_process{};
}

// The file that the process runs, else the one that is installed.
outcome<program> program_of(const child_process& process, const char* name, const char* folder) {
  if (process.pid != 0) {
    outcome<program> running = open_program_of(process.pid);
    if (running) return running;
  }
  return find_installed(name, folder);
}

outcome<mount_parts> put_together(watchdog_settings& s, const clock& time, run_dir directory,
                                  kept_mount got, bool by_front_end, unique_fd control) {
  if (!is_dev_fuse(got.fuse.get()))
    return failure{cannot_adopt(s, "what was handed over is not /dev/fuse", {})};
  outcome<unique_fd> fs_fd = writable(std::move(got.fs));
  if (!fs_fd) return failure{fs_fd.error()};
  outcome<unique_fd> shared = writable(std::move(got.shared));
  if (!shared) return failure{shared.error()};
  outcome<fs_arena_map> fs = fs_arena_map::map(*std::move(fs_fd), arena_access::read_write);
  if (!fs) return failure{fs.error()};
  outcome<shared_arena_map> view = map_read_only(shared->get());
  if (!view) return failure{view.error()};
  watchdog_page& page = (*fs)->watchdog;
  outcome<void> completed = complete_settings(page, s);
  if (!completed) return failure{completed.error()};
  child_process front_end = find_child(page.processes[ordinal(process_role::front_end)]);
  const process_record& core_record = page.processes[ordinal(process_role::core)];
  child_process core = find_child(core_record);
  outcome<program> front_end_program = program_of(front_end, "tangelo-fs", "fs");
  if (!front_end_program) return failure{front_end_program.error()};
  outcome<program> core_program = program_of(core, "tangelo-core", "client_core");
  if (!core_program) return failure{core_program.error()};
  if (s.options.words.empty()) {
    outcome<std::string> before = directory.read_mount_file();
    if (before) s.options.words = options_in(*before);
    if (const outcome<mount_options> options = parse_mount_options(s.options.words))
      s.options.core = options->core;
  }
  if (!control) {
    outcome<unique_fd> made = directory.listen_at("control.sock");
    if (made) control = *std::move(made);
    else log_warning("{}; nobody can ask for now", made.error().text);
  }
  // A full run directory is no reason to leave the mount alone.
  outcome<void> written =
      directory.write_mount_file(mount_file_text(s, read_policy(page.policy)));
  if (!written) log_warning("{}", written.error().text);
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* there = find_mount(table, s.mount_point);
  write_own_record(page, time);
  log_notice("{} on {} is adopted: front end {}, core {}", s.source, s.mount_point, front_end.pid,
             core.pid);
  const std::uint32_t ended_core = core.pid != 0 ? 0 : core_record.pid.load();
  return mount_parts{std::move(directory), std::move(got.fuse), *std::move(fs),
                     *std::move(shared), *std::move(view), std::move(control),
                     there == nullptr ? std::string() : there->device,
                     *std::move(front_end_program), *std::move(core_program), true,
                     by_front_end ? std::move(got.link) : unique_fd(), std::move(front_end),
                     std::move(core), ended_core, {}};
}

bool is_in_mount_table(const std::string& mount_point) {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* there = find_mount(table, mount_point);
  return there != nullptr && there->type == mount_type;
}

}  // namespace

outcome<mount_parts> adopt_mount(watchdog_settings& s, const clock& time, kept_mount kept) {
  constexpr unsigned previous_wait_ms = 500;  // a watchdog that was just killed
  const std::string path = mount_run_dir(s.run_dir, s.name);
  if (!kept.fuse && ::access(path.c_str(), F_OK) != 0)
    return failure{cannot_adopt(s, "nothing to adopt: " + path + ": " + std::strerror(errno),
                                "is it mounted, with this run directory?")};
  outcome<run_dir> directory = run_dir::take(s.run_dir, s.name, previous_wait_ms);
  if (!directory) return failure{directory.error()};
  kept_mount got = ask_for_mount(*directory, "fs.sock");
  const bool by_front_end = static_cast<bool>(got.fuse);
  if (!by_front_end) got = kept.fuse ? std::move(kept) : ask_for_mount(*directory, "core.sock");
  if (!got.fuse) {
    const bool mounted = is_in_mount_table(s.mount_point);
    if (!mounted) directory->remove();
    return failure{cannot_adopt(
        s, mounted ? "neither its front end nor its core answers" : "nothing to adopt: not mounted",
        mounted ? "end it: tangelo umount -f " + s.mount_point : std::string())};
  }
  return put_together(s, time, *std::move(directory), std::move(got), by_front_end, {});
}

outcome<mount_parts> resume_mount(watchdog_settings& s, const clock& time) {
  // A child that ended meanwhile.
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  // Copies, so that the program before this one finds all of them again if we cannot go on.
  const auto copy = [](int fd) { return unique_fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3)); };
  resume_fds& from = s.inherited;
  kept_mount got{copy(from.link), copy(from.fuse), copy(from.arena), copy(from.shared)};
  unique_fd lock = copy(from.directory);
  unique_fd control = copy(from.control);
  if (!got.link || !got.fuse || !got.fs || !got.shared || !lock || !control)
    return failure{cannot_adopt(s, "--resume: a descriptor is missing", {})};
  outcome<mount_parts> parts =
      put_together(s, time, run_dir::inherited(s.run_dir, s.name, std::move(lock)),
                   std::move(got), true, std::move(control));
  if (!parts) return parts;
  parts->asker = copy(from.asker);
  for (int* fd : from.all())
    if (*fd > STDERR_FILENO) ::close(std::exchange(*fd, -1));
  return parts;
}

}  // namespace tangelo
