// CHECK(): an invariant, stated positively, always on, release builds too.
//
// A broken invariant stops the process. In the core and the server this is recovery: the process
// is started again and the op arena or the store says what was in flight. The front end and the
// watchdog never put input from another process into a check; they answer bad input by closing
// the connection it came from.
#pragma once

namespace tangelo {

[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace tangelo

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) ::tangelo::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
