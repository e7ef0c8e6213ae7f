// hang_detector: decides from looks at a process whether it stands still or only has to wait.
//
// Pure: one look after the other comes in, a verdict goes out. It counts looks, never time, since
// the machine may have been suspended or the watchdog itself stopped meanwhile.
//
// A process is hung when its beats did not move on four looks in a row. A look does not count when
// the process wanted to run and got no CPU since the look before (it is starved, not hung), while
// a debugger holds it, or while its core is dumped (for at most ten seconds of looks). A process
// that has not beaten since its start has ten seconds to begin, unless somebody stopped it.
#pragma once

#include <cstdint>
#include <optional>

namespace tangelo {

struct pulse_look {
  std::uint64_t beats = 0;
  char state = '?';             // as in proc_view.h
  std::uint64_t cpu_ticks = 0;
  bool dumping_core = false;
};

enum class pulse_verdict : std::uint8_t {
  beating,
  quiet,    // no beat since the last look
  starved,  // no beat and no CPU to make one
  traced,   // a debugger holds it
  dumping,  // its core is being dumped
  hung,
};

class hang_detector {
 public:
  static constexpr unsigned quiet_looks_max = 4;
  static constexpr unsigned patient_looks_max = 50;  // before the first beat, or during a dump

  // A new process; `beats` is where the one before it left the counter.
  explicit hang_detector(std::uint64_t beats = 0) noexcept : beats_(beats) {}

  pulse_verdict look(const pulse_look& now) noexcept;
  // As seen by the last look.
  std::uint64_t beats() const noexcept { return beats_; }

 private:
  std::uint64_t beats_;
  bool has_beaten_ = false;
  unsigned quiet_looks_ = 0;
  unsigned dumping_looks_ = 0;
  std::optional<std::uint64_t> cpu_ticks_;
};

}  // namespace tangelo
