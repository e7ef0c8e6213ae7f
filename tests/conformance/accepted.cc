// Differences from a local ext4 that are as they should be: at most ten, each with its reason
// (docs/CONFORMANCE.md).
#include "tests/conformance/harness.h"

namespace conformance {

const std::vector<accepted_difference>& accepted_differences() {
  static const std::vector<accepted_difference> rows = {
      {"fallocate: collapse *", "EOPNOTSUPP: ranges are not taken out"},
      {"fallocate: insert *", "EOPNOTSUPP: ranges are not inserted"},
      {"size_limits: beyond ext4*", "files may have 2^63-1 bytes, ext4's 2^44"},
      {"utimensat:*after 2262*", "nanoseconds since 1970 in 64 bits end there: the last of them"},
      {"limits: guess of the C library*", "glibc guesses LINK_MAX and FILESIZEBITS by the type"},
      {"*ofd*getlk* pid*", "the kernel does not tell FUSE which locks belong to open files"},
      {"chown: * to -1:-1: as [mb]*", "ok, and nothing is changed: see docs/CONFORMANCE.md"},
      {"controls: flags of ext4*", "ENOTTY: FS_IOC_GETFLAGS and GETVERSION are calls of ext4"},
  };
  return rows;
}

}  // namespace conformance
