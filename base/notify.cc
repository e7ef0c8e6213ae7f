#include "base/notify.h"

#include <fcntl.h>
#include <systemd/sd-daemon.h>

#include <cstdio>
#include <cstdlib>

namespace tangelo {

namespace {

void notify(const char* state, std::string_view status) noexcept {
  char text[512];
  const int n = std::snprintf(text, sizeof text, "%sSTATUS=%.*s", state,
                              static_cast<int>(status.size()), status.data());
  if (n > 0) sd_notify(0, text);
}

}  // namespace

void notify_ready(std::string_view status) noexcept { notify("READY=1\n", status); }
void notify_status(std::string_view status) noexcept { notify("", status); }
void notify_stopping(std::string_view status) noexcept { notify("STOPPING=1\n", status); }

void notify_alive() noexcept { sd_notify(0, "WATCHDOG=1"); }

std::uint64_t notify_alive_period_ns() noexcept {
  std::uint64_t usec = 0;
  if (sd_watchdog_enabled(0, &usec) <= 0) return 0;
  return usec * 1000 / 2;
}

void notify_store(const std::string& name, int fd) noexcept {
  const std::string text = "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name;
  sd_pid_notify_with_fds(0, 0, text.c_str(), &fd, 1);
}

void notify_take_back(const std::string& name) noexcept {
  sd_notify(0, ("FDSTOREREMOVE=1\nFDNAME=" + name).c_str());
}

std::vector<stored_fd> take_stored_fds() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(1, &names);
  std::vector<stored_fd> fds;
  for (int i = 0; i < count; ++i) {
    const int fd = SD_LISTEN_FDS_START + i;
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    fds.push_back({names[i], unique_fd(fd)});
    std::free(names[i]);
  }
  std::free(names);
  return fds;
}

}  // namespace tangelo
