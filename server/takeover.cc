#include "server/takeover.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/clock.h"

namespace tangelo {

namespace {

constexpr int look_pause_ms = 50;
constexpr std::uint64_t standby_time_ns = 500 * ns_per_ms;  // a standby has taken it by then

failure<problem> no(exit_code code, const std::string& directory, std::string_view what,
                    std::string hint) {
  return failure{problem{code, fmt::format("{}: {}", directory, what), std::move(hint)}};
}

enum class lock_state : std::uint8_t { free, held, failed };

lock_state look_at(const std::string& path) {
  const unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? lock_state::free : lock_state::failed;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return lock_state::free;
  return errno == EWOULDBLOCK ? lock_state::held : lock_state::failed;
}

bool runs_here(const volume_holder& holder) {
  return holder.host == this_host() && ::kill(static_cast<pid_t>(holder.pid), 0) == 0;
}

// Until the lock is free, or another's. Nothing when neither comes in time.
std::optional<takeover_report> wait_for_lock(const std::string& directory,
                                             const superblock& block,
                                             const volume_holder& from, std::uint64_t wait_ms) {
  const system_clock time;
  const std::string path = lock_path(directory, block.lock_generation);
  const std::uint64_t until_ns = time.now_ns() + wait_ms * ns_per_ms;
  std::uint64_t free_until_ns = 0;  // once it has been seen free
  for (;;) {
    const std::optional<volume_holder> now = read_holder(directory, block.lock_generation);
    if (now && *now != from)
      return takeover_report{takeover_end::moved, from, now, block.lock_generation};
    if (free_until_ns == 0 && look_at(path) == lock_state::free)
      free_until_ns = time.now_ns() + standby_time_ns;
    if (free_until_ns != 0 && time.now_ns() >= free_until_ns)
      return takeover_report{takeover_end::freed, from, {}, block.lock_generation};
    if (free_until_ns == 0 && time.now_ns() >= until_ns) return std::nullopt;
    (void)::poll(nullptr, 0, look_pause_ms);  // a pause
  }
}

}  // namespace

outcome<takeover_report> take_over(const std::string& directory, const fence& run_fence,
                                   std::uint64_t wait_ms) {
  const unique_fd one_at_a_time(
      ::open((directory + "/takeover").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  outcome<superblock> block = read_superblock(directory);
  if (!block) return failure{block.error()};
  if (!one_at_a_time || ::flock(one_at_a_time.get(), LOCK_EX | LOCK_NB) != 0)
    return no(exit_code::store, directory,
              one_at_a_time ? "another takeover is under way" : std::strerror(errno),
              "wait for its end");
  const std::string path = lock_path(directory, block->lock_generation);
  const std::optional<volume_holder> holder = read_holder(directory, block->lock_generation);
  switch (look_at(path)) {
    case lock_state::held: break;
    case lock_state::free:
      return no(exit_code::failed, directory, "nobody holds it: there is nothing to take over",
                "start a server for it");
    case lock_state::failed:
      return no(exit_code::store, path, std::strerror(errno), "become the volume's owner, or root");
  }
  if (!holder)
    return no(exit_code::store, directory, "held, but its lock does not say by whom",
              "is a server just starting? Else end the holder by hand");
  const outcome<int> fenced = run_fence(*holder);
  if (!fenced) return failure{fenced.error()};
  if (*fenced != 0)
    return no(exit_code::failed, directory,
              fmt::format("the fence failed with exit code {}: {} may still write; nothing was "
                          "changed",
                          *fenced, text_of_holder(holder)),
              "its command must make sure that the holder is gone, and then exit with 0");
  if (std::optional<takeover_report> r = wait_for_lock(directory, *block, *holder, wait_ms); r)
    return *r;
  if (runs_here(*holder))
    return no(exit_code::failed, directory,
              fmt::format("the fence said that it is done, but process {} still runs and holds "
                          "the lock; nothing was changed",
                          holder->pid),
              "the fence must end that process, for example: kill -9 $TANGELO_HOLDER_PID");
  ++block->lock_generation;
  block->incompatible |= superblock_feature::lock_generation;
  if (const outcome<bool> written = write_superblock(directory, *block); !written)
    return failure{written.error()};
  return takeover_report{takeover_end::bypassed, *holder, {}, block->lock_generation};
}

std::string text_of_takeover(const std::string& directory, const takeover_report& r) {
  const std::string from = text_of_holder(r.from);
  switch (r.how) {
    case takeover_end::freed:
      return fmt::format("{}: taken from {}; it is free, and no standby server has taken it: "
                         "start a server", directory, from);
    case takeover_end::moved:
      return fmt::format("{}: taken from {}; now held by {}", directory, from,
                         text_of_holder(r.to));
    case takeover_end::bypassed:
      return fmt::format("{}: taken from {}; its lock stayed, so lock.{} counts from now on",
                         directory, from, r.lock_generation);
  }
  return {};
}

}  // namespace tangelo
