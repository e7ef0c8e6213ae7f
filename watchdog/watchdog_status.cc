// What the watchdog tells systemd: that all is well, and what is going on.
#include "base/log.h"
#include "base/notify.h"
#include "protocol/import_state.h"
#include "protocol/op_state.h"
#include "protocol/records.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

// " in 2 s" while a start is waited for.
std::string pause_text(const process_record& record, std::uint64_t now_ns) {
  const std::uint64_t due = record.next_start_ns.load(std::memory_order_relaxed);
  if (due <= now_ns) return " now";
  return " in " + std::to_string((due - now_ns + ns_per_s - 1) / ns_per_s) + " s";
}

constexpr std::uint64_t long_wait_ns = ns_per_s;

bool waits_long(const op_slot& slot, std::uint64_t now_ns) noexcept {
  op_cell cell;
  control_word word;
  if (!copy_record(slot, word, cell) || cell.kernel_id == 0) return false;
  switch (static_cast<op_state>(word.state)) {
    using enum op_state;
    case waiting:
    case in_progress:
    case serviced:
    case purged: return cell.arrived_ns + long_wait_ns < now_ns;
    case unknown:
    case given_up: break;
  }
  return false;
}

}  // namespace

// How many of the mount's callers have been waiting for over a second; looked at once a second.
void watchdog::count_waiting() noexcept {
  const std::uint64_t now = time_.now_ns();
  if (now - waiting_counted_ns_ < ns_per_s) return;
  waiting_counted_ns_ = now;
  waiting_count_ = 0;
  if (parts_.fs->pending_ops.load(std::memory_order_relaxed) == 0) return;
  const std::uint32_t end = parts_.fs->ops_used_end.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end && i < op_slot_count; ++i)
    if (waits_long(parts_.fs->ops[i], now)) ++waiting_count_;
}

std::string watchdog::service_text() const {
  const core_page& core = parts_.shared_view->core;
  const std::string_view state =
      name_of(static_cast<import_state>(core.import_state.load(std::memory_order_relaxed)));
  const std::string tail = "; import " + std::string(state.empty() ? "?" : state) + ", " +
                           "operations waiting: " + std::to_string(waiting_count_);
  if (path_is_up()) return "serving " + settings_.source + tail;
  const std::string said = page_text(core.last_text);
  return settings_.source + ": waiting for the server" + (said.empty() ? "" : ": " + said) + tail;
}

std::string watchdog::status_text() const {
  if (!refusal_.empty()) return refusal_;
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
  return service_text();
}

// Fed only while the front end beats; that the loop turns is seen by our being here.
void watchdog::tell_systemd() noexcept {
  if (!settings_.under_systemd || !ever_ready_) return;
  count_waiting();
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
