// served_volume: one volume that this process holds: its lock, its stores and the filesystem on
// them, made in two steps.
//
// open_store() holds the volume and opens its metadata, which may take long after a crash; it may
// run on any thread. The constructor's part, start(), is for the loop thread: it raises the boot
// generation and does again what a crash left undone.
//
// Invariants:
//   1. Nothing in the volume is read or written by this process before it holds the lock.
//   2. A process whose lock was bypassed by a takeover ends before it flushes its log again, and
//      within two seconds at the latest once it runs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/loop.h"
#include "base/problem.h"
#include "server/config.h"
#include "server/thread_workers.h"
#include "server/volume.h"
#include "server/volume_directory.h"

namespace tangelo {

// A volume that is held, with its metadata open.
struct opened_store {
  std::unique_ptr<volume_hold> hold;  // before kv, which asks it
  std::unique_ptr<kv_store> kv;
};
// Nothing while the volume is another's.
outcome<std::optional<opened_store>> try_open_store(const std::string& directory);
// Refuses when it is another's.
outcome<opened_store> open_store(const std::string& directory);

class served_volume {
 public:
  // All four must outlive it, the pool its last job.
  static outcome<std::unique_ptr<served_volume>> start(const volume_config& what,
                                                       opened_store store,
                                                       volume_options options, loop& home,
                                                       workers& pool);
  ~served_volume();
  served_volume(const served_volume&) = delete;
  served_volume& operator=(const served_volume&) = delete;

  const std::string& name() const noexcept { return what_.name; }
  const std::string& directory() const noexcept { return what_.path; }
  volume& files() noexcept { return *files_; }
  const volume_hold& hold() const noexcept { return *store_.hold; }

 private:
  served_volume(const volume_config& what, opened_store store, loop& home, workers& pool);
  void watch_hold();

  const volume_config what_;
  loop& home_;
  workers& pool_;
  opened_store store_;
  std::unique_ptr<object_store> objects_;
  std::unique_ptr<thread_workers> committer_;
  std::unique_ptr<volume> files_;
  timer_id watch_timer_ = 0;
};

}  // namespace tangelo
