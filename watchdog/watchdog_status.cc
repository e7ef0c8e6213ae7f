// What the watchdog tells systemd: that all is well, and what is going on.
#include "base/log.h"
#include "base/notify.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

// " in 2 s" while a start is waited for.
std::string pause_text(const process_record& record, std::uint64_t now_ns) {
  const std::uint64_t due = record.next_start_ns.load(std::memory_order_relaxed);
  if (due <= now_ns) return " now";
  return " in " + std::to_string((due - now_ns + ns_per_s - 1) / ns_per_s) + " s";
}

}  // namespace

std::string watchdog::status_text() const {
  const watchdog_page& page = parts_.fs->watchdog;
  const std::uint64_t now = time_.now_ns();
  if (gone_seen_ || leaving_ || finishing_) return "unmounting " + settings_.mount_point;
  if (!front_end_.exists())
    return settings_.source + ": front end is started again" +
           pause_text(page.processes[ordinal(process_role::front_end)], now);
  if (!front_end_ready_) return settings_.source + ": front end is starting";
  if (!core_.exists())
    return settings_.source + ": core is started again" +
           pause_text(page.processes[ordinal(process_role::core)], now);
  if (upgrade_.state() != upgrade_state::idle)
    return settings_.source + ": upgrade, " + std::string(name_of(upgrade_.state()));
  return "serving " + settings_.source;
}

// Fed only while the front end beats; that the loop turns is seen by our being here.
void watchdog::tell_systemd() noexcept {
  if (!settings_.under_systemd || !ever_ready_) return;
  std::string status = status_text();
  if (status != status_) {
    notify_status(status);
    status_ = std::move(status);
  }
  const std::uint64_t period = notify_alive_period_ns();
  const std::uint64_t now = time_.now_ns();
  if (period == 0 || now - alive_told_ns_ < period || !front_end_pulse_.is_well()) return;
  alive_told_ns_ = now;
  notify_alive();
}

}  // namespace tangelo
