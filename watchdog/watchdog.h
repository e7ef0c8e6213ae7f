// watchdog: one mount, from mount(2) to its end, and the two processes that serve it.
//
// Made by main() after the command line is known; everything runs on the loop thread. It owns the
// /dev/fuse descriptor, both arenas, the run directory and the children, and it outlives them: no
// input from a child or from the command line stops it, none makes it wait.
//
//   make()   run directory and lock -> arenas, identity -> /dev/fuse, mount(2), INIT
//   start()  front end -> (ready) core -> "ok" to --ready-fd and systemd
//   the end  somebody unmounts, wherever: front end sends the core home, says `unmounted` and
//            exits -> everything is taken away -> the loop stops
//
// Invariants:
//   1. A core is started only after the one before it was reaped and the front end was told.
//   2. Once the mount has ended, or we were told to end, everything is over within 2 s, by SIGKILL
//      if need be. A mount that lives on elsewhere (bind mount, lazy unmount) is served on.
//   3. Only the watchdog's page of the front end's arena is written here; its process records only
//      after start().
#pragma once

#include <memory>
#include <string_view>

#include "base/loop.h"
#include "protocol/arena.h"
#include "protocol/control_server.h"
#include "watchdog/child.h"
#include "watchdog/run_dir.h"
#include "watchdog/settings.h"
#include "watchdog/supervise_link.h"
#include "watchdog/unmounter.h"

namespace tangelo {

// What make() has prepared before there is a loop to run.
struct mount_parts {
  run_dir directory;
  unique_fd fuse;
  fs_arena_map fs;
  unique_fd shared;
  unique_fd control;
  std::string device;  // "major:minor" of the mount
  std::string front_end_program;
  std::string core_program;
};
outcome<mount_parts> make_mount(const watchdog_settings& settings, const clock& time);

class watchdog final : child_events, link_events, control_events {
 public:
  watchdog(watchdog_settings settings, mount_parts parts, loop& time);

  void start() noexcept;
  // SIGTERM or SIGINT came.
  void on_stop_signal() noexcept;
  // Valid when the loop has stopped.
  exit_code code() const noexcept { return code_; }

 private:
  // child_events
  result<child_process, int> start_child(process_role role) noexcept override;
  void on_child_ended(process_role role, pid_t pid, int status) noexcept override;
  void on_child_gone(process_role role, int status) noexcept override;
  // link_events
  void on_packet(const supervise_packet& packet) noexcept override;
  void on_link_closed() noexcept override;
  // control_events
  void on_control(const control_request& request, control_ticket ticket) noexcept override;

  result<child_process, int> start_front_end() noexcept;
  result<child_process, int> start_core() noexcept;
  bool core_has_worked() const noexcept;
  void on_front_end_gone(int status) noexcept;
  void send_arenas(control_ticket ticket) noexcept;
  void unmount_for(control_ticket ticket, int flags) noexcept;
  bool mount_is_gone() const noexcept;
  void kill_what_hangs() noexcept;
  void begin_leaving() noexcept;
  void finish(exit_code code) noexcept;
  void end_if_quiet() noexcept;
  void end_now() noexcept;
  void report(std::string_view text) noexcept;

  watchdog_settings settings_;
  mount_parts parts_;
  loop& time_;
  run_as core_user_;
  unmounter unmounter_;
  supervise_link link_{time_, *this};
  control_server control_{time_, *this};
  supervised_child front_end_;
  supervised_child core_;
  std::uint64_t core_started_ns_ = 0;
  std::uint64_t downcalls_at_start_ = 0;
  bool reported_ = false;       // --ready-fd was answered
  bool said_unmounted_ = false; // by the front end
  bool leaving_ = false;        // we were told to end, and will, whoever uses the mount
  bool finishing_ = false;      // the front end is gone
  bool ended_ = false;
  exit_code code_ = exit_code::ok;
};

}  // namespace tangelo
