#include "fs/path_state.h"

#include <algorithm>

#include "base/log.h"

namespace tangelo {

namespace {

consteval path_transition_table make_path_transitions() {
  using enum path_state;
  using enum path_event;
  using enum path_action;
  return path_transition_table({
      // in state   on event          goes to    and does
      {running,     up,               running,   none},
      {running,     down,             blocked,   start_clock},
      {running,     fast_io_fail_due, running,   none},
      {running,     dev_loss_due,     running,   none},

      {blocked,     up,               running,   none},
      {blocked,     down,             blocked,   none},
      {blocked,     fast_io_fail_due, fail_fast, refuse_unexecuted},
      {blocked,     dev_loss_due,     lost,      refuse_all},

      {fail_fast,   up,               running,   none},
      {fail_fast,   down,             fail_fast, none},
      {fail_fast,   fast_io_fail_due, fail_fast, none},
      {fail_fast,   dev_loss_due,     lost,      refuse_all},

      {lost,        up,               running,   none},
      {lost,        down,             lost,      none},
      {lost,        fast_io_fail_due, lost,      none},
      {lost,        dev_loss_due,     lost,      none},
  });
}

path_state sane(std::uint32_t raw) noexcept {
  return raw < count_of<path_state> ? static_cast<path_state>(raw) : path_state::blocked;
}

}  // namespace

constinit const path_transition_table path_transitions = make_path_transitions();
constinit path_observer observe_path = nullptr;

path_watch::path_watch(fs_pulse& pulse, const policy_record& policy) noexcept
    : pulse_(pulse),
      policy_(policy),
      state_(sane(pulse.path.load(std::memory_order_relaxed))),
      since_ns_(pulse.path_since_ns.load(std::memory_order_relaxed)) {}

std::uint64_t path_watch::due_after(std::uint32_t seconds) const noexcept {
  return seconds == policy_off ? never : since_ns_ + seconds * ns_per_s;
}

std::uint64_t path_watch::due_ns() const noexcept {
  const mount_policy p = read_policy(policy_);
  switch (state_) {
    using enum path_state;
    case blocked: return std::min(due_after(p.fast_io_fail_tmo), due_after(p.dev_loss_tmo));
    case fail_fast: return due_after(p.dev_loss_tmo);
    case running:
    case lost: return never;
  }
  return never;
}

path_action path_watch::look(bool is_up, std::uint64_t now_ns) noexcept {
  const bool was_up = state_ == path_state::running;
  if (is_up && was_up) return path_action::none;
  if (is_up || was_up) return step(is_up ? path_event::up : path_event::down, now_ns);
  if (now_ns < due_ns()) return path_action::none;
  const bool all = now_ns >= due_after(read_policy(policy_).dev_loss_tmo);
  return step(all ? path_event::dev_loss_due : path_event::fast_io_fail_due, now_ns);
}

path_action path_watch::step(path_event event, std::uint64_t now_ns) noexcept {
  if (observe_path != nullptr) observe_path(state_, event);
  const auto& row = path_transitions.at(state_, event);
  if (row.act == path_action::start_clock) {
    since_ns_ = now_ns;
    pulse_.path_since_ns.store(now_ns, std::memory_order_relaxed);
  }
  if (row.to != state_) {
    const std::uint64_t down_s = (now_ns - since_ns_) / ns_per_s;
    if (row.to == path_state::fail_fast || row.to == path_state::lost)
      log_warning("the server has been out of reach for {} s: {}", down_s,
                  row.to == path_state::lost ? "all operations fail (dev_loss_tmo)"
                                             : "operations fail (fast_io_fail_tmo)");
    else if (state_ == path_state::fail_fast || state_ == path_state::lost)
      log_notice("the server is back after {} s: operations are accepted again", down_s);
  }
  state_ = row.to;
  pulse_.path.store(static_cast<std::uint32_t>(state_), std::memory_order_relaxed);
  return row.act;
}

}  // namespace tangelo
