// terminal: keys of a person without waiting for Enter, and pictures that replace each other.
//
// One at a time, command line only. Its destructor leaves the terminal as it was, and so does
// SIGTERM; ^C is a key like q.
#pragma once

#include <termios.h>

#include <cstdint>
#include <string>

namespace tangelo {

class terminal {
 public:
  static bool is_there();  // standard input and output are one
  terminal();
  ~terminal();
  terminal(const terminal&) = delete;
  terminal& operator=(const terminal&) = delete;

  // Puts `text` in the place of what was there, cut to the window.
  void show(const std::string& text) const;
  // Waits so long for a key that ends it; true: it came, or nobody is there any more.
  bool ended(int wait_ms) const;

 private:
  termios before_{};
};

}  // namespace tangelo
