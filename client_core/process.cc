#include "client_core/process.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/packet_socket.h"
#include "base/resident.h"

namespace tangelo {

namespace {

constexpr int attach_wait_ms = 10'000;

problem attach_problem(std::string text) {
  return {exit_code::failed, "front end: " + std::move(text),
          "tangelo-core is started by tangelo-watchdog: use `tangelo mount`"};
}

// It ends together with its front end, or after it: nothing is wrong with the core.
problem front_end_gone() {
  return {exit_code::unreachable, "the front end is gone before this core was attached",
          "the next one gets another core"};
}

// The watchdog, as root, has opened and checked it for us.
outcome<secret> take_secret(const unique_fd& file) {
  if (!file) return secret();
  return read_secret(file.get(), "of this mount");
}

}  // namespace

outcome<core_process::attachment> core_process::attach(int socket) {
  attach_request request;
  request.pid = static_cast<std::uint32_t>(::getpid());
  if (send_packet(socket, request) != packet_status::ok)
    return failure{front_end_gone()};
  pollfd p{socket, POLLIN, 0};
  if (::poll(&p, 1, attach_wait_ms) != 1) return failure{attach_problem("no answer in 10 s")};
  attach_reply reply;
  packet_fds fds;
  if (receive_object(socket, reply, &fds) != packet_status::ok)
    return failure{front_end_gone()};
  if (reply.accepted == 0) {
    reply.text.back() = '\0';
    return failure{attach_problem(reply.text.data())};
  }
  if (fds.count != attach_fd_count) return failure{attach_problem("sent too few descriptors")};
  attachment a;
  a.generation = reply.core_generation;
  a.arena = std::move(fds.fds[0]);
  a.shared = std::move(fds.fds[1]);
  a.up_bell = std::move(fds.fds[2]);
  a.down_bell = std::move(fds.fds[3]);
  return a;
}

outcome<void> core_process::self_test(int arena_fd) {
  outcome<fs_arena_map> arena = fs_arena_map::map(unique_fd(arena_fd), arena_access::read_only);
  if (!arena) return failure{arena.error()};
  outcome<std::unique_ptr<loop>> l = loop::make(512);
  if (!l) return failure{l.error()};
  return {};
}

outcome<std::unique_ptr<core_process>> core_process::make(const core_fds& fds,
                                                          const std::string& source,
                                                          fabric_choice choice,
                                                          std::uint64_t busy_poll_ns) {
  unique_fd device(fds.device);
  unique_fd keeper(fds.keeper);
  unique_fd fuse(fds.fuse);
  outcome<mount_source> where = parse_mount_source(source);
  if (!where) return failure{where.error()};
  outcome<secret> shared_secret = take_secret(unique_fd(fds.secret));
  if (!shared_secret) return failure{shared_secret.error()};
  outcome<std::unique_ptr<loop>> l = loop::make(512);
  if (!l) return failure{l.error()};
  (*l)->set_busy_poll(busy_poll_ns);
  // A device that is away when a core starts is like a server that is away.
  outcome<std::unique_ptr<provider>> fabric = make_fabric(**l, choice, rdma_needed::later);
  if (!fabric) return failure{fabric.error()};
  outcome<attachment> a = attach(fds.device);
  if (!a) return failure{a.error()};
  outcome<fs_arena_map> arena = fs_arena_map::map(std::move(a->arena), arena_access::read_only);
  if (!arena) return failure{arena.error()};
  outcome<shared_arena_map> shared =
      shared_arena_map::map(std::move(a->shared), arena_access::read_write);
  if (!shared) return failure{shared.error()};
  std::unique_ptr<core_process> process(
      new core_process(*std::move(l), std::move(device), std::move(fuse), *std::move(arena),
                       *std::move(shared), *std::move(a), *std::move(where),
                       *std::move(shared_secret), *std::move(fabric)));
  if (keeper) process->control_.open(std::move(keeper));
  return process;
}

core_process::core_process(std::unique_ptr<loop> l, unique_fd device, unique_fd fuse,
                           fs_arena_map arena, shared_arena_map shared, attachment a,
                           mount_source source, secret shared_secret,
                           std::unique_ptr<provider> fabric)
    : loop_(std::move(l)),
      device_(std::move(device)),
      fuse_(std::move(fuse)),
      arena_(std::move(arena)),
      shared_(std::move(shared)),
      up_bell_(std::move(a.up_bell)),
      down_bell_(std::move(a.down_bell)),
      fabric_(std::move(fabric)) {
  for (std::size_t kind = 1; kind < slot_class_count; ++kind)
    for (std::uint32_t i = 0; i < slot_shapes[kind].count; ++i)
      fabric_->register_memory({shared_->slots + slot_offset(static_cast<slot_class>(kind), i),
                                slot_shapes[kind].stride},
                               memory_use::exposed);
  const auto ring = [this] {
    const std::uint64_t one = 1;
    (void)!::write(down_bell_.get(), &one, sizeof one);
  };
  core_ = std::make_unique<core>(
      core::wiring{*arena_, *shared_, a.generation, *fabric_, *loop_, ring,
                   std::move(shared_secret)},
      std::move(source.addresses), std::move(source.volume));
  log_info("attached, generation {}", a.generation);
}

int core_process::run() {
  device_poller_ = std::make_unique<poller>(*loop_, device_.get(), [this] { on_device(); });
  // Each write to the eventfd is told once: its count need not be read (it cannot overflow).
  bell_poller_ = std::make_unique<poller>(*loop_, up_bell_.get(), [] {});
  loop_->set_before_sleep([this] { return work(); });
  keep_resident();
  beat();
  core_->start();
  loop_->run();
  return exit_code_;
}

void core_process::beat() noexcept {
  core_->beat();
  (void)loop_->call_after(beat_period_ns, [this] { beat(); });
}

bool core_process::work() noexcept {
  if (keeping_) return false;
  const bool more = core_->turn();
  core_->ring_if_needed();
  if (core_->broken()) {
    log_error("the up ring makes no sense");
    exit_code_ = 1;
    loop_->stop();
    return true;
  }
  return more || !core_->prepare_sleep();
}

void core_process::on_device() noexcept {
  for (;;) {
    detach_request request;
    const packet_status status = receive_object(device_.get(), request);
    if (status == packet_status::none) return;
    if (status == packet_status::closed) {
      device_poller_->stop();
      return on_front_end_gone();
    }
    if (request.type != device_message::detach_request || leaving_) continue;
    leaving_ = true;
    core_->leave([this] { loop_->stop(); });
  }
}

// The rings belong to the next core from now on; what the server still answers comes too late.
void core_process::on_front_end_gone() noexcept {
  if (leaving_) return;
  if (!fuse_) {
    log_info("the front end is gone");
    return loop_->stop();
  }
  keeping_ = true;
  log_notice("the front end is gone: keeping its descriptors");
  look_for_the_end();
}

// The mount may be taken away meanwhile; nobody else would tell us.
void core_process::look_for_the_end() noexcept {
  constexpr std::uint64_t period_ns = ns_per_s;
  pollfd p{fuse_.get(), 0, 0};
  if (::poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0) {
    log_notice("the mount is gone");
    return loop_->stop();
  }
  (void)loop_->call_after(period_ns, [this] { look_for_the_end(); });
}

void core_process::on_control(const control_request& request, control_ticket ticket) noexcept {
  if (request.verb != control_verb::adopt)
    return control_.answer(ticket, answer_of(EINVAL, "the core does not do that"));
  // An adopter asks here when no front end answers; one that lives all the same it replaces.
  const int fds[] = {fuse_.get(), arena_.fd(), shared_.fd()};
  control_.answer(ticket, answer_of(0, ""), fds);
}

}  // namespace tangelo
