#include "watchdog/watchdog.h"

#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/notify.h"
#include "base/packet_socket.h"
#include "base/prng.h"

namespace tangelo {

namespace {

constexpr std::uint64_t ready_wait_ns = 10 * ns_per_s;
constexpr std::uint64_t end_wait_ns = 2 * ns_per_s;
constexpr std::uint64_t kill_wait_ns = 1800 * ns_per_ms;  // the front end itself takes up to 1.65 s
constexpr child_policy front_end_policy{false, 0, ns_per_s};
constexpr child_policy core_policy{true, restart_policy::healthy_after_ns, ns_per_s};

process_record& record_of(fs_arena_map& arena, process_role role) noexcept {
  return arena->watchdog.processes[ordinal(role)];
}

}  // namespace

watchdog::watchdog(watchdog_settings settings, mount_parts parts, loop& time)
    : settings_(std::move(settings)),
      parts_(std::move(parts)),
      time_(time),
      core_user_(unprivileged_user()),
      unmounter_(time, settings_.mount_point, parts_.device),
      front_end_(process_role::front_end, front_end_policy, time,
                 record_of(parts_.fs, process_role::front_end), *this, random_u64_or_die()),
      core_(process_role::core, core_policy, time, record_of(parts_.fs, process_role::core), *this,
            random_u64_or_die()) {}

void watchdog::start() noexcept {
  control_.open(std::move(parts_.control));
  front_end_.want();
  (void)time_.call_after(ready_wait_ns, [this] {
    if (reported_ || finishing_) return;
    log_error("the front end did not become ready in 10 s");
    front_end_.kill_now();
  });
}

// ---- children ---------------------------------------------------------------------------------

result<child_process, int> watchdog::start_child(process_role role) noexcept {
  switch (role) {
    using enum process_role;
    case front_end: return start_front_end();
    case core: return start_core();
    case watchdog: break;
  }
  return failure{EINVAL};
}

result<child_process, int> watchdog::start_front_end() noexcept {
  socket_pair pair = make_socket_pair();
  if (!pair.first) return failure{errno};
  const program_call call{
      parts_.front_end_program,
      {"--fuse-fd", "3", "--arena-fd", "4", "--shared-fd", "5", "--watchdog-fd", "6"},
      {parts_.fuse.get(), parts_.fs.fd(), parts_.shared.get(), pair.second.get()},
      {}};
  result<child_process, int> child = spawn(call);
  if (child) link_.open(std::move(pair.first));
  return child;
}

result<child_process, int> watchdog::start_core() noexcept {
  if (!link_.idle()) return failure{EAGAIN};  // the front end has not been told of the last one
  socket_pair pair = make_socket_pair();
  if (!pair.first) return failure{errno};
  const program_call call{parts_.core_program,
                          {"--device-fd", "3", "--source", settings_.source},
                          {pair.second.get()},
                          core_user_};
  result<child_process, int> child = spawn(call);
  if (!child) return child;
  const supervise_packet packet{supervise_message::core_started,
                                static_cast<std::uint32_t>(child->pid)};
  (void)link_.send(packet, std::move(pair.first));  // the queue was empty
  core_started_ns_ = time_.now_ns();
  downcalls_at_start_ = parts_.fs->counters.downcalls.load(std::memory_order_relaxed);
  return child;
}

// A core whose answers were taken, and which lived long enough not to burn the CPU, is no crash
// loop: its successor starts at once.
bool watchdog::core_has_worked() const noexcept {
  constexpr std::uint64_t life_min_ns = 100 * ns_per_ms;
  const std::uint64_t taken = parts_.fs->counters.downcalls.load(std::memory_order_relaxed);
  return taken != downcalls_at_start_ && time_.now_ns() - core_started_ns_ >= life_min_ns;
}

// The kernel says so on /dev/fuse once the last mount of it has ended, wherever that was.
bool watchdog::mount_is_gone() const noexcept {
  if (!parts_.fuse) return true;
  pollfd p{parts_.fuse.get(), 0, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

void watchdog::on_child_ended(process_role role, pid_t pid, int status) noexcept {
  if (role == process_role::front_end) return link_.drain();
  // start_core() looks at the queue, so a full one only delays the next core.
  (void)link_.send({supervise_message::core_ended, static_cast<std::uint32_t>(pid)});
  if (core_has_worked()) core_.proven();
  // The front end has sent it home; one that was killed meanwhile still has work.
  if (status == 0 && mount_is_gone()) core_.unwant();
}

void watchdog::on_child_gone(process_role role, int status) noexcept {
  if (role == process_role::front_end) return on_front_end_gone(status);
  end_if_quiet();
}

void watchdog::on_front_end_gone(int status) noexcept {
  if (mount_is_gone()) {
    if (said_unmounted_ && status == 0)
      log_notice("{} is unmounted", settings_.mount_point);
    else
      log_warning("{} is unmounted; the front end ended with operations pending ({})",
                  settings_.mount_point, describe_status(status));
    return finish(exit_code::ok);
  }
  if (!leaving_) {
    log_error("the front end ended unexpectedly ({}); the mount {} is lost",
              describe_status(status), settings_.mount_point);
    report("tangelo-fs ended before it was ready (" + describe_status(status) + ")\n");
  }
  // With the last descriptor of /dev/fuse the kernel answers what is waiting, with ENOTCONN.
  parts_.fuse.reset();
  unmounter_.unmount(MNT_DETACH, [this](int) { end_if_quiet(); });
  finish(leaving_ ? exit_code::ok : exit_code::failed);
}

void watchdog::on_packet(const supervise_packet& packet) noexcept {
  switch (packet.type) {
    using enum supervise_message;
    case ready:
      front_end_.proven();
      if (!leaving_ && !finishing_) core_.want();
      report("ok\n");
      notify_ready("serving " + settings_.source);
      return;
    case kill_core:
      log_warning("the front end wants core {} killed", core_.pid());
      return core_.kill_now();
    case unmounted:
      said_unmounted_ = true;
      return;
    case core_started:
    case core_ended:
    case drain:
    case drained:
    case resume:
    case abort:
    case policy_changed: break;
  }
  log_warning("the front end sent message {}, which is not one of its own",
              static_cast<std::uint32_t>(packet.type));
}

void watchdog::on_link_closed() noexcept {
  constexpr std::uint64_t patience_ns = ns_per_s;
  (void)time_.call_after(patience_ns, [this] {
    if (!front_end_.exists() || finishing_) return;
    log_error("the front end has closed its link and does not end; it is killed");
    front_end_.kill_now();
  });
}

// ---- the command line -------------------------------------------------------------------------

void watchdog::on_control(const control_request& request, control_ticket ticket) noexcept {
  switch (request.verb) {
    using enum control_verb;
    case arenas: return send_arenas(ticket);
    case unmount: return unmount_for(ticket, 0);
    case detach: return unmount_for(ticket, MNT_DETACH);
    case force:
    case abort:
    case set:
    case upgrade:
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
  unmounter_.unmount(flags, [this, ticket, flags](int error) {
    control_.answer(ticket, answer_of(error, error == 0 ? "" : std::strerror(error)));
    if (error == 0) {
      log_notice("{} by request", flags == 0 ? "unmounted" : "detached");
      (void)time_.call_after(kill_wait_ns, [this] { kill_what_hangs(); });
    }
    end_if_quiet();
  });
}

// After the end of the mount. While it lives on elsewhere (a bind mount, an open file after a lazy
// unmount), so do we.
void watchdog::kill_what_hangs() noexcept {
  if (ended_ || !mount_is_gone() || !front_end_.exists()) return;
  log_warning("the front end does not end; it is killed");
  front_end_.kill_now();
}

// ---- the end ------------------------------------------------------------------------------------

void watchdog::on_stop_signal() noexcept {
  if (leaving_ || finishing_) return;
  notify_stopping("unmounting");
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
  (void)link_.send({supervise_message::drain, 0});  // a hint: /dev/fuse tells it as well
  (void)time_.call_after(kill_wait_ns, [this] {
    if (front_end_.exists()) log_warning("the front end does not end; it is killed");
    front_end_.kill_now();
    core_.kill_now();
  });
  (void)time_.call_after(end_wait_ns, [this] { end_now(); });
}

void watchdog::finish(exit_code code) noexcept {
  if (finishing_) return;
  finishing_ = true;
  code_ = code;
  notify_stopping("ending");
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
  parts_.directory.remove();
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
