#include <sys/mount.h>
#include <unistd.h>

#include <cstring>

#include "base/fusermount.h"
#include "base/log.h"
#include "base/mount_table.h"
#include "base/secret.h"
#include "protocol/policy.h"
#include "watchdog/fuse_mount.h"
#include "watchdog/identity.h"
#include "watchdog/mount_file.h"
#include "watchdog/own_record.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

// The source of a mount of ours that is there; empty: none is.
std::string mounted_source(const watchdog_settings& s) {
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* there = find_mount(table, s.mount_point);
  return there != nullptr && there->type == mount_type ? there->source : std::string();
}

// A mount of ours may be there without its watchdog.
outcome<void> check_not_mounted(const watchdog_settings& s) {
  const std::string there = mounted_source(s);
  if (there.empty()) return {};
  return failure{problem{exit_code::failed,
                         s.mount_point + ": " + there + " is mounted here already, and "
                         "no watchdog serves it",
                         "give it one again: tangelo watchdog --adopt " + s.mount_point +
                             ", or end it: tangelo umount -f " + s.mount_point}};
}

template <std::size_t N>
void put_text(std::array<char, N>& field, const std::string& text) noexcept {
  std::memcpy(field.data(), text.data(), std::min(text.size(), N - 1));
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
  write_policy(page.policy, s.options.policy);
  write_cache_policy(page.policy, s.options.caching);
  write_own_record(page, time);
  return agree_on_init(fuse_fd, page, s.options);
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
  outcome<shared_arena_map> view = map_read_only(fds->shared.get());
  if (!view) return failure{view.error()};
  return prepared_arenas{*std::move(fs), std::move(fds->shared), *std::move(view)};
}

// Also what is in it: a mount that could never connect is not made.
outcome<unique_fd> take_secret(const std::string& path) {
  if (path.empty()) return unique_fd();
  outcome<unique_fd> file = open_secret(path);
  if (!file) return file;
  const outcome<secret> content = read_secret(file->get(), path);
  if (!content) return failure{content.error()};
  return file;
}

}  // namespace

outcome<mount_parts> make_mount(const watchdog_settings& s, const clock& time) {
  constexpr unsigned previous_wait_ms = 5000;
  outcome<program> front_end = find_installed("tangelo-fs", "fs");
  if (!front_end) return failure{front_end.error()};
  outcome<program> core = find_installed("tangelo-core", "client_core");
  if (!core) return failure{core.error()};
  outcome<unique_fd> secret_file = take_secret(s.options.core.secret_file);
  if (!secret_file) return failure{secret_file.error()};
  // One that is mounted will not end by itself; one that is not may be about to.
  outcome<run_dir> directory =
      run_dir::take(s.run_dir, s.name, previous_wait_ms,
                    [&s] { return !mounted_source(s).empty(); });
  if (!directory) return failure{directory.error()};
  outcome<void> free = check_not_mounted(s);
  if (!free) return failure{free.error()};
  const auto fail = [&directory](const problem& p) {
    directory->remove();
    return failure{p};
  };
  outcome<void> written = directory->write_mount_file(mount_file_text(s, s.options.policy));
  if (!written) return fail(written.error());
  outcome<unique_fd> control = directory->listen_at("control.sock");
  if (!control) return fail(control.error());
  outcome<prepared_arenas> arenas = prepare_arenas();
  if (!arenas) return fail(arenas.error());
  outcome<unique_fd> fuse = make_fuse_mount(
      s.source, s.through.empty() ? s.mount_point : s.through, s.options);
  if (!fuse) return fail(fuse.error());
  outcome<void> filled = fill_page(s, time, fuse->get(), arenas->fs->watchdog);
  if (!filled) {
    fuse->reset();
    unmount_fuse(s.mount_point, {}, MNT_DETACH);
    return fail(filled.error());
  }
  const std::vector<mount_entry> table = read_mount_table();
  const mount_entry* ours = find_mount(table, s.mount_point);
  log_notice("{} mounted on {}", s.source, s.mount_point);
  return mount_parts{*std::move(directory), *std::move(fuse), std::move(arenas->fs),
                     std::move(arenas->shared), std::move(arenas->shared_view),
                     *std::move(control), ours == nullptr ? std::string() : ours->device,
                     *std::move(front_end), *std::move(core), false, {}, {}, {}, 0, {},
                     *std::move(secret_file)};
}

}  // namespace tangelo
