// mount: one mount of a simulated world: a kernel, a front end, a core, a watchdog, on arenas of
// its own and with a network of its own to the server.
//
// A front end or a core is an object that is destroyed at any step and made again, with nothing but
// the arenas left. A watchdog is only its absence: nobody is started again while it is away. A
// front end can also die in the middle of its turn (die_here): it runs on to the end of it, but
// nothing of that counts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client_core/core.h"
#include "rdma/loop/loop_network.h"
#include "tests/sim/store_trap.h"
#include "tests/unit/front_end_fixture.h"

namespace tangelo::sim {

struct mount_options {
  std::uint64_t seed = 1;
  std::uint64_t core_down_ns = ns_per_ms;  // from the end of a core to the attach of the next
  std::uint64_t front_end_down_ns = ns_per_ms;  // from its end to the start of the next
  std::uint64_t watchdog_down_ns = 20 * ns_per_ms;
  bool kernel_resends = true;
  mount_policy policy;
  // False: the core dies with its front end. True: when the next one is about to start.
  bool core_outlives_front_end = false;
  bool knows_backup = false;  // the server's other address
  bool cursor_by_boot = true;
  bool overlap_rule = true;
};

class mount {
 public:
  // `number`: of this mount, from 0: it makes its identity.
  mount(virtual_scheduler& time, mount_options options, std::uint32_t number);
  ~mount();
  mount(const mount&) = delete;
  mount& operator=(const mount&) = delete;

  // Front end and core begin; before that only its network is there.
  void start();
  void turn_front_end();
  void turn_core();

  // SIGKILL: nothing of it is left but the arenas. The next one comes by itself.
  void kill_core();
  void kill_front_end();
  void kill_watchdog();
  void abort_callers();
  // The whole client is gone, without a word to the server and for ever.
  void vanish();
  // A new mount in its place: another incarnation, empty arenas, another kernel.
  void remount();
  // Everything between it and the server is lost without a sign, until it ends.
  void partition(bool on) { network_.swallow_all(on); }
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

  fake_kernel kernel;
  fake_callers callers;
  std::uint64_t next_unique() { return unique_ += 2; }
  loop_network& network() { return network_; }
  fs_arena& arena() { return *arenas_->fs; }
  mapped_arenas& arenas() { return *arenas_; }
  const fs_counters& counters() const { return arenas_->fs->counters; }
  // Ops whose fate is not known yet, as the arena says.
  std::size_t pending_count() const { return arenas_->fs->pending_ops.load(); }
  // Changes in the replay log.
  std::size_t replay_count() const;
  std::uint32_t connection_count() const { return arenas_->shared->core.connection_count.load(); }
  std::uint64_t front_end_count() const { return front_ends_; }
  std::uint64_t kernel_call_count() const { return kernel_calls_; }
  bool has_core() const { return core_ != nullptr; }
  bool has_front_end() const { return fs_ != nullptr; }
  bool has_watchdog() const { return has_watchdog_; }
  bool is_gone() const { return gone_; }
  path_state path() const { return static_cast<path_state>(arenas_->fs->pulse.path.load()); }

 private:
  void start_core();
  void start_front_end();
  void bury_front_end();
  void core_is_missing(std::uint64_t for_ns);
  void fill_arena();
  // Runs what the front end does, and buries it if it has died of it.
  template <class F>
  void as_front_end(F does);
  void on_kernel_call(fake_kernel::moment when);

  mount_options options_;
  std::uint32_t number_;
  std::uint64_t incarnation_ = 7;
  virtual_scheduler& time_;
  loop_network network_;
  std::unique_ptr<mapped_arenas> arenas_;
  fake_bell core_bell_;
  std::unique_ptr<front_end> fs_;
  std::unique_ptr<core> core_;
  bool has_watchdog_ = true;
  bool gone_ = false;
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
  std::uint64_t unique_ = 0;
};

}  // namespace tangelo::sim
