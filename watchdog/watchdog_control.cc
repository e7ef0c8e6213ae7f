// What the command line asks the watchdog (protocol/supervise.h).
#include <sys/mount.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/log_level.h"
#include "protocol/policy.h"
#include "watchdog/mount_file.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

constexpr std::uint64_t upgrade_patience_ns = 5 * ns_per_s;

}  // namespace

void watchdog::on_control(const control_request& request, control_ticket ticket) noexcept {
  switch (request.verb) {
    using enum control_verb;
    case arenas: return send_arenas(ticket);
    case unmount: return unmount_for(ticket, 0);
    case detach: return unmount_for(ticket, MNT_DETACH);
    case force: return force_for(ticket);
    case abort:
      abort_callers();
      return control_.answer(ticket, answer_of(0, ""));
    case set: return set_policy(request.policy, ticket);
    case upgrade: return upgrade_for(ticket, time_.now_ns() + upgrade_patience_ns);
    case adopt: break;
  }
  control_.answer(ticket, answer_of(EINVAL, "not a question for the watchdog"));
}

void watchdog::send_arenas(control_ticket ticket) noexcept {
  outcome<unique_fd> fs = read_only_copy(parts_.fs.fd());
  outcome<unique_fd> shared = read_only_copy(parts_.shared.get());
  if (!fs || !shared)
    return control_.answer(ticket, answer_of(EMFILE, "no descriptor left for the arenas"));
  const int fds[] = {fs->get(), shared->get()};
  control_.answer(ticket, answer_of(0, ""), fds);
}

void watchdog::unmount_for(control_ticket ticket, int flags) noexcept {
  statfs_.end();
  unmounter_.unmount(flags, [this, ticket, flags](int error) {
    control_.answer(ticket, answer_of(error, error == 0 ? "" : std::strerror(error)));
    if (error == 0) log_notice("{} by request", flags == 0 ? "unmounted" : "detached");
    if (!gone_seen_ && mount_is_gone()) on_mount_gone();
    end_if_quiet();
  });
}

// Callers get EIO from the front end, if it lives; what still waits then gets ECONNABORTED from the
// kernel. A mount that is in use is detached, and what uses it loses it.
void watchdog::force_for(control_ticket ticket) noexcept {
  constexpr std::uint64_t abort_wait_ns = 50 * ns_per_ms;
  if (unmounter_.is_covered())
    return control_.answer(ticket, answer_of(EBUSY, "something else is mounted over it"));
  log_notice("unmounting by force, by request");
  abort_callers();
  begin_leaving();
  (void)time_.call_after(front_end_ready_ ? abort_wait_ns : 0, [this, ticket] {
    unmounter_.unmount(MNT_FORCE, [this, ticket](int error) {
      if (error != EBUSY) return end_forced(ticket, error);
      unmounter_.unmount(MNT_DETACH, [this, ticket](int last) { end_forced(ticket, last); });
    });
  });
}

void watchdog::end_forced(control_ticket ticket, int error) noexcept {
  control_.answer(ticket, answer_of(error, error == 0 ? "" : std::strerror(error)));
  if (!gone_seen_ && mount_is_gone()) on_mount_gone();
  end_if_quiet();
}

// A front end that dies before it heard of it leaves this to the next one.
void watchdog::abort_callers() noexcept {
  constexpr std::uint64_t repeat_ns = 2 * ns_per_s;
  abort_until_ns_ = time_.now_ns() + repeat_ns;
  log_notice("every waiting caller is answered EIO, by request");
  if (front_end_ready_) (void)link_.send({supervise_message::abort, 0});
}

void watchdog::set_policy(const policy_change& change, control_ticket ticket) noexcept {
  policy_record& record = parts_.fs->watchdog.policy;
  const mount_policy next = changed(read_policy(record), change);
  if (outcome<void> sound = check_policy(next); !sound)
    return control_.answer(ticket, answer_of(EINVAL, sound.error().text));
  write_policy(record, next);
  if (front_end_ready_) (void)link_.send({supervise_message::policy_changed, 0});
  log_notice("reconnect_delay {}, fast_io_fail_tmo {}, dev_loss_tmo {}, commit {}, by request",
             policy_text(next.reconnect_delay), policy_text(next.fast_io_fail_tmo),
             policy_text(next.dev_loss_tmo), name_of(next.commit));
  if (change.log != policy_unchanged && next.log)
    log_notice("log level {}, by request", name_of(*next.log));
  obey_log_policy(record);
  outcome<void> written = parts_.directory.write_mount_file(mount_file_text(settings_, next));
  if (!written) log_warning("{}: it keeps the policy before this one", written.error().text);
  control_.answer(ticket, answer_of(0, ""));
}

}  // namespace tangelo
