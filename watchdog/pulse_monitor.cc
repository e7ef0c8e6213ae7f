#include "watchdog/pulse_monitor.h"

#include "base/log.h"
#include "watchdog/proc_view.h"

namespace tangelo {

pulse_monitor::finding pulse_monitor::look() noexcept {
  if (!child_.exists()) {
    well_ = false;
    return finding::fine;
  }
  const std::uint64_t beats = beats_.load(std::memory_order_acquire);
  if (start_ != child_.start_count()) {
    start_ = child_.start_count();
    detector_ = hang_detector(beats);
    well_ = false;
    said_traced_ = false;
    stuck_looks_ = 0;
    return finding::fine;
  }
  const pid_t pid = child_.pid();
  if (child_.was_killed()) return look_at_killed(pid);
  const std::optional<process_sight> seen = look_at_process(pid);
  if (!seen) return finding::fine;  // its pidfd will tell
  state_ = seen->state;
  const pulse_verdict verdict =
      detector_.look({beats, seen->state, seen->cpu_ticks,
                      beats == detector_.beats() && is_dumping_core(pid)});
  well_ = verdict == pulse_verdict::beating || (well_ && verdict != pulse_verdict::hung);
  if (verdict == pulse_verdict::traced && !said_traced_) {
    said_traced_ = true;
    log_notice("{} {} is held by a debugger and left alone", name_of(child_.role()), pid);
  }
  return verdict == pulse_verdict::hung ? finding::hung : finding::fine;
}

// Two looks in a row, so that it has been so for a whole period.
pulse_monitor::finding pulse_monitor::look_at_killed(pid_t pid) noexcept {
  well_ = false;
  stuck_looks_ = is_out_of_user_mode(pid) ? stuck_looks_ + 1 : 0;
  return stuck_looks_ >= 2 ? finding::stuck : finding::fine;
}

std::string pulse_monitor::last_sight() const {
  const std::string channel = wait_channel_of(child_.pid());
  std::string text = std::string("state ") + state_;
  if (!channel.empty()) text += " in " + channel;
  return text;
}

}  // namespace tangelo
