// The watchdog's part in a live upgrade (upgrade.h), and how it becomes its own successor.
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/packet_socket.h"
#include "watchdog/own_record.h"
#include "watchdog/watchdog.h"

namespace tangelo {

namespace {

outcome<upgrade_programs> installed_programs() {
  outcome<program> front_end = find_installed("tangelo-fs", "fs");
  if (!front_end) return failure{front_end.error()};
  outcome<program> core = find_installed("tangelo-core", "client_core");
  if (!core) return failure{core.error()};
  outcome<program> own = find_installed("tangelo-watchdog", "watchdog");
  if (!own) return failure{own.error()};
  return upgrade_programs{*std::move(front_end), *std::move(core), *std::move(own)};
}

}  // namespace

// What has just been started is waited for.
void watchdog::upgrade_for(control_ticket ticket, std::uint64_t deadline_ns) noexcept {
  const bool at_rest = upgrade_.state() != upgrade_state::idle || all_is_well();
  const bool ends = leaving_ || finishing_ || gone_seen_;
  if (!at_rest && !ends && time_.now_ns() < deadline_ns) {
    (void)time_.call_after(look_period_ns,
                           [this, ticket, deadline_ns] { upgrade_for(ticket, deadline_ns); });
    return;
  }
  if (!at_rest || ends)
    return control_.answer(
        ticket, answer_of(EAGAIN, "front end and core do not both serve now; see tangelo status"));
  outcome<unique_fd> arena = read_only_copy(parts_.fs.fd());
  if (!arena) return control_.answer(ticket, answer_of(EMFILE, arena.error().text));
  upgrade_.begin(ticket, installed_programs(), *std::move(arena), core_user_);
}

bool watchdog::all_is_well() const noexcept {
  return front_end_ready_ && front_end_pulse_.is_well() && core_pulse_.is_well() &&
         parts_.fs->core_attached.load(std::memory_order_acquire) != 0;
}

void watchdog::drain_front_end() noexcept { (void)link_.send({supervise_message::drain, 0}); }
void watchdog::resume_front_end() noexcept { (void)link_.send({supervise_message::resume, 0}); }

replaced_process watchdog::replace(process_role role, program next) noexcept {
  const bool is_core = role == process_role::core;
  supervised_child& child = is_core ? core_ : front_end_;
  program& current = is_core ? parts_.core_program : parts_.front_end_program;
  replaced_process before{std::exchange(current, std::move(next)), child.pid()};
  if (is_core)
    core_.dismiss();  // on_child_gone() wants the next
  else
    front_end_.kill_now();
  return before;
}

void watchdog::answer_upgrade(control_ticket asker, int error, std::string_view text) noexcept {
  control_.answer(asker, answer_of(error, text));
}

// The children stay ours, the lock stays locked, and whoever asked stays connected.
std::string watchdog::hand_over(program next, control_ticket asker) noexcept {
  if (!link_.idle() || !unmounter_.idle()) return "the watchdog is busy; try again";
  outcome<program> own = open_program_of(::getpid());
  if (!own) return own.error().text;
  resume_fds fds{parts_.fuse.get(),          parts_.fs.fd(),      parts_.shared.get(),
                 parts_.directory.lock_fd(), control_.listener(), link_.fd(),
                 control_.socket_of(asker),  own->file.get()};
  std::vector<std::string> words{"--resume",    resume_text(fds),    "--mount-point",
                                 settings_.mount_point, "--run-dir", settings_.run_dir,
                                 "--state-dir", settings_.state_dir};
  if (settings_.foreground) words.push_back("--foreground");
  if (settings_.verbose) words.push_back("--verbose");
  for (const std::string& word : settings_.options.words)
    words.insert(words.end(), {"--option", word});
  for (const int* fd : fds.all()) set_inheritable(*fd, true);
  log_notice("becoming {}", next.path);
  const int error = become_program(next, words);
  for (const int* fd : fds.all()) set_inheritable(*fd, false);
  return next.path + ": " + std::strerror(error) + "; the old watchdog goes on";
}

void watchdog::answer_resumed() noexcept {
  const unique_fd asker = std::move(parts_.asker);
  if (!asker) return;
  const control_answer answer =
      settings_.resume_failed
          ? answer_of(ECANCELED,
                      "the new tangelo-watchdog could not go on (see the log); the old one does, "
                      "with the new core and front end")
          : answer_of(0, "core, front end and watchdog are those now installed");
  if (send_packet(asker.get(), object_bytes(answer)) != packet_status::ok)
    log_debug("who asked for the upgrade is gone");
}

}  // namespace tangelo
