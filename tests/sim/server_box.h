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
#include "server/volume.h"
#include "tests/sim/taps.h"

namespace tangelo::sim {

// Where servers listen: a failover moves from one to the other.
inline constexpr std::string_view server_addresses[] = {"server:7471", "backup:7471"};

struct server_options {
  std::uint64_t down_ns = 50 * ns_per_ms;  // from its end to the start of the next one
  bool keep_reply_records = true;
  bool commit_on_share = true;
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
  // `extra` batches behind the last flush survive, if another flush is under way.
  void power_cut(std::size_t extra, bool keep_objects) {
    end(extra, keep_objects ? objects_fate::kept : objects_fate::lost);
  }
  // The store is taken over at the other address by another server, while this one lives and keeps
  // its connections. It is fenced: it ends when it flushes next, and nothing that it does reaches
  // the store.
  void fail_over();
  // Buries a server that died at one of its taps. After each step.
  void look();
  // Asked in this life and in all later ones, until it is set to nothing.
  void set_judge(judge j) { judge_ = std::move(j); }
  // The same for a death at a tap.
  void set_extra_at_tap(std::size_t extra) { extra_at_tap_ = extra; }
  // Flushes of the log take for ever from now on, in this life: a replay barrier.
  void hold_commits() { now_->committer.set_delay_ns(100'000 * ns_per_s); }
  void slow_commits(std::uint64_t each_ns) { now_->committer.set_delay_ns(each_ns); }
  bool is_syncing() const { return now_ != nullptr && now_->life.is_syncing(); }
  // No window is open, nothing is being done, and all that has been written is flushed.
  bool is_at_rest() const {
    return is_up() && kv_->unsynced() == 0 && now_->fs->status().running == 0 &&
           !now_->sessions->recovering();
  }
  void release_held() {
    if (now_) now_->life.release();
  }
  // The store as it is, and later: a server that is down is started on that again.
  void take_snapshot();
  void restore_snapshot();

  bool is_up() const { return now_ != nullptr; }
  bool has_zombie() const { return zombie_ != nullptr; }
  volume_status status() const { return now_->fs->status(); }
  export_host& sessions() { return *now_->sessions; }
  std::uint64_t starts() const { return starts_; }
  std::uint64_t duplicate_effects() const;
  std::uint64_t executed() const;
  mem_kv& kv() { return *kv_; }
  mem_objects& objects() { return *objects_; }

 private:
  enum class objects_fate : std::uint8_t { kept, lost };
  // One server process.
  struct process {
    process(virtual_scheduler& time, mem_kv& kv, mem_objects& objects, judge& j)
        : life(kv, j), store(kv, life), files(objects, life), pool(time), committer(time, life) {}
    server_life life;
    tapped_kv store;
    tapped_objects files;
    virtual_workers pool;
    tapped_committer committer;
    std::unique_ptr<volume> fs;
    std::unique_ptr<export_host> sessions;
    std::vector<std::unique_ptr<listener>> listeners;
  };
  void end(std::size_t extra, objects_fate objects);
  void bury(std::unique_ptr<process>& p);

  virtual_scheduler& time_;
  server_options options_;
  std::vector<loop_network*> networks_;
  std::unique_ptr<mem_kv> kv_ = std::make_unique<mem_kv>();
  std::unique_ptr<mem_objects> objects_;
  // What a zombie believes to be the store, and others that calls may still be under way to.
  std::vector<std::unique_ptr<mem_kv>> old_kv_;
  std::vector<std::unique_ptr<mem_objects>> old_objects_;
  std::unique_ptr<mem_kv> snapshot_kv_;
  std::unique_ptr<mem_objects> snapshot_objects_;
  judge judge_;
  judge zombie_judge_;
  std::size_t extra_at_tap_ = 0;
  std::unique_ptr<process> now_;
  std::unique_ptr<process> zombie_;
  std::size_t address_ = 0;
  std::uint64_t starts_ = 0;
  std::uint64_t duplicates_ = 0;  // of earlier lives
  std::uint64_t executed_ = 0;
};

}  // namespace tangelo::sim
