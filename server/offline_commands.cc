#include "server/offline_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "base/clock.h"
#include "base/log.h"
#include "server/check.h"
#include "server/fence_command.h"
#include "server/rocks_kv.h"
#include "server/scrub.h"
#include "server/takeover.h"
#include "server/volume_directory.h"
#include "server/wal_log.h"

namespace tangelo {

namespace {

constexpr std::uint64_t lock_wait_ms = 10'000;

// How far it is: one line that changes on a terminal, else a line every few seconds.
class progress_line {
 public:
  void show(const volume_progress& p) {
    const std::uint64_t now_ns = time_.now_ns();
    if (now_ns - shown_ns_ < (is_terminal_ ? 200 * ns_per_ms : 5 * ns_per_s)) return;
    shown_ns_ = now_ns;
    constexpr const char* rest_of_line = "\033[K";
    const std::string text =
        is_terminal_ ? "\r" + progress_bar(p) + rest_of_line : progress_text(p) + "\n";
    (void)std::fputs(text.c_str(), stderr);
    is_open_ = is_terminal_;
  }
  void end() {
    if (is_open_) (void)std::fputs("\n", stderr);
    is_open_ = false;
  }

 private:
  system_clock time_;
  const bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
  std::uint64_t shown_ns_ = time_.now_ns();
  bool is_open_ = false;
};

outcome<check_report> check_volume(const std::string& directory, bool repair,
                                   progress_line& progress) {
  const outcome<volume_hold> hold = hold_volume(directory);
  if (!hold) return failure{hold.error()};
  const std::string metadata = metadata_path(directory);
  outcome<log_verdict> log = inspect_logs(metadata);
  if (!log) return failure{log.error()};
  const bool gives_up = log->state == log_state::damaged && repair;
  if (gives_up)
    if (const outcome<bool> cut = cut_logs(metadata, *log); !cut) return failure{cut.error()};
  outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(metadata, false);
  if (!kv) return failure{kv.error()};
  check_options options;
  options.metadata = metadata;
  options.objects = objects_path(directory);
  options.repair = repair;
  options.guards_lost = gives_up;
  options.now_ns = static_cast<std::int64_t>(system_clock().wall_ns());
  options.progress = [&progress](const volume_progress& p) { progress.show(p); };
  outcome<check_report> report = check_store(**kv, options);
  if (report && gives_up)
    report->add({finding_kind::log, finding_level::damage, log->file,
                 "the log is damaged before its end: acknowledged changes are lost",
                 "given up: " + text_of_loss(*log), true});
  return report;
}

// A log that is damaged is check's business.
outcome<scrub_report> scrub_volume(const server_command& c, progress_line& progress) {
  const outcome<volume_hold> hold = hold_volume(c.directory);
  if (!hold) return failure{hold.error()};
  scrub_options options;
  options.metadata = metadata_path(c.directory);
  options.objects = objects_path(c.directory);
  options.protect = c.protect;
  options.progress = [&progress](const volume_progress& p) { progress.show(p); };
  const outcome<std::unique_ptr<kv_store>> kv = open_rocks_kv(options.metadata, false);
  if (!kv) return failure{kv.error()};
  return scrub_store(**kv, options);
}

}  // namespace

int run_takeover(const server_command& c) {
  const fence run_fence = [&c](const volume_holder& holder) {
    log_notice("takeover of {}: fencing process {} on {}: {}", c.directory, holder.pid,
               holder.host, c.fence);
    return run_fence_command(c.fence, c.directory, holder);
  };
  const outcome<takeover_report> done = take_over(c.directory, run_fence, lock_wait_ms);
  if (!done) return say_problem("tangelo-server", done.error());
  const std::string text = text_of_takeover(c.directory, *done);
  log_notice("takeover of {}", text);
  (void)std::fputs((text + "\n").c_str(), stdout);  // nobody to tell otherwise
  return 0;
}

int run_check(const server_command& c) {
  progress_line progress;
  const outcome<check_report> done = check_volume(c.directory, c.repair, progress);
  progress.end();
  if (!done) return say_problem("tangelo-server", done.error());
  const std::string text = c.json ? check_json(c.directory, *done, c.repair)
                                  : check_text(c.directory, *done, c.repair);
  (void)std::fputs(text.c_str(), stdout);  // nobody to tell otherwise
  return static_cast<int>(done->not_mended == 0 ? exit_code::ok : exit_code::failed);
}

int run_scrub(const server_command& c) {
  progress_line progress;
  const outcome<scrub_report> done = scrub_volume(c, progress);
  progress.end();
  if (!done) return say_problem("tangelo-server", done.error());
  const std::string text = c.json ? scrub_json(c.directory, *done)
                                  : scrub_text(c.directory, *done, c.protect);
  (void)std::fputs(text.c_str(), stdout);  // nobody to tell otherwise
  return static_cast<int>(done->clean() ? exit_code::ok : exit_code::failed);
}

}  // namespace tangelo
