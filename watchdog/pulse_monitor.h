// pulse_monitor: looks after one child by its heartbeat, every look_period_ns.
//
// Owned by the watchdog, which calls look() on the loop thread and acts on what is found. It reads
// the child's beats in the arena and /proc, decides with a hang_detector, and after a SIGKILL sees
// whether the process can still come back to user mode.
#pragma once

#include "protocol/device.h"
#include "watchdog/child.h"
#include "watchdog/hang_detector.h"

namespace tangelo {

inline constexpr std::uint64_t look_period_ns = beat_period_ns;

class pulse_monitor {
 public:
  enum class finding : std::uint8_t {
    fine,   // or not there
    hung,   // to be killed
    stuck,  // it was killed, does not end, and cannot run any more
  };

  // Both must outlive the monitor.
  pulse_monitor(const supervised_child& child, const atomic_u64& beats) noexcept
      : child_(child), beats_(beats) {}

  finding look() noexcept;
  // What the last look found, for the log: "state S in pipe_read".
  std::string last_sight() const;
  // It has beaten in its life, and at the last look.
  bool is_well() const noexcept { return well_; }

 private:
  finding look_at_killed(pid_t pid) noexcept;

  const supervised_child& child_;
  const atomic_u64& beats_;
  hang_detector detector_;
  std::uint64_t start_ = 0;  // which start of the child the detector knows
  char state_ = '?';
  bool well_ = false;
  bool said_traced_ = false;
  unsigned stuck_looks_ = 0;
};

}  // namespace tangelo
