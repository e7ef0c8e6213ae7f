#include "fs/process.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace tangelo {

namespace {

constexpr std::uint64_t caller_check_period_ns = 50 * ns_per_ms;
constexpr std::uint64_t end_wait_max_ns = 1500 * ns_per_ms;

}  // namespace

void fs_process::eventfd_bell::ring() noexcept {
  const std::uint64_t one = 1;
  (void)!::write(fd_.get(), &one, sizeof one);
}

outcome<std::unique_ptr<fs_process>> fs_process::make(const fs_fds& fds) {
  unique_fd fuse(fds.fuse);
  unique_fd watchdog(fds.watchdog);
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
      *std::move(for_core), std::move(up), std::move(down)));
}

fs_process::fs_process(std::unique_ptr<loop> l, unique_fd fuse, fs_arena_map arena,
                       shared_arena_map shared, unique_fd watchdog, unique_fd arena_for_core,
                       unique_fd up, unique_fd down)
    : loop_(std::move(l)),
      fuse_(std::move(fuse)),
      arena_(std::move(arena)),
      shared_(std::move(shared)),
      watchdog_(std::move(watchdog)),
      arena_for_core_(std::move(arena_for_core)),
      core_bell_(std::move(up)),
      own_bell_(std::move(down)),
      kernel_(fuse_.get()),
      front_end_({kernel_, callers_, *loop_, core_bell_, *arena_, *shared_}) {}

int fs_process::run() {
  arm_bell();
  fuse_poller_ = std::make_unique<poller>(*loop_, fuse_.get(), [] {});
  watchdog_poller_ = std::make_unique<poller>(*loop_, watchdog_.get(), [this] { on_watchdog(); });
  loop_->set_before_sleep([this] { return work(); });
  tell_watchdog(supervise_message::ready);
  log_info("serving");
  loop_->run();
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
  if (front_end_.unmounted()) check_end();
  if (more) return true;
  return front_end_.has_core() && !front_end_.prepare_sleep();
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
  const bool quiet = front_end_.pending_count() == 0;
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

void fs_process::on_watchdog() noexcept {
  for (;;) {
    supervise_packet packet;
    packet_fds fds;
    const packet_status status = receive_object(watchdog_.get(), packet, &fds);
    if (status == packet_status::none) return;
    if (status == packet_status::closed) {
      log_warning("the watchdog is gone: serving on without one");
      watchdog_poller_->stop();
      return;
    }
    switch (packet.type) {
      case supervise_message::core_started:
        if (fds.count == 1) meet_core(std::move(fds.fds[0]));
        break;
      case supervise_message::core_ended: lose_core(); break;
      case supervise_message::drain:
      case supervise_message::drained:
      case supervise_message::resume:
      case supervise_message::abort:
      case supervise_message::policy_changed:
      case supervise_message::ready:
      case supervise_message::kill_core:
      case supervise_message::unmounted: break;
    }
  }
}

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
  if (core_poller_) {
    core_poller_->cancel();
    old_pollers_.push_back(std::move(core_poller_));
  }
  std::erase_if(old_pollers_, [](const std::unique_ptr<poller>& p) { return p->is_idle(); });
  core_.reset();
  if (!front_end_.has_core()) return;
  front_end_.lose_core();
  log_notice("core lost; {} ops wait for the next one", front_end_.pending_count());
}

void fs_process::dismiss_bad_core() noexcept {
  tell_watchdog(supervise_message::kill_core);
  lose_core();
}

void fs_process::tell_watchdog(supervise_message type) noexcept {
  (void)send_packet(watchdog_.get(), supervise_packet{type, static_cast<std::uint32_t>(getpid())});
}

}  // namespace tangelo
