// notify: what a service and systemd say to each other (sd-daemon); does nothing without systemd.
//
// The adapter around libsystemd, a library of its own so that only processes that are services
// link it. Loop thread; never waits (the socket is a datagram to PID 1, failures are ignored).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace tangelo {

void notify_ready(std::string_view status) noexcept;
void notify_status(std::string_view status) noexcept;
void notify_stopping(std::string_view status) noexcept;

// Feeds the service's watchdog; to be done every notify_alive_period_ns(), 0: none is set.
void notify_alive() noexcept;
std::uint64_t notify_alive_period_ns() noexcept;

// systemd keeps a duplicate of the descriptor until it is taken back or the service has ended, and
// hands it to the next process of the service. It does not watch what becomes of it.
void notify_store(const std::string& name, int fd) noexcept;
void notify_take_back(const std::string& name) noexcept;
struct stored_fd {
  std::string name;
  unique_fd fd;
};
// What systemd kept for us; once, while the process starts.
std::vector<stored_fd> take_stored_fds();

}  // namespace tangelo
