#include "watchdog/hang_detector.h"

#include <utility>

namespace tangelo {

pulse_verdict hang_detector::look(const pulse_look& now) noexcept {
  using enum pulse_verdict;
  const std::optional<std::uint64_t> ticks_before = std::exchange(cpu_ticks_, now.cpu_ticks);
  if (now.beats != beats_) {
    beats_ = now.beats;
    has_beaten_ = true;
    quiet_looks_ = 0;
    return beating;
  }
  if (now.state == 't') return traced;
  if (now.dumping_core && ++dumping_looks_ <= patient_looks_max) return dumping;
  const bool got_cpu = ticks_before && *ticks_before != now.cpu_ticks;
  if (now.state == 'R' && !got_cpu) return starved;
  ++quiet_looks_;
  const bool impatient = has_beaten_ || now.state == 'T';
  return quiet_looks_ >= (impatient ? quiet_looks_max : patient_looks_max) ? hung : quiet;
}

}  // namespace tangelo
