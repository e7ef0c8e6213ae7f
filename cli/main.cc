#include <cstdio>

#include "base/standard_fds.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/control.h"

namespace {

using tangelo::outcome;

struct run_words {
  outcome<void> operator()(const tangelo::mount_arguments& w) const { return run_mount(w); }
  outcome<void> operator()(const tangelo::umount_arguments& w) const { return run_umount(w); }
  outcome<void> operator()(const tangelo::look_arguments& w) const { return run_look(w); }
  outcome<void> operator()(const tangelo::set_arguments& w) const { return run_set(w); }
  outcome<void> operator()(const tangelo::abort_arguments& w) const { return run_abort(w); }
  outcome<void> operator()(const tangelo::upgrade_arguments& w) const { return run_upgrade(w); }
  outcome<void> operator()(const tangelo::adopt_arguments& w) const { return run_adopt(w); }
  outcome<void> operator()(const tangelo::server_arguments& w) const { return run_server(w); }
  outcome<void> operator()(const tangelo::quota_arguments& w) const { return run_quota(w); }
  outcome<void> operator()(const tangelo::metrics_arguments& w) const { return run_metrics(w); }
  outcome<void> operator()(const tangelo::ping_arguments& w) const { return run_ping(w); }
  outcome<void> operator()(const tangelo::top_arguments& w) const { return run_top(w); }
  outcome<void> operator()(const tangelo::trace_arguments& w) const { return run_trace(w); }
  outcome<void> operator()(const tangelo::fabric_arguments& w) const { return run_fabric(w); }
  outcome<void> operator()(const tangelo::said_arguments& w) const {
    std::fputs(w.text.c_str(), stdout);
    return {};
  }
};

int fail(const tangelo::problem& p) {
  std::fprintf(stderr, "tangelo: %s\n", tangelo::printable(p.text).c_str());
  if (!p.hint.empty()) std::fprintf(stderr, "tangelo: %s\n", tangelo::printable(p.hint).c_str());
  return static_cast<int>(p.code);
}

// A full disk is seen when the last of it is written.
outcome<void> finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return tangelo::failure{tangelo::problem{tangelo::exit_code::failed,
                                           "standard output: it could not all be written", {}}};
}

}  // namespace

int main(int argc, char** argv) {
  tangelo::open_standard_fds();
  const outcome<tangelo::arguments> words = tangelo::parse_arguments(argc, argv);
  if (!words) return fail(words.error());
  const outcome<void> done = std::visit(run_words{}, *words);
  const outcome<void> written = finish_output();
  if (!done) return fail(done.error());
  return written ? 0 : fail(written.error());
}
