// The descriptors of a mount in systemd's store: they outlive every process of the service, so that
// its next watchdog finds the mount as it is.
#include <poll.h>

#include "base/log.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

constexpr const char* fuse_name = "tangelo-fuse";
constexpr const char* arena_name = "tangelo-arena";
constexpr const char* shared_name = "tangelo-shared";

bool is_over(int fuse_fd) noexcept {
  pollfd p{fuse_fd, 0, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

}  // namespace

// /dev/fuse comes last: where it is stored, all are.
void store_mount(const mount_parts& parts) noexcept {
  notify_store(arena_name, parts.fs.fd());
  notify_store(shared_name, parts.shared.get());
  notify_store(fuse_name, parts.fuse.get());
}

void take_back_mount() noexcept {
  for (const char* name : {fuse_name, arena_name, shared_name}) notify_take_back(name);
}

outcome<mount_parts> make_or_adopt_mount(watchdog_settings& settings, const clock& time,
                                         std::vector<stored_fd> stored) {
  kept_mount kept;
  for (stored_fd& s : stored) {
    if (s.name == fuse_name) kept.fuse = std::move(s.fd);
    if (s.name == arena_name) kept.fs = std::move(s.fd);
    if (s.name == shared_name) kept.shared = std::move(s.fd);
  }
  const bool is_whole = kept.fuse && kept.fs && kept.shared;
  if (is_whole && !is_over(kept.fuse.get())) {
    outcome<mount_parts> adopted = adopt_mount(settings, time, std::move(kept));
    if (adopted) return adopted;
    // The unit does not try again after `unreachable`, which is for a server that refuses.
    problem why = adopted.error();
    why.code = exit_code::failed;
    return failure{std::move(why)};
  }
  if (!stored.empty()) {
    log_notice("the mount that was kept has ended; it is made anew");
    take_back_mount();
  }
  return make_mount(settings, time);
}

}  // namespace tangelo
