#include <sys/mount.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "base/mount_table.h"
#include "base/places.h"
#include "watchdog/fuse_mount.h"
#include "watchdog/identity.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

// A mount of ours may be there without its watchdog.
outcome<void> check_not_mounted(const watchdog_settings& s) {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* there = find_mount(table, s.mount_point);
  if (there == nullptr || there->type != mount_type) return {};
  return failure{problem{exit_code::failed,
                         s.mount_point + ": " + there->source + " is mounted here already, and "
                         "no watchdog serves it",
                         "take it away first: umount -l " + s.mount_point}};
}

std::string mount_file_of(const watchdog_settings& s) {
  std::string text = "version = 1\nname = " + toml_text(s.name) + "\nsource = " +
                     toml_text(s.source) + "\nmount_point = " + toml_text(s.mount_point) +
                     "\nwatchdog_pid = " + std::to_string(::getpid()) + "\noptions = [";
  for (std::size_t i = 0; i < s.options.words.size(); ++i)
    text += (i == 0 ? "" : ", ") + toml_text(s.options.words[i]);
  return text + "]\n";
}

template <std::size_t N>
void put_text(std::array<char, N>& field, const std::string& text) noexcept {
  std::memcpy(field.data(), text.data(), std::min(text.size(), N - 1));
}

outcome<program> find(std::string_view name, std::string_view folder) {
  std::string path = find_program(name, folder);
  if (path.empty())
    return failure{problem{exit_code::failed, std::string(name) + ": program not found",
                           "it belongs beside tangelo-watchdog; TANGELO_BIN_DIR can name another "
                           "directory"}};
  return open_program(std::move(path));
}

// Fills the watchdog's page; the front end does not run yet.
outcome<void> fill_page(const watchdog_settings& s, const clock& time, int fuse_fd,
                        watchdog_page& page) {
  outcome<client_identity> identity = next_identity(s.state_dir, s.name, time);
  if (!identity) return failure{identity.error()};
  page.client_id = identity->client_id;
  page.incarnation = identity->incarnation;
  put_text(page.mount_point, s.mount_point);
  put_text(page.source, s.source);
  process_record& own = page.processes[ordinal(process_role::watchdog)];
  own.pid.store(static_cast<std::uint32_t>(::getpid()));
  own.generation.store(1);
  own.started_ns.store(time.now_ns());
  return agree_on_init(fuse_fd, page);
}

struct prepared_arenas {
  fs_arena_map fs;
  unique_fd shared;
  shared_arena_map shared_view;
};

outcome<prepared_arenas> prepare_arenas() {
  outcome<arena_fds> fds = make_arenas();
  if (!fds) return failure{fds.error()};
  outcome<fs_arena_map> fs = fs_arena_map::map(std::move(fds->fs), arena_access::read_write);
  if (!fs) return failure{fs.error()};
  outcome<unique_fd> copy = read_only_copy(fds->shared.get());
  if (!copy) return failure{copy.error()};
  outcome<shared_arena_map> view =
      shared_arena_map::map(*std::move(copy), arena_access::read_only);
  if (!view) return failure{view.error()};
  return prepared_arenas{*std::move(fs), std::move(fds->shared), *std::move(view)};
}

}  // namespace

outcome<mount_parts> make_mount(const watchdog_settings& s, const clock& time) {
  constexpr unsigned previous_wait_ms = 5000;
  outcome<program> front_end = find("tangelo-fs", "fs");
  if (!front_end) return failure{front_end.error()};
  outcome<program> core = find("tangelo-core", "client_core");
  if (!core) return failure{core.error()};
  // One that is mounted will not end by itself; one that is not may be about to.
  const std::vector<mount_entry> before = read_mount_table();
  const mount_entry* there = find_mount(before, s.mount_point);
  const bool served = there != nullptr && there->type == mount_type;
  outcome<run_dir> directory =
      run_dir::take(s.run_dir, s.name, served ? 0 : previous_wait_ms);
  if (!directory) return failure{directory.error()};
  outcome<void> free = check_not_mounted(s);
  if (!free) return failure{free.error()};
  const auto fail = [&directory](const problem& p) {
    directory->remove();
    return failure{p};
  };
  outcome<void> written = directory->write_mount_file(mount_file_of(s));
  if (!written) return fail(written.error());
  outcome<unique_fd> control = directory->listen_at("control.sock");
  if (!control) return fail(control.error());
  outcome<prepared_arenas> arenas = prepare_arenas();
  if (!arenas) return fail(arenas.error());
  outcome<unique_fd> fuse = make_fuse_mount(s.source, s.mount_point, s.options);
  if (!fuse) return fail(fuse.error());
  outcome<void> filled = fill_page(s, time, fuse->get(), arenas->fs->watchdog);
  if (!filled) {
    fuse->reset();
    ::umount2(s.mount_point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    return fail(filled.error());
  }
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* ours = find_mount(table, s.mount_point);
  log_notice("{} mounted on {}", s.source, s.mount_point);
  return mount_parts{*std::move(directory), *std::move(fuse), std::move(arenas->fs),
                     std::move(arenas->shared), std::move(arenas->shared_view),
                     *std::move(control), ours == nullptr ? std::string() : ours->device,
                     *std::move(front_end), *std::move(core)};
}

}  // namespace tangelo
