#include "cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string_view>

namespace tangelo {

namespace {

volatile std::sig_atomic_t asked_to_end = 0;
void on_signal(int) { asked_to_end = 1; }

}  // namespace

bool terminal::is_there() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

terminal::terminal() {
  (void)::tcgetattr(STDIN_FILENO, &before_);
  termios now = before_;
  now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
  (void)::tcsetattr(STDIN_FILENO, TCSANOW, &now);
  struct sigaction action {};
  action.sa_handler = on_signal;  // without SA_RESTART: poll() returns
  (void)::sigaction(SIGTERM, &action, nullptr);
  (void)::sigaction(SIGHUP, &action, nullptr);
  std::fputs("\x1b[?1049h\x1b[?25l", stdout);  // another screen, no cursor
}

terminal::~terminal() {
  std::fputs("\x1b[?25h\x1b[?1049l", stdout);
  std::fflush(stdout);
  (void)::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void terminal::show(const std::string& text) const {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
    size = {24, 80, 0, 0};
  std::string out = "\x1b[H";
  std::string_view rest = text;
  for (unsigned row = 0; row < size.ws_row && !rest.empty(); ++row) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    if (row != 0) out += "\r\n";
    out += rest.substr(0, std::min<std::size_t>(end, size.ws_col));
    out += "\x1b[K";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  out += "\x1b[J";
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fflush(stdout);
}

bool terminal::ended(int wait_ms) const {
  pollfd p{STDIN_FILENO, POLLIN, 0};
  const int n = ::poll(&p, 1, wait_ms);
  if (asked_to_end != 0) return true;
  if (n <= 0) return false;
  char key = 0;
  if (::read(STDIN_FILENO, &key, 1) != 1) return errno != EINTR;
  constexpr char control_c = 3;
  return key == 'q' || key == 'Q' || key == control_c;
}

}  // namespace tangelo
