// When systemd is told READY: once the mount has answered a statfs. A server that is not there must
// not hold up a boot, so that waits for a limited time; what uses the mount then waits. A server
// that refuses is a failure at once.
#include "base/log.h"
#include "base/notify.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

constexpr std::uint64_t answer_wait_ns = 10 * ns_per_s;
constexpr std::uint64_t answer_look_ns = 20 * ns_per_ms;

}  // namespace

// A mount that was adopted, or that this process had already, is in use.
void watchdog::await_answer() noexcept {
  if (!settings_.under_systemd || told_ready_) return;
  if (parts_.is_adopted || settings_.resume) return tell_ready();
  if (answer_by_ns_ == 0) answer_by_ns_ = time_.now_ns() + answer_wait_ns;
  look_for_answer();
}

void watchdog::look_for_answer() noexcept {
  if (told_ready_ || leaving_ || finishing_ || gone_seen_) return;
  if (has_answered()) return tell_ready();
  const core_page& core = parts_.shared_view->core;
  if (!path_is_up() &&
      core.last_down_reason.load(std::memory_order_relaxed) == refused_by_server)
    return give_up_refused();
  if (time_.now_ns() >= answer_by_ns_) {
    log_warning("{} does not answer yet; the mount is there, and what uses it waits",
                settings_.source);
    return tell_ready();
  }
  time_.cancel(answer_timer_);
  answer_timer_ = time_.call_after(answer_look_ns, [this] { look_for_answer(); });
}

bool watchdog::path_is_up() const noexcept {
  return parts_.fs->core_attached.load(std::memory_order_acquire) != 0 &&
         parts_.shared_view->core.path_up.load(std::memory_order_acquire) != 0;
}

// Who looks below an automount before its mount is complete waits for us: there the way to the
// server is all that can be seen.
bool watchdog::has_answered() noexcept {
  const std::optional<int> error = statfs_.poll();
  if (error == 0) return true;
  if (error) log_info("statfs of {} says {}", settings_.mount_point, std::strerror(*error));
  if (!path_is_up()) return false;
  if (!settings_.through.empty()) return true;
  statfs_.ask(settings_.mount_point);
  return false;
}

void watchdog::tell_ready() noexcept {
  told_ready_ = true;
  statfs_.end();
  status_ = status_text();
  notify_ready(status_);
}

void watchdog::give_up_refused() noexcept {
  const core_page& core = parts_.shared_view->core;
  refusal_ = settings_.source + ": the server at " + page_text(core.address) + " says: " +
             page_text(core.last_text);
  log_error("{}", refusal_);
  notify_stopping(refusal_);
  leave();
}

}  // namespace tangelo
