// snapshot: what the arena of a mount said at one moment, copied into plain values.
//
// Command line only. Nothing in an arena is believed: every number is bounded before it is used as
// one, every text is cut at its field and stripped of control characters, op records are taken
// only when their CRC matches. Reading leaves holes of the arena holes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/problem.h"
#include "cli/mounts.h"
#include "protocol/arena.h"
#include "protocol/policy.h"

namespace tangelo {

struct process_view {
  std::string_view role;
  std::uint32_t pid = 0;  // 0: not running
  std::uint64_t generation = 0;
  std::uint32_t restarts = 0;
  std::uint64_t uptime_ns = 0;
  std::uint64_t next_start_in_ns = 0;
  std::uint32_t last_status = 0;
  std::uint32_t hangs = 0;  // times that one was killed because it stood still
};

struct op_view {
  std::uint32_t index = 0;
  std::uint64_t xid = 0;
  std::string_view op;
  std::string_view state;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
  std::uint64_t age_ns = 0;
  std::uint32_t attempts = 0;
  std::uint32_t core_losses = 0;
  std::uint32_t pid = 0;
  std::string command;  // of the caller; empty when it has gone
  std::string name;     // in the directory `inode`, of an op about one
  std::string path;     // where it is known (op_paths.h): the caller of ops() fills it in
};

struct counter_view {
  std::string_view name;
  std::uint64_t value = 0;
};
inline constexpr std::size_t counter_count = 27;

struct core_view {
  std::string_view import_state;
  std::string address;
  std::string last_text;
  std::string_view last_down_reason;
  std::uint64_t boot_generation = 0;
  std::uint64_t last_committed = 0;
  std::uint32_t connection_count = 0;
  std::uint32_t sending = 0;
  std::uint32_t delayed = 0;
  std::uint64_t evictions = 0;  // in the life of the mount
  std::string eviction_text;    // why the last one
  std::uint64_t mismatches_healed = 0;  // core_metrics.h
  std::uint64_t mismatches_reported = 0;
  std::string mismatch_text;  // the last one; empty: there was none
};

// What the front end makes of the way to the server (protocol/device.h, path_state).
struct path_view {
  std::string_view state;
  std::uint64_t for_ns = 0;
  bool draining = false;
};

struct mount_view {
  mount_ref mount;
  bool supervised = false;  // its watchdog answers
  bool known = false;       // the arenas were there to be read: everything below holds
  std::string why_not;      // when not supervised
  std::string client_id;
  std::uint64_t incarnation = 0;
  std::uint64_t core_generation = 0;
  bool core_attached = false;
  std::uint32_t pending_ops = 0;
  std::array<process_view, process_role_count> processes{};
  core_view core;
  path_view path;
  mount_policy policy;
  std::uint64_t lease_left_ns = 0;
  std::array<counter_view, counter_count> counters{};
};

// /proc/PID/comm; empty when it has gone.
std::string command_of(std::uint32_t pid);

class arena_view {
 public:
  // From the watchdog, else from the front end; the failure is then what became of the watchdog.
  static constexpr int wait_ms = 2000;  // of both
  static outcome<arena_view> open(const std::string& run_root, const mount_ref& mount,
                                  int wait_ms_max = wait_ms);
  mount_view status(const mount_ref& mount, std::uint64_t now_ns) const;
  core_view core() const;
  mount_policy policy() const { return read_policy(fs_->watchdog.policy); }
  bool supervised() const noexcept { return silence_.text.empty(); }
  // Of the watchdog, when the front end answered for it.
  const problem& silence() const noexcept { return silence_; }
  const fs_arena& front_end() const noexcept { return *fs_; }
  const shared_arena& shared() const noexcept { return *shared_; }
  // Answered changes that are not known to be durable; also when the mount has ended meanwhile.
  // No more than there is room for.
  std::uint64_t undurable_count() const noexcept {
    return std::min<std::uint64_t>(fs_->counters.replays_kept.load(std::memory_order_relaxed),
                                   replay_count);
  }
  // Oldest first.
  std::vector<op_view> ops(std::uint64_t now_ns) const;

 private:
  arena_view(fs_arena_map fs, shared_arena_map shared, problem silence) noexcept
      : fs_(std::move(fs)), shared_(std::move(shared)), silence_(std::move(silence)) {}
  process_view process(process_role role, std::uint64_t now_ns) const;
  path_view path(std::uint64_t now_ns) const;

  fs_arena_map fs_;
  shared_arena_map shared_;
  problem silence_;
};

}  // namespace tangelo
