// world: any number of mounts and their server in one process, in virtual time, from one seed.
//
// Everything between the system call and the disk is the product's own code: front end, core,
// session, channel, export, volume. Substituted are the kernel (fake_kernel), the fabric (loop
// provider), the disk (mem_kv, mem_objects) and the processes (mount.h, server_box.h).
//
// A step is one turn of a front end, one turn of its core, or one event of the scheduler, mount
// after mount; so step N of one seed is always the same moment.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/mount.h"
#include "tests/sim/server_box.h"

namespace tangelo::sim {

// Of all the mounts, and of the server.
struct world_options {
  std::uint64_t seed = 1;
  bool keep_reply_records = true;  // false, as the next three: a rule is dropped
  bool commit_on_share = true;
  bool cursor_by_boot = true;
  bool overlap_rule = true;
  std::uint64_t core_down_ns = ns_per_ms;
  std::uint64_t server_down_ns = 50 * ns_per_ms;
  std::uint64_t front_end_down_ns = ns_per_ms;
  std::uint64_t watchdog_down_ns = 20 * ns_per_ms;
  bool kernel_resends = true;
  mount_policy policy;
  bool core_outlives_front_end = false;
  std::size_t mounts = 1;
  bool knows_backup = false;
  export_options sessions;
};

// Who can be killed; `power` is the server's, with all that was not flushed.
enum class victim : std::uint8_t { core, front_end, watchdog, server, connection, power };
inline constexpr std::size_t victim_count = 6;
constexpr std::string_view name_of(victim v) noexcept {
  switch (v) {
    using enum victim;
    case core: return "core";
    case front_end: return "front end";
    case watchdog: return "watchdog";
    case server: return "server";
    case connection: return "connection";
    case power: return "power";
  }
  return {};
}

class world {
  // In front of `kernel`, which is one of them.
  virtual_scheduler time_;
  std::vector<std::unique_ptr<mount>> mounts_;

 public:
  explicit world(world_options options = {});
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  void step();
  std::uint64_t step_count() const { return steps_; }
  // Steps until `done` says so, and not longer than `limit_ns`; what `done` says.
  template <class Done>
  bool step_until(Done done, std::uint64_t limit_ns = 600 * ns_per_s) {
    const std::uint64_t end = time_.now_ns() + limit_ns;
    while (!done()) {
      if (time_.now_ns() >= end) return false;
      step();
    }
    return true;
  }

  mount& at(std::size_t i) { return *mounts_[i]; }
  std::size_t mount_count() const { return mounts_.size(); }
  server_box& server() { return server_; }
  virtual_scheduler& time() { return time_; }

  // The next one comes by itself.
  void kill(victim v, std::size_t i = 0);
  void crash_server() { server_.kill(); }
  // The server's machine loses power: what was not flushed is gone, but for `extra` batches.
  void power_cut(std::size_t extra, bool keep_unflushed) {
    server_.power_cut(extra, keep_unflushed);
  }
  // Nobody waits, everything is durable and nothing is kept for the case that it is not.
  bool at_rest();

  // ---- of the first mount
  fake_kernel& kernel;
  void kill_core() { at(0).kill_core(); }
  void kill_front_end() { at(0).kill_front_end(); }
  void kill_watchdog() { at(0).kill_watchdog(); }
  void abort_callers() { at(0).abort_callers(); }
  void die_at_call(std::uint64_t n, fake_kernel::moment when) { at(0).die_at_call(n, when); }
  void die_at_store(std::uint64_t n) { at(0).die_at_store(n); }
  std::uint64_t store_count() const { return mounts_[0]->store_count(); }
  void leave() { at(0).leave(); }
  bool left() const { return mounts_[0]->left(); }
  loop_network& network() { return at(0).network(); }
  fs_arena& arena() { return at(0).arena(); }
  const fs_counters& counters() const { return mounts_[0]->counters(); }
  std::size_t pending_count() const { return mounts_[0]->pending_count(); }
  std::uint64_t front_end_count() const { return mounts_[0]->front_end_count(); }
  std::uint64_t kernel_call_count() const { return mounts_[0]->kernel_call_count(); }
  bool has_core() const { return mounts_[0]->has_core(); }
  bool has_front_end() const { return mounts_[0]->has_front_end(); }
  path_state path() const { return mounts_[0]->path(); }

  bool has_server() const { return server_.is_up(); }
  volume_status server_status() const { return server_.status(); }
  std::uint64_t duplicate_effects() const { return server_.duplicate_effects(); }
  std::uint64_t executed() const { return server_.executed(); }

 private:
  server_box server_;
  std::uint64_t steps_ = 0;
};

}  // namespace tangelo::sim
