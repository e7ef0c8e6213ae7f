#include "base/resident.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace tangelo {

void keep_resident() noexcept {
  if (::mlockall(MCL_CURRENT | MCL_ONFAULT) != 0)
    log_debug("memory is not locked: {} (matters only while the machine swaps)",
             std::strerror(errno));
}

}  // namespace tangelo
