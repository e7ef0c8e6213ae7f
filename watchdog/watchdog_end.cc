// How a mount ends, in every state within 2 s.
#include <sys/mount.h>
#include <unistd.h>

#include <cstring>

#include "base/log.h"
#include "base/notify.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

constexpr std::uint64_t end_wait_ns = 2 * ns_per_s;
constexpr std::uint64_t kill_wait_ns = 1700 * ns_per_ms;  // the front end itself takes up to 1.65 s

}  // namespace

// While the mount lives on elsewhere (a bind mount, an open file after a lazy unmount), so do we.
void watchdog::on_mount_gone() noexcept {
  gone_seen_ = true;
  if (!front_end_.exists()) return front_end_.dismiss();
  (void)time_.call_after(kill_wait_ns, [this] {
    if (ended_ || !front_end_.exists()) return;
    log_warning("the front end does not end; it is killed");
    front_end_.kill_now();
  });
}

void watchdog::on_stop_signal() noexcept {
  if (leaving_ || finishing_) return;
  notify_stopping("unmounting");
  leave();
}

void watchdog::leave() noexcept {
  begin_leaving();
  unmounter_.unmount(0, [this](int error) {
    if (error == 0 || finishing_) return end_if_quiet();
    log_warning("{} is in use ({}); it is detached, and what uses it loses it",
                settings_.mount_point, std::strerror(error));
    unmounter_.unmount(MNT_DETACH, [this](int) { end_if_quiet(); });
  });
}

void watchdog::begin_leaving() noexcept {
  if (leaving_) return;
  leaving_ = true;
  statfs_.end();
  (void)time_.call_after(kill_wait_ns, [this] {
    if (front_end_.exists()) log_warning("the front end does not end; it is killed");
    front_end_.dismiss();
    core_.dismiss();
  });
  (void)time_.call_after(end_wait_ns, [this] { end_now(); });
}

void watchdog::finish(exit_code code) noexcept {
  if (finishing_) return;
  finishing_ = true;
  code_ = code;
  statfs_.end();
  notify_stopping(refusal_.empty() ? "ending" : refusal_);
  core_.unwant();
  (void)time_.call_after(end_wait_ns, [this] { end_now(); });
  end_if_quiet();
}

void watchdog::end_if_quiet() noexcept {
  if (finishing_ && core_.state() == child_state::stopped && !front_end_.exists() &&
      unmounter_.idle())
    end_now();
}

void watchdog::end_now() noexcept {
  if (ended_) return;
  ended_ = true;
  core_.kill_now();
  front_end_.kill_now();
  statfs_.end();
  parts_.directory.remove();
  // What `mount` wrote for this mount alone; a file of /etc is its administrator's.
  ::unlink((settings_.run_dir + "/asked/" + settings_.name + ".toml").c_str());
  if (settings_.under_systemd) take_back_mount();
  report("tangelo-watchdog was told to end before the mount was ready\n");
  time_.stop();
}

void watchdog::report(std::string_view text) noexcept {
  if (reported_) return;
  reported_ = true;
  if (settings_.ready_fd < 0) return;
  if (::write(settings_.ready_fd, text.data(), text.size()) < 0)
    log_debug("nobody waits for us to be ready");
  ::close(settings_.ready_fd);
}

}  // namespace tangelo
