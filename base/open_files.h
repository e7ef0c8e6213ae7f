// open_files: the limit of open files, as far up as a process may set its own.
#pragma once

#include <sys/resource.h>

namespace tangelo {

// How many files may be open then.
inline rlim_t raise_open_files() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit all{limit.rlim_max, limit.rlim_max};
  if (limit.rlim_cur < all.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &all) == 0) return all.rlim_cur;
  return limit.rlim_cur;
}

}  // namespace tangelo
