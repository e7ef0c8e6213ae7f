// world: one mount and its server in one process, in virtual time, from one seed.
//
// Everything between the system call and the disk is the product's own code: front end, core,
// session, channel, export, volume. Substituted are the kernel (fake_kernel), the fabric (loop
// provider), the disk (mem_kv, mem_objects) and the processes: a core or a server is an object
// that is destroyed at any step and made again, with nothing but the arena or the store left.
//
// A step is one turn of the front end, one turn of the core, or one event of the scheduler, in
// that order; so step N of one seed is always the same moment.
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
#include "tests/unit/front_end_fixture.h"

namespace tangelo::sim {

struct world_options {
  std::uint64_t seed = 1;
  bool keep_reply_records = true;
  std::uint64_t core_down_ns = ns_per_ms;  // from the end of a core to the attach of the next
  std::uint64_t server_down_ns = 50 * ns_per_ms;
};

class world {
 public:
  explicit world(world_options options = {});
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  void step();
  std::uint64_t step_count() const { return steps_; }

  // SIGKILL: nothing of it is left but the arena. The next one comes a few steps later.
  void kill_core();
  // The mount has ended: the core takes leave of the server. True once that is done.
  void leave();
  bool left() const { return left_; }
  // The server's machine loses power: what was not flushed is gone, but for `extra` batches.
  void power_cut(std::size_t extra, bool keep_unflushed);

  fake_kernel kernel;
  fake_callers callers;
  std::uint64_t next_unique() { return unique_ += 2; }
  loop_network& network() { return *network_; }
  front_end& fs() { return *fs_; }
  const fs_counters& counters() const { return arenas_.fs->counters; }
  bool has_core() const { return core_ != nullptr; }
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

  mapped_arenas arenas_ = mapped_arenas::make();
  fake_bell core_bell_;
  std::unique_ptr<front_end> fs_;
  std::unique_ptr<core> core_;
  bool core_due_ = false;
  bool left_ = false;
  std::uint64_t steps_ = 0;
  std::uint64_t unique_ = 0;
};

}  // namespace tangelo::sim
