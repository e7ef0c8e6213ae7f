// world: one mount and its server in one process, in virtual time, from one seed.
//
// Everything between the system call and the disk is the product's own code: front end, core,
// session, channel, export, volume. Substituted are the kernel (fake_kernel), the fabric (loop
// provider), the disk (mem_kv, mem_objects) and the processes: a front end, a core or a server is
// an object that is destroyed at any step and made again, with nothing but the arena or the store
// left. A watchdog is only its absence: nobody is started again while it is away.
//
// A step is one turn of the front end, one turn of the core, or one event of the scheduler, in
// that order; so step N of one seed is always the same moment. A front end can also die in the
// middle of its turn (die_here): it runs on to the end of it, but nothing of that counts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client_core/core.h"
#include "rdma/export.h"
#include "rdma/loop/loop_network.h"
#include "server/mem_kv.h"
#include "server/mem_objects.h"
#include "server/virtual_workers.h"
#include "server/volume.h"
#include "tests/sim/store_trap.h"
#include "tests/unit/front_end_fixture.h"

namespace tangelo::sim {

struct world_options {
  std::uint64_t seed = 1;
  bool keep_reply_records = true;
  std::uint64_t core_down_ns = ns_per_ms;  // from the end of a core to the attach of the next
  std::uint64_t server_down_ns = 50 * ns_per_ms;
  std::uint64_t front_end_down_ns = ns_per_ms;  // from its end to the start of the next
  std::uint64_t watchdog_down_ns = 20 * ns_per_ms;
  bool kernel_resends = true;
  mount_policy policy;
  // False: the core dies with its front end. True: when the next one is about to start.
  bool core_outlives_front_end = false;
};

enum class victim : std::uint8_t { core, front_end, watchdog, server, connection };
inline constexpr std::size_t victim_count = 5;
constexpr std::string_view name_of(victim v) noexcept {
  switch (v) {
    using enum victim;
    case core: return "core";
    case front_end: return "front end";
    case watchdog: return "watchdog";
    case server: return "server";
    case connection: return "connection";
  }
  return {};
}

class world {
 public:
  explicit world(world_options options = {});
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  void step();
  std::uint64_t step_count() const { return steps_; }

  // SIGKILL (or a cut): nothing of it is left but arena or store. The next one comes by itself.
  void kill(victim v);
  void kill_core();
  void kill_front_end();
  void kill_watchdog();
  void crash_server() { power_cut(SIZE_MAX, true); }
  void abort_callers();
  // From inside one of the front end's calls: it is dead from here on.
  void die_here();
  // It dies in the `n`th call to the kernel from now on, from 1.
  void die_at_call(std::uint64_t n, fake_kernel::moment when);
  // It dies at the `n`th store into its arena from now on, from 1. 0: they are only counted.
  void die_at_store(std::uint64_t n);
  std::uint64_t store_count() const { return stores_ ? stores_->count() : 0; }
  // The mount has ended: the core takes leave of the server. True once that is done.
  void leave();
  bool left() const { return left_; }
  // The server's machine loses power: what was not flushed is gone, but for `extra` batches.
  void power_cut(std::size_t extra, bool keep_unflushed);

  fake_kernel kernel;
  fake_callers callers;
  std::uint64_t next_unique() { return unique_ += 2; }
  loop_network& network() { return *network_; }
  fs_arena& arena() { return *arenas_->fs; }
  mapped_arenas& arenas() { return *arenas_; }
  const fs_counters& counters() const { return arenas_->fs->counters; }
  // Ops whose fate is not known yet, as the arena says.
  std::size_t pending_count() const { return arenas_->fs->pending_ops.load(); }
  std::uint64_t front_end_count() const { return front_ends_; }
  std::uint64_t kernel_call_count() const { return kernel_calls_; }
  bool has_core() const { return core_ != nullptr; }
  bool has_front_end() const { return fs_ != nullptr; }
  path_state path() const { return static_cast<path_state>(arenas_->fs->pulse.path.load()); }
  bool has_watchdog() const { return has_watchdog_; }
  bool has_server() const { return volume_ != nullptr; }
  volume_status server_status() const { return volume_->status(); }
  std::uint64_t duplicate_effects() const {
    return duplicates_ + volume_->status().duplicate_effects;
  }
  std::uint64_t executed() const { return executed_ + volume_->status().executed; }
  virtual_scheduler& time() { return time_; }

 private:
  void start_server();
  void end_server();
  void start_core();
  void start_front_end();
  void bury_front_end();
  void core_is_missing(std::uint64_t for_ns);
  // Runs what the front end does, and buries it if it has died of it.
  template <class F>
  void as_front_end(F does);
  void turn_front_end();
  void turn_core();
  void on_kernel_call(fake_kernel::moment when);

  world_options options_;
  virtual_scheduler time_;
  std::unique_ptr<loop_network> network_;
  mem_kv kv_;
  mem_objects objects_{time_};
  std::unique_ptr<virtual_workers> pool_, committer_;
  std::unique_ptr<volume> volume_;
  std::unique_ptr<export_host> exports_;
  std::unique_ptr<listener> listener_;
  std::uint64_t duplicates_ = 0;
  std::uint64_t executed_ = 0;

  std::unique_ptr<mapped_arenas> arenas_;
  fake_bell core_bell_;
  std::unique_ptr<front_end> fs_;
  std::unique_ptr<core> core_;
  bool has_watchdog_ = true;
  bool core_due_ = false;
  bool front_end_due_ = false;
  bool dying_ = false;  // the front end died inside the call that is running
  std::uint64_t next_caller_check_ns_ = 0;
  std::uint64_t front_ends_ = 0;
  std::uint64_t kernel_calls_ = 0;
  std::uint64_t fatal_call_ = 0;  // 0: none
  fake_kernel::moment fatal_moment_{};
  std::unique_ptr<store_trap> stores_;
  bool left_ = false;
  std::uint64_t steps_ = 0;
  std::uint64_t unique_ = 0;
};

}  // namespace tangelo::sim
