// watchdog: one mount, from mount(2) to its end, and the two processes that serve it.
//
// Made by main() after the command line is known; everything runs on the loop thread. It owns the
// /dev/fuse descriptor, both arenas, the run directory and the children, and it outlives them: no
// input from a child or from the command line stops it, none makes it wait.
//
//   make()   run directory and lock -> arenas, identity -> /dev/fuse, mount(2), INIT
//   resume() or: the same process goes on as a newer program (upgrade.h)
//   adopt()  or: run directory and lock -> all of that from the front end or the core, which live
//   start()  front end -> (ready) core -> "ok" to --ready-fd; READY to systemd when the mount has
//            answered (watchdog_ready.cc)
//   always   every 200 ms a look at both: what hangs is killed, what has ended is started again; a
//            front end that ends takes its core along: that one keeps the descriptors until the
//            next front end is ready, which then gets the next core
//   the end  somebody unmounts, wherever: front end sends the core home, says `unmounted` and
//            exits -> everything is taken away -> the loop stops
//
// Invariants:
//   1. A core is started only after the one before it was reaped, and a front end is ready and was
//      told so; a front end only after the one before it was reaped or cannot run any more.
//   2. Once the mount has ended, or we were told to end, everything is over within 2 s, by SIGKILL
//      if need be. A mount that lives on elsewhere (bind mount, lazy unmount) is served on.
//   3. Only the watchdog's page of the front end's arena is written here; its process records only
//      after start().
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/loop.h"
#include "base/notify.h"
#include "protocol/arena.h"
#include "protocol/control_server.h"
#include "watchdog/child.h"
#include "watchdog/pulse_monitor.h"
#include "watchdog/run_dir.h"
#include "watchdog/settings.h"
#include "watchdog/statfs_child.h"
#include "watchdog/supervise_link.h"
#include "watchdog/unmounter.h"
#include "watchdog/upgrade.h"

namespace tangelo {

// What was prepared before there is a loop to run.
struct mount_parts {
  run_dir directory;
  unique_fd fuse;
  fs_arena_map fs;
  unique_fd shared;
  shared_arena_map shared_view;  // read-only
  unique_fd control;
  std::string device;  // "major:minor" of the mount
  program front_end_program;
  program core_program;
  // Of an adopted mount, where they live: pid 0 says that one does not.
  bool is_adopted = false;
  unique_fd link;  // to the front end; empty when it is to be replaced
  child_process front_end;
  child_process core;
  std::uint32_t ended_core_pid = 0;  // one that ended while nobody looked
  unique_fd asker;                   // of the upgrade that this program came with
  unique_fd secret{};                // the file of it, as last opened; empty: none, or not yet
};
outcome<mount_parts> make_mount(const watchdog_settings& settings, const clock& time);
// Descriptors of a mount, from systemd or from a process that serves it.
struct kept_mount {
  unique_fd link;  // the connection they came by, if one
  unique_fd fuse;
  unique_fd fs;
  unique_fd shared;
};
// Takes over the mount on settings.mount_point, whose watchdog has ended; completes `settings`.
// `kept` is used where the front end does not answer, else asked for from the core.
outcome<mount_parts> adopt_mount(watchdog_settings& settings, const clock& time, kept_mount kept);
// The two above, whichever is right after systemd handed us `stored`.
outcome<mount_parts> make_or_adopt_mount(watchdog_settings& settings, const clock& time,
                                         std::vector<stored_fd> stored);
// Lets systemd keep what an adopter needs.
void store_mount(const mount_parts& parts) noexcept;
void take_back_mount() noexcept;
// Goes on as the watchdog that this process was before; the descriptors in `settings` are left as
// they are when that fails.
outcome<mount_parts> resume_mount(watchdog_settings& settings, const clock& time);

// A text that the core wrote into its page, without what could be taken for more than text.
template <std::size_t N>
std::string page_text(const std::array<atomic_u64, N>& words) {
  std::string text;
  for (const atomic_u64& word : words) {
    std::array<char, sizeof(std::uint64_t)> bytes{};
    const std::uint64_t value = word.load(std::memory_order_relaxed);
    std::memcpy(bytes.data(), &value, sizeof value);
    text.append(bytes.data(), bytes.size());
  }
  text.resize(std::min(text.find('\0'), text.size()));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

class watchdog final : child_events, link_events, control_events, upgrade_host {
 public:
  watchdog(watchdog_settings settings, mount_parts parts, loop& time);

  void start() noexcept;
  // SIGTERM or SIGINT came.
  void on_stop_signal() noexcept;
  // Valid when the loop has stopped.
  exit_code code() const noexcept {
    return refusal_.empty() ? code_ : exit_code::unreachable;
  }

 private:
  // child_events
  result<child_process, int> start_child(process_role role) noexcept override;
  child_verdict on_child_ended(process_role role, const child_end& end) noexcept override;
  void on_child_gone(process_role role, int status) noexcept override;
  // link_events
  void on_packet(const supervise_packet& packet) noexcept override;
  void on_link_closed() noexcept override;
  // control_events
  void on_control(const control_request& request, control_ticket ticket) noexcept override;

  // upgrade_host
  void drain_front_end() noexcept override;
  void resume_front_end() noexcept override;
  replaced_process replace(process_role role, program next) noexcept override;
  std::string hand_over(program next, control_ticket asker) noexcept override;
  void answer_upgrade(control_ticket asker, int error, std::string_view text) noexcept override;

  void start_first() noexcept;
  void take_over() noexcept;
  void answer_resumed() noexcept;
  void upgrade_for(control_ticket ticket, std::uint64_t deadline_ns) noexcept;
  bool all_is_well() const noexcept;
  result<child_process, int> start_front_end() noexcept;
  void expect_ready() noexcept;
  result<child_process, int> start_core() noexcept;
  unique_fd secret_for_core() noexcept;
  child_verdict on_front_end_ended(const child_end& end) noexcept;
  child_verdict on_core_ended(const child_end& end) noexcept;
  bool core_is_wanted() const noexcept;
  void want_core() noexcept;
  void look() noexcept;
  void keep_reachable() noexcept;
  void look_at(supervised_child& child, pulse_monitor& pulse) noexcept;
  void on_front_end_ready() noexcept;
  void on_front_end_gone(int status) noexcept;
  void on_mount_gone() noexcept;
  void send_arenas(control_ticket ticket) noexcept;
  void force_for(control_ticket ticket) noexcept;
  void end_forced(control_ticket ticket, int error) noexcept;
  void abort_callers() noexcept;
  void set_policy(const policy_change& change, control_ticket ticket) noexcept;
  void unmount_for(control_ticket ticket, int flags) noexcept;
  bool mount_is_gone() const noexcept;
  void begin_leaving() noexcept;
  void finish(exit_code code) noexcept;
  void end_if_quiet() noexcept;
  void end_now() noexcept;
  void leave() noexcept;
  void report(std::string_view text) noexcept;
  void await_answer() noexcept;
  void look_for_answer() noexcept;
  bool path_is_up() const noexcept;
  bool has_answered() noexcept;
  void tell_ready() noexcept;
  void give_up_refused() noexcept;
  void tell_systemd() noexcept;
  std::string status_text() const;
  std::string service_text() const;
  void count_waiting() noexcept;

  watchdog_settings settings_;
  mount_parts parts_;
  loop& time_;
  run_as core_user_;
  unmounter unmounter_;
  supervise_link link_{time_, *this};
  control_server control_{time_, *this};
  supervised_child front_end_;
  supervised_child core_;
  pulse_monitor front_end_pulse_;
  pulse_monitor core_pulse_;
  upgrade upgrade_{time_, *this};
  std::uint64_t downcalls_at_start_ = 0;
  bool core_is_orphan_ = false;  // it belongs to a front end that has ended
  timer_id ready_timer_ = 0;
  std::uint64_t abort_until_ns_ = 0;  // a front end that becomes ready before is told to abort
  std::string status_;                // what systemd was told last
  std::uint64_t alive_told_ns_ = 0;
  std::uint32_t waiting_count_ = 0;  // operations that wait for long
  std::uint64_t waiting_counted_ns_ = 0;
  statfs_child statfs_;
  timer_id answer_timer_ = 0;
  std::uint64_t answer_by_ns_ = 0;  // READY then, whether the server is there or not
  bool told_ready_ = false;         // systemd was
  std::string refusal_;             // what the server said before it ever served us
  bool unreachable_ = false;  // and said so
  bool front_end_ready_ = false;
  bool ever_ready_ = false;     // a front end was: from then on the mount is kept
  bool reported_ = false;       // --ready-fd was answered
  bool said_unmounted_ = false; // by the front end
  bool leaving_ = false;        // we were told to end, and will, whoever uses the mount
  bool gone_seen_ = false;      // the mount's end
  bool finishing_ = false;      // the front end is gone
  bool ended_ = false;
  exit_code code_ = exit_code::ok;
};

}  // namespace tangelo
