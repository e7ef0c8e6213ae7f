#include "base/notify.h"

#include <systemd/sd-daemon.h>

#include <cstdio>

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

}  // namespace tangelo
