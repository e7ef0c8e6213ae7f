#include "fs/process.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/resident.h"
#include "fs/fuse_abi.h"
#include "protocol/op_metrics.h"
#include "protocol/policy.h"

namespace tangelo {

namespace {

constexpr std::uint64_t caller_check_period_ns = 50 * ns_per_ms;
constexpr std::uint64_t end_wait_max_ns = 1500 * ns_per_ms;
// A drain that is not followed by anything: whoever wanted it is gone.
constexpr std::uint64_t drain_max_ns = 10 * ns_per_s;

bool has_agreed(const watchdog_page& page, std::uint32_t flag2) noexcept {
  fuse_init_out agreed{};
  std::memcpy(&agreed, page.init_reply.data() + sizeof(fuse_out_header), sizeof agreed);
  return (agreed.flags2 & flag2) != 0;
}

}  // namespace

void fs_process::eventfd_bell::ring() noexcept {
  const std::uint64_t one = 1;
  (void)!::write(fd_.get(), &one, sizeof one);
}

outcome<std::unique_ptr<fs_process>> fs_process::make(const fs_fds& fds) {
  unique_fd fuse(fds.fuse);
  unique_fd watchdog(fds.watchdog);
  unique_fd listener(fds.listener);
  outcome<unique_fd> for_core = read_only_copy(fds.arena);
  outcome<fs_arena_map> arena = fs_arena_map::map(unique_fd(fds.arena), arena_access::read_write);
  if (!arena) return failure{arena.error()};
  if (!for_core) return failure{for_core.error()};
  outcome<shared_arena_map> shared =
      shared_arena_map::map(unique_fd(fds.shared), arena_access::read_write);
  if (!shared) return failure{shared.error()};
  outcome<std::unique_ptr<loop>> l = loop::make(256);
  if (!l) return failure{l.error()};
  unique_fd up(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  unique_fd down(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!up || !down)
    return failure{problem{exit_code::failed, std::string("eventfd: ") + std::strerror(errno), {}}};
  return std::unique_ptr<fs_process>(new fs_process(
      *std::move(l), std::move(fuse), *std::move(arena), *std::move(shared), std::move(watchdog),
      std::move(listener), *std::move(for_core), std::move(up), std::move(down)));
}

outcome<void> fs_process::self_test(int arena_fd) {
  outcome<fs_arena_map> arena = fs_arena_map::map(unique_fd(arena_fd), arena_access::read_only);
  if (!arena) return failure{arena.error()};
  outcome<std::unique_ptr<loop>> l = loop::make(256);
  if (!l) return failure{l.error()};
  return {};
}

fs_process::fs_process(std::unique_ptr<loop> l, unique_fd fuse, fs_arena_map arena,
                       shared_arena_map shared, unique_fd watchdog, unique_fd listener,
                       unique_fd arena_for_core, unique_fd up, unique_fd down)
    : loop_(std::move(l)),
      fuse_(std::move(fuse)),
      arena_(std::move(arena)),
      shared_(std::move(shared)),
      watchdog_(std::move(watchdog)),
      arena_for_core_(std::move(arena_for_core)),
      core_bell_(std::move(up)),
      own_bell_(std::move(down)),
      kernel_(fuse_.get(), own_bell_.get()),
      front_end_({kernel_, callers_, *loop_, core_bell_, *arena_, *shared_,
                  has_agreed(arena_->watchdog, fuse_has_resend_flag2), true,
                  has_agreed(arena_->watchdog, fuse_direct_maps_flag2)}) {
  if (listener) control_.open(std::move(listener));
}

int fs_process::run() {
  keep_resident();
  front_end_.start();
  beat();
  arm_bell();
  fuse_poller_ = std::make_unique<poller>(*loop_, fuse_.get(), [] {});
  watch_watchdog(std::move(watchdog_));
  loop_->set_before_sleep([this] { return work(); });
  tell_watchdog(supervise_message::ready);
  log_info("serving");
  loop_->run();
  front_end_.log_unsafe_changes();
  tell_watchdog(supervise_message::unmounted);
  log_info("ended; {} ops pending", front_end_.pending_count());
  return front_end_.pending_count() == 0 ? 0 : 1;
}

// One round; true: do not sleep.
bool fs_process::work() noexcept {
  const bool more = front_end_.turn();
  if (front_end_.bad_core()) dismiss_bad_core();
  if (front_end_.wants_caller_checks() && !checking_callers_) {
    checking_callers_ = true;
    (void)loop_->call_after(caller_check_period_ns, [this] { check_callers(); });
  }
  if (drain_asked_ && front_end_.drained()) {
    drain_asked_ = false;
    tell_watchdog(supervise_message::drained);
  }
  keep_time();
  if (front_end_.unmounted()) check_end();
  if (more) return true;
  return front_end_.has_core() && !front_end_.prepare_sleep();
}

void fs_process::beat() noexcept {
  arena_->pulse.beats.fetch_add(1, std::memory_order_release);
  const std::uint64_t dropped = log_dropped_count();
  add_to(metrics_of(*arena_).log_lines_dropped, dropped - std::exchange(log_told_, dropped));
  obey_log_policy(arena_->watchdog.policy);
  (void)loop_->call_after(beat_period_ns, [this] { beat(); });
}

// A turn follows each timer, and asks again: so one that comes too early does no harm, and a time
// that is always put off (the lease's end) costs nothing.
void fs_process::keep_time() noexcept {
  const std::uint64_t at = front_end_.wake_at_ns();
  if (at >= path_timer_at_) return;
  loop_->cancel(path_timer_);
  path_timer_at_ = at;
  path_timer_ = loop_->call_at(at, [this] { path_timer_at_ = path_watch::never; });
}

void fs_process::set_draining(bool on) noexcept {
  loop_->cancel(drain_timer_);
  drain_timer_ = 0;
  drain_asked_ = on;
  if (!on) return front_end_.resume();
  front_end_.drain();
  drain_timer_ = loop_->call_after(drain_max_ns, [this] { set_draining(false); });
}

void fs_process::check_callers() noexcept {
  checking_callers_ = false;
  front_end_.look_after_callers();
}

void fs_process::check_end() noexcept {
  const std::uint64_t now = loop_->now_ns();
  if (!ending_) {
    ending_ = true;
    end_by_ns_ = now + end_wait_max_ns;
    (void)loop_->call_at(end_by_ns_, [] {});
  }
  const bool quiet = front_end_.pending_count() == 0 && front_end_.uncommitted_count() == 0;
  if (quiet && front_end_.has_core() && !detaching_) {
    detaching_ = true;
    (void)send_packet(core_.get(), detach_request{});
  }
  if ((quiet && !front_end_.has_core()) || now >= end_by_ns_) loop_->stop();
}

void fs_process::arm_bell() noexcept {
  io_uring_sqe* sqe = loop_->entry(&bell_completion_);
  io_uring_prep_poll_multishot(sqe, own_bell_.get(), POLLIN);
  io_uring_sqe_set_data(sqe, static_cast<completion*>(&bell_completion_));
}

// Each write to the eventfd is told once: its count need not be read (it cannot overflow).
void fs_process::on_bell(int, std::uint32_t flags) noexcept {
  if ((flags & IORING_CQE_F_MORE) == 0) arm_bell();
}

// ---- watchdog and command line ------------------------------------------------------------------

void fs_process::watch_watchdog(unique_fd link) noexcept {
  retire(watchdog_poller_);
  watchdog_ = std::move(link);
  watchdog_poller_ = std::make_unique<poller>(*loop_, watchdog_.get(), [this] { on_watchdog(); });
}

void fs_process::on_watchdog() noexcept {
  while (watchdog_) {
    supervise_packet packet;
    packet_fds fds;
    const packet_status status = receive_object(watchdog_.get(), packet, &fds);
    if (status == packet_status::none) return;
    if (status == packet_status::closed) {
      log_warning("the watchdog is gone: serving on without one");
      retire(watchdog_poller_);
      watchdog_.reset();
      set_draining(false);
      return;
    }
    obey(packet, fds);
  }
}

void fs_process::obey(const supervise_packet& packet, packet_fds& fds) noexcept {
  switch (packet.type) {
    using enum supervise_message;
    case core_started:
      if (fds.count == 1) meet_core(std::move(fds.fds[0]));
      return;
    case core_ended: return lose_core();
    case drain: return set_draining(true);
    case resume: return set_draining(false);
    case abort: return front_end_.abort_callers();
    case policy_changed: return;  // a turn follows, and reads it
    case ready:
    case kill_core:
    case unmounted:
    case drained: break;
  }
  log_warning("the watchdog sent message {}, which is none of its own",
              static_cast<std::uint32_t>(packet.type));
}

void fs_process::on_control(const control_request& request, control_ticket ticket) noexcept {
  switch (request.verb) {
    using enum control_verb;
    case arenas: return send_arenas(ticket);
    case abort:
      front_end_.abort_callers();
      return control_.answer(ticket, answer_of(0, ""));
    case adopt: return be_adopted(ticket);
    case unmount:
    case detach:
    case force:
    case set:
    case upgrade: break;
  }
  control_.answer(ticket, answer_of(EINVAL, "the front end does not do that: ask control.sock"));
}

void fs_process::send_arenas(control_ticket ticket) noexcept {
  outcome<unique_fd> shared = read_only_copy(shared_.fd());
  if (!shared) return control_.answer(ticket, answer_of(EMFILE, "no descriptor left"));
  const int fds[] = {arena_for_core_.get(), shared->get()};
  control_.answer(ticket, answer_of(0, ""), fds);
}

// The connection that asked is the link to the new watchdog from here on.
void fs_process::be_adopted(control_ticket ticket) noexcept {
  const int fds[] = {fuse_.get(), arena_.fd(), shared_.fd()};
  unique_fd link = control_.answer_and_keep(ticket, answer_of(0, ""), fds);
  if (!link) return;
  log_notice("adopted by another watchdog");
  set_draining(false);
  watch_watchdog(std::move(link));
  tell_watchdog(supervise_message::ready);
}

// ---- core ---------------------------------------------------------------------------------------

// The watchdog has started a core, so every one before it has ended.
void fs_process::meet_core(unique_fd socket) noexcept {
  lose_core();
  core_ = std::move(socket);
  core_poller_ = std::make_unique<poller>(*loop_, core_.get(), [this] { on_core(); });
}

void fs_process::on_core() noexcept {
  while (core_) {
    attach_request request;
    const packet_status status = receive_object(core_.get(), request);
    if (status == packet_status::none) return;
    if (status == packet_status::closed) {
      lose_core();
      return;
    }
    admit_core(request);
  }
}

void fs_process::admit_core(const attach_request& request) noexcept {
  attach_reply reply;
  const bool sane = request.type == device_message::attach_request &&
                    request.magic == arena_magic && !front_end_.has_core();
  if (!sane || request.layout_version != arena_layout_version) {
    log_error("core {}: refused: layout version {}, this front end has {}", request.pid,
              request.layout_version, arena_layout_version);
    std::snprintf(reply.text.data(), reply.text.size(), "arena layout version %u is not %u",
                  request.layout_version, arena_layout_version);
    (void)send_packet(core_.get(), reply);
    lose_core();
    return;
  }
  reply.accepted = 1;
  reply.core_generation = front_end_.attach_core();
  const int fds[attach_fd_count] = {arena_for_core_.get(), shared_.fd(), core_bell_.fd(),
                                    own_bell_.get()};
  if (send_packet(core_.get(), object_bytes(reply), fds, attach_fd_count) != packet_status::ok) {
    lose_core();
    return;
  }
  log_info("core {} attached, generation {}", request.pid, reply.core_generation);
}

void fs_process::lose_core() noexcept {
  retire(core_poller_);
  core_.reset();
  if (!front_end_.has_core()) return;
  front_end_.lose_core();
  log_notice("core lost; {} ops wait for the next one", front_end_.pending_count());
}

void fs_process::dismiss_bad_core() noexcept {
  tell_watchdog(supervise_message::kill_core);
  lose_core();
}

// A poller may be told of once more after it was cancelled, and may be the one that calls us.
void fs_process::retire(std::unique_ptr<poller>& p) noexcept {
  std::erase_if(old_pollers_, [](const std::unique_ptr<poller>& o) { return o->is_idle(); });
  if (!p) return;
  p->cancel();
  old_pollers_.push_back(std::move(p));
}

void fs_process::tell_watchdog(supervise_message type) noexcept {
  if (!watchdog_) return;
  (void)send_packet(watchdog_.get(), supervise_packet{type, static_cast<std::uint32_t>(getpid())});
}

}  // namespace tangelo
