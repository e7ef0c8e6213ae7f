#include "watchdog/watchdog.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/notify.h"
#include "base/packet_socket.h"
#include "base/prng.h"
#include "base/secret.h"
#include "protocol/policy.h"
#include "watchdog/mount_file.h"

namespace tangelo {

namespace {

constexpr std::uint64_t ready_wait_ns = 10 * ns_per_s;
constexpr std::uint64_t first_ready_wait_ns = 20 * ns_per_s;  // `tangelo mount` waits for 30 s
constexpr child_policy front_end_policy{0, ns_per_s};
constexpr child_policy core_policy{restart_policy::healthy_after_ns, ns_per_s};

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
            random_u64_or_die()),
      front_end_pulse_(front_end_, parts_.fs->pulse.beats),
      core_pulse_(core_, parts_.shared_view->core.beats) {}

void watchdog::start() noexcept {
  obey_log_policy(parts_.fs->watchdog.policy);
  if (parts_.control) control_.open(std::move(parts_.control));
  if (parts_.is_adopted)
    take_over();
  else
    start_first();
  answer_resumed();
  look();
}

// A mount that no front end ever served is not kept.
void watchdog::start_first() noexcept {
  front_end_.want();
  (void)time_.call_after(first_ready_wait_ns, [this] {
    if (ever_ready_ || leaving_ || finishing_) return;
    report("tangelo-fs cannot be started\n");
    front_end_.dismiss();
  });
}

// A front end that lives but did not give us its link is replaced, and so is a core that no front
// end has: what it was sent by the last watchdog is lost.
void watchdog::take_over() noexcept {
  ever_ready_ = true;
  const bool has_front_end = parts_.front_end.pid != 0 && parts_.link;
  const bool has_core = parts_.core.pid != 0;
  const bool core_attached = parts_.fs->core_attached.load(std::memory_order_acquire) != 0;
  if (parts_.link) link_.open(std::move(parts_.link));
  if (has_core) core_.adopt(std::move(parts_.core));
  core_is_orphan_ = has_core && !has_front_end;
  if (has_core && has_front_end && !core_attached) core_.dismiss();
  if (!has_core && parts_.ended_core_pid != 0)
    (void)link_.send({supervise_message::core_ended, parts_.ended_core_pid});
  if (parts_.front_end.pid == 0) return front_end_.want();
  front_end_.adopt(std::move(parts_.front_end));
  expect_ready();
  if (!has_front_end) return front_end_.kill_hung();
  // This process has heard it say so.
  if (settings_.resume) on_front_end_ready();
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
  outcome<unique_fd> listener = parts_.directory.listen_at("fs.sock");
  if (!listener) log_warning("{}; the front end cannot be asked", listener.error().text);
  program_call call{
      parts_.front_end_program,
      {"--fuse-fd", "3", "--arena-fd", "4", "--shared-fd", "5", "--watchdog-fd", "6"},
      {parts_.fuse.get(), parts_.fs.fd(), parts_.shared.get(), pair.second.get()},
      {},
      oom_score_front_end};
  if (listener) {
    call.arguments.insert(call.arguments.end(), {"--listen-fd", "7"});
    call.fds.push_back(listener->get());
  }
  result<child_process, int> child = spawn(call);
  if (!child) return child;
  link_.open(std::move(pair.first));
  expect_ready();
  return child;
}

void watchdog::expect_ready() noexcept {
  time_.cancel(ready_timer_);
  ready_timer_ = time_.call_after(ready_wait_ns, [this] {
    if (front_end_ready_ || finishing_ || !front_end_.exists()) return;
    log_warning("front end {} did not become ready in 10 s; it is killed", front_end_.pid());
    front_end_.kill_hung();
  });
}

// Opened anew for each core, so that a new secret needs no new mount; a core that was started with
// the last one is better than none.
unique_fd watchdog::secret_for_core() noexcept {
  const std::string& path = settings_.options.core.secret_file;
  if (path.empty()) return {};
  if (outcome<unique_fd> file = open_secret(path)) {
    parts_.secret = *std::move(file);
  } else {
    log_warning("{}{}", file.error().text,
                parts_.secret ? ": the core goes on with the one before" : ": no core can start");
  }
  if (!parts_.secret) return {};
  return unique_fd(::fcntl(parts_.secret.get(), F_DUPFD_CLOEXEC, 0));
}

result<child_process, int> watchdog::start_core() noexcept {
  if (!link_.idle()) return failure{EAGAIN};  // the front end has not been told of the last one
  socket_pair pair = make_socket_pair();
  if (!pair.first) return failure{errno};
  const core_options& told = settings_.options.core;
  program_call call{parts_.core_program,
                    {"--device-fd", "3", "--source", settings_.source, "--fabric", told.fabric,
                     "--busy-poll-us", std::to_string(told.busy_poll_us)},
                    {pair.second.get()},
                    core_user_,
                    oom_score_core};
  // Without systemd the core keeps what an adopter needs, should we and the front end die together.
  unique_fd keeper;
  if (!settings_.under_systemd) {
    outcome<unique_fd> listener = parts_.directory.listen_at("core.sock");
    if (listener) {
      keeper = *std::move(listener);
      call.arguments.insert(call.arguments.end(), {"--keeper-fd", "4", "--fuse-fd", "5"});
      call.fds.insert(call.fds.end(), {keeper.get(), parts_.fuse.get()});
    } else {
      log_warning("{}; the core keeps nothing for an adopter", listener.error().text);
    }
  }
  const unique_fd secret_file = secret_for_core();
  if (secret_file) {
    call.arguments.insert(call.arguments.end(),
                          {"--secret-fd", std::to_string(first_child_fd + call.fds.size())});
    call.fds.push_back(secret_file.get());
  } else if (!told.secret_file.empty()) {
    return failure{EACCES};
  }
  result<child_process, int> child = spawn(call);
  if (!child) return child;
  core_is_orphan_ = false;
  const supervise_packet packet{supervise_message::core_started,
                                static_cast<std::uint32_t>(child->pid)};
  (void)link_.send(packet, std::move(pair.first));  // the queue was empty
  downcalls_at_start_ = parts_.fs->counters.downcalls.load(std::memory_order_relaxed);
  return child;
}

bool watchdog::core_is_wanted() const noexcept {
  return front_end_ready_ && !finishing_ && !mount_is_gone();
}

// The kernel says so on /dev/fuse once the last mount of it has ended, wherever that was.
bool watchdog::mount_is_gone() const noexcept {
  if (!parts_.fuse) return true;
  pollfd p{parts_.fuse.get(), 0, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

child_verdict watchdog::on_child_ended(process_role role, const child_end& end) noexcept {
  return role == process_role::front_end ? on_front_end_ended(end) : on_core_ended(end);
}

child_verdict watchdog::on_front_end_ended(const child_end& end) noexcept {
  link_.drain();
  link_.reset();
  const bool was_ready = std::exchange(front_end_ready_, false);
  upgrade_.ended(process_role::front_end, end.pid);
  core_is_orphan_ = true;
  if (!core_.exists()) core_.dismiss();  // nor will there be one before the next front end
  if (mount_is_gone() || leaving_ || finishing_ || !ever_ready_) {
    core_.dismiss();
    return child_verdict::finished;
  }
  return restart_policy::has_worked(end.life_ns, was_ready) && was_ready ? child_verdict::worked
                                                                         : child_verdict::failed;
}

child_verdict watchdog::on_core_ended(const child_end& end) noexcept {
  upgrade_.ended(process_role::core, end.pid);
  // start_core() looks at the queue, so a full one only delays the next core.
  (void)link_.send({supervise_message::core_ended, static_cast<std::uint32_t>(end.pid)});
  if (mount_is_gone() || core_is_orphan_) return child_verdict::finished;
  const std::uint64_t taken = parts_.fs->counters.downcalls.load(std::memory_order_relaxed);
  return restart_policy::has_worked(end.life_ns, taken != downcalls_at_start_)
             ? child_verdict::worked
             : child_verdict::failed;
}

void watchdog::on_child_gone(process_role role, int status) noexcept {
  if (role == process_role::front_end) return on_front_end_gone(status);
  if (core_is_wanted()) return time_.post([this] { want_core(); });
  end_if_quiet();
}

void watchdog::want_core() noexcept {
  if (core_is_wanted()) core_.want();
}

void watchdog::look() noexcept {
  if (ended_) return;
  (void)time_.call_after(look_period_ns, [this] { look(); });
  look_at(front_end_, front_end_pulse_);
  look_at(core_, core_pulse_);
  if (all_is_well()) upgrade_.serving();
  (void)statfs_.poll();  // reaps one that was ended
  tell_systemd();
  if (!gone_seen_ && mount_is_gone()) on_mount_gone();
  if (!leaving_ && !finishing_) keep_reachable();
}

// Without control.sock nobody can ask us, and without the directory nobody finds it.
void watchdog::keep_reachable() noexcept {
  constexpr const char* socket_name = "control.sock";
  if (parts_.directory.has(socket_name)) return;
  if (!unreachable_)
    log_warning("{} was taken away; it is made again", parts_.directory.path());
  outcome<run_dir> again = run_dir::take(settings_.run_dir, settings_.name, 0);
  if (again) parts_.directory = *std::move(again);
  outcome<unique_fd> control = parts_.directory.listen_at(socket_name);
  outcome<void> written = parts_.directory.write_mount_file(
      mount_file_text(settings_, read_policy(parts_.fs->watchdog.policy)));
  unreachable_ = !control || !written;
  if (control) control_.open(*std::move(control));
}

void watchdog::look_at(supervised_child& child, pulse_monitor& pulse) noexcept {
  switch (pulse.look()) {
    using enum pulse_monitor::finding;
    case fine: return;
    case hung:
      log_warning("{} {} stands still ({}); it is killed", name_of(child.role()), child.pid(),
                  pulse.last_sight());
      return child.kill_hung();
    case stuck:
      // What a core could still have under way in a data slot must have ended before the next.
      if (child.role() == process_role::front_end) child.leave_behind();
      return;
  }
}

void watchdog::on_front_end_gone(int status) noexcept {
  if (mount_is_gone()) {
    // One whose connection was aborted (umount -f by somebody) may still be in the mount table.
    if (!leaving_) unmounter_.unmount(MNT_DETACH, [this](int) { end_if_quiet(); });
    if (said_unmounted_ && status == 0)
      log_notice("{} is unmounted", settings_.mount_point);
    else
      log_warning("{} is unmounted; the front end ended with operations pending ({})",
                  settings_.mount_point, describe_status(status));
    return finish(exit_code::ok);
  }
  if (!leaving_) {
    log_error("the front end ended before it was ready ({}); the mount {} is given up",
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
    case ready: return on_front_end_ready();
    case kill_core:
      log_warning("the front end wants core {} killed", core_.pid());
      return core_.kill_now();
    case unmounted:
      said_unmounted_ = true;
      return;
    case drained: return upgrade_.drained();
    case core_started:
    case core_ended:
    case drain:
    case resume:
    case abort:
    case policy_changed: break;
  }
  log_warning("the front end sent message {}, which is not one of its own",
              static_cast<std::uint32_t>(packet.type));
}

void watchdog::on_front_end_ready() noexcept {
  if (!front_end_.exists()) return;  // it ended behind its last words
  front_end_ready_ = true;
  ever_ready_ = true;
  front_end_.proven();
  // Its last watchdog may have died in the middle of an upgrade.
  if (parts_.is_adopted) (void)link_.send({supervise_message::resume, 0});
  if (time_.now_ns() < abort_until_ns_) (void)link_.send({supervise_message::abort, 0});
  // Until here it was kept, so that somebody but us has the descriptors.
  if (core_is_orphan_) core_.dismiss();
  want_core();
  report("ok\n");
  await_answer();
}

void watchdog::on_link_closed() noexcept {
  constexpr std::uint64_t patience_ns = ns_per_s;
  (void)time_.call_after(patience_ns, [this, pid = front_end_.pid()] {
    if (front_end_.pid() != pid || pid == 0 || finishing_) return;
    log_warning("front end {} has closed its link and does not end; it is killed", pid);
    front_end_.kill_now();
  });
}

}  // namespace tangelo
