// mount.tangelo: called by mount(8). See cli/mount_helper.h.
#include <cstdio>

#include "base/standard_fds.h"
#include "cli/control.h"
#include "cli/mount_helper.h"

namespace {

constexpr const char* usage =
    "usage: mount.tangelo HOST[:PORT][,HOST...]:/VOLUME DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS]\n"
    "mount(8) runs it for `mount -t tangelo`. See man mount.tangelo, and tangelo mount --help.\n";

int fail(const tangelo::problem& p) {
  using tangelo::printable;
  std::fprintf(stderr, "mount.tangelo: %s\n", printable(p.text).c_str());
  if (!p.hint.empty()) std::fprintf(stderr, "mount.tangelo: %s\n", printable(p.hint).c_str());
  return tangelo::mount_exit_code(p);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace tangelo;
  open_standard_fds();
  const outcome<helper_call> call = parse_helper_call({argv + 1, argv + argc});
  if (!call) return fail(call.error());
  if (call->show_help) return std::fputs(usage, stdout) < 0 ? 2 : 0;
  const outcome<void> done = run_mount_helper(*call);
  return done ? 0 : fail(done.error());
}
