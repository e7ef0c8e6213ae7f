// standard_fds: descriptors 0, 1 and 2 are open, whoever started us.
//
// For the begin of main(), before anything else is opened.
#pragma once

#include <fcntl.h>
#include <unistd.h>

namespace tangelo {

// Who was started without standard input, output or error gets /dev/null there, so that no file of
// ours comes to have one of these numbers.
inline void open_standard_fds() noexcept {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace tangelo
