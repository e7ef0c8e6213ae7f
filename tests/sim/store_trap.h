// store_trap: stops the world at each store that a front end makes into its arena, so that it can
// be killed between any two of them.
//
// While armed, the arena is write-protected. A store faults, is counted, is let through with the
// processor in single-step mode, and the page is protected again behind it. Before the store that
// was named, the trap calls the world and lets everything through: the front end is dead by then.
// Stores to the counters are not counted, nobody's fate hangs on them.
//
// One at a time, on the thread that writes; x86-64 Linux, else is_possible() is false.
#pragma once

#include <cstdint>
#include <functional>

#include "protocol/device.h"

namespace tangelo::sim {

class store_trap {
 public:
  static bool is_possible();

  // `at_store`: called from a signal handler, before the `fatal`th store from now on (from 1);
  // 0: never.
  store_trap(fs_arena& arena, std::uint64_t fatal, std::function<void()> at_store);
  ~store_trap();
  store_trap(const store_trap&) = delete;
  store_trap& operator=(const store_trap&) = delete;

  // The front end is running from arm() to disarm().
  void arm();
  void disarm();
  std::uint64_t count() const { return count_; }

  // For the signal handlers. False: the fault is none of ours.
  bool on_fault(void* address, void* context);
  bool on_step(void* context);

 private:
  static constexpr std::size_t opened_max = 8;
  void protect(bool on);
  bool is_counted(const std::byte* address) const;

  fs_arena& arena_;
  std::byte* begin_;
  std::byte* end_;
  std::uint64_t fatal_;
  std::function<void()> at_store_;
  std::uint64_t count_ = 0;
  std::byte* opened_[opened_max]{};  // pages that a store is let through to
  std::size_t opened_count_ = 0;
  bool armed_ = false;
};

}  // namespace tangelo::sim
