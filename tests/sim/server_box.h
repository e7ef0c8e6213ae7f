// server_box: the servers of a simulated world and the store that outlives them.
//
// A server is destroyed at any step and made again from what its store has kept: kill() is SIGKILL
// (what was in the log's memory and not flushed is gone, object files keep what was written to
// them), power_cut() takes what was not flushed, in whole or in part. Each mount reaches the server
// over a network of its own, so that a partition is one network that swallows everything.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "rdma/export.h"
#include "rdma/loop/loop_network.h"
#include "server/virtual_workers.h"
#include "server/volume.h"
#include "tests/sim/taps.h"

namespace tangelo::sim {

inline constexpr std::string_view server_address = "server:7471";

struct server_options {
  std::uint64_t down_ns = 50 * ns_per_ms;  // from its end to the start of the next one
  bool keep_reply_records = true;
  export_options sessions;
  std::uint64_t sync_ns = 100 * ns_per_us;  // what a flush of the log takes
};

class server_box {
 public:
  server_box(virtual_scheduler& time, server_options options);
  ~server_box();
  server_box(const server_box&) = delete;
  server_box& operator=(const server_box&) = delete;

  // Before start(): a network on which it listens.
  void add_network(loop_network& network) { networks_.push_back(&network); }
  void start();
  void kill() { end(0, objects_fate::kept); }
  // `extra` batches behind the last flush survive, of those that were written.
  void power_cut(std::size_t extra, bool keep_objects) {
    end(extra, keep_objects ? objects_fate::kept : objects_fate::lost);
  }
  // Buries a server that died at one of its taps. After each step.
  void look() {
    if (life_ != nullptr && life_->dead()) end(extra_at_tap_, objects_fate::kept);
  }
  // The judge of this life and of all later ones, until it is set to nothing.
  void set_judge(judge j) { judge_ = std::move(j); }
  // How many unflushed batches survive a death at a tap.
  void set_extra_at_tap(std::size_t extra) { extra_at_tap_ = extra; }
  // Flushes of the log take for ever from now on, in this life: a replay barrier.
  void hold_commits() { committer_->set_delay_ns(100'000 * ns_per_s); }
  // Is what has been written also flushed?
  bool is_committed() const { return kv_.unsynced() == 0; }
  void release_held() { life_->release(); }

  bool is_up() const { return volume_ != nullptr; }
  volume_status status() const { return volume_->status(); }
  export_host& sessions() { return *exports_; }
  std::uint64_t starts() const { return starts_; }
  std::uint64_t duplicate_effects() const;
  std::uint64_t executed() const;
  mem_kv& kv() { return kv_; }
  mem_objects& objects() { return objects_; }

 private:
  enum class objects_fate : std::uint8_t { kept, lost };
  void end(std::size_t extra, objects_fate objects);
  void stop();

  virtual_scheduler& time_;
  server_options options_;
  std::vector<loop_network*> networks_;
  mem_kv kv_;
  mem_objects objects_;
  judge judge_;
  std::size_t extra_at_tap_ = 0;
  std::unique_ptr<server_life> life_;
  std::unique_ptr<tapped_kv> life_kv_;
  std::unique_ptr<tapped_objects> life_objects_;
  std::unique_ptr<virtual_workers> pool_, committer_;
  std::unique_ptr<volume> volume_;
  std::unique_ptr<export_host> exports_;
  std::vector<std::unique_ptr<listener>> listeners_;
  std::uint64_t starts_ = 0;
  std::uint64_t duplicates_ = 0;  // of earlier lives
  std::uint64_t executed_ = 0;
};

}  // namespace tangelo::sim
