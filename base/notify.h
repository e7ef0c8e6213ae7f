// notify: telling systemd how this process is (sd_notify); does nothing without NOTIFY_SOCKET.
//
// The adapter around libsystemd, a library of its own so that only processes that are services
// link it. Loop thread; never waits (the socket is a datagram to PID 1, failures are ignored).
#pragma once

#include <string_view>

namespace tangelo {

void notify_ready(std::string_view status) noexcept;
void notify_status(std::string_view status) noexcept;
void notify_stopping(std::string_view status) noexcept;

}  // namespace tangelo
