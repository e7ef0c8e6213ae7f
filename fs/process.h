// process: tangelo-fs as a process: the front end, its loop, /dev/fuse, the watchdog and the core.
//
// Made by main() from the descriptors that the watchdog passed; run() returns the exit code when
// the mount is gone and nothing is pending any more (or 2 s later). Without a watchdog it goes on
// serving, and answers on fs.sock until another watchdog adopts it (protocol/supervise.h). One
// thread.
#pragma once

#include <memory>

#include "base/fd.h"
#include "base/loop.h"
#include "base/packet_socket.h"
#include "base/poller.h"
#include "base/problem.h"
#include "fs/dev_fuse.h"
#include "fs/front_end.h"
#include "protocol/arena.h"
#include "protocol/control_server.h"
#include "protocol/supervise.h"

namespace tangelo {

struct fs_fds {
  int fuse = -1;
  int arena = -1;
  int shared = -1;
  int watchdog = -1;
  int listener = -1;  // fs.sock; -1: nobody can ask
};

class fs_process final : control_events {
 public:
  // Takes over the descriptors.
  static outcome<std::unique_ptr<fs_process>> make(const fs_fds& fds);
  int run();
  // Would this program be able to serve the arena? Nothing of it is touched.
  static outcome<void> self_test(int arena_fd);

 private:
  // Rings the core: an eventfd.
  class eventfd_bell final : public bell {
   public:
    explicit eventfd_bell(unique_fd fd) noexcept : fd_(std::move(fd)) {}
    void ring() noexcept override;
    int fd() const noexcept { return fd_.get(); }

   private:
    unique_fd fd_;
  };

  fs_process(std::unique_ptr<loop> l, unique_fd fuse, fs_arena_map arena, shared_arena_map shared,
             unique_fd watchdog, unique_fd listener, unique_fd arena_for_core, unique_fd up,
             unique_fd down);
  bool work() noexcept;
  void beat() noexcept;
  void keep_time() noexcept;
  void on_bell(int res, std::uint32_t flags) noexcept;
  void arm_bell() noexcept;
  void watch_watchdog(unique_fd link) noexcept;
  void on_watchdog() noexcept;
  void obey(const supervise_packet& packet, packet_fds& fds) noexcept;
  void on_control(const control_request& request, control_ticket ticket) noexcept override;
  void send_arenas(control_ticket ticket) noexcept;
  void be_adopted(control_ticket ticket) noexcept;
  void set_draining(bool on) noexcept;
  void on_core() noexcept;
  void meet_core(unique_fd socket) noexcept;
  void admit_core(const attach_request& request) noexcept;
  void lose_core() noexcept;
  void dismiss_bad_core() noexcept;
  void check_callers() noexcept;
  void check_end() noexcept;
  void tell_watchdog(supervise_message type) noexcept;
  void retire(std::unique_ptr<poller>& p) noexcept;

  std::unique_ptr<loop> loop_;
  unique_fd fuse_;
  fs_arena_map arena_;
  shared_arena_map shared_;
  unique_fd watchdog_;
  control_server control_{*loop_, *this};
  unique_fd arena_for_core_;  // the arena again, read-only
  eventfd_bell core_bell_;
  unique_fd own_bell_;
  member_completion<fs_process, &fs_process::on_bell> bell_completion_{*this};
  dev_fuse kernel_;
  proc_inspector callers_;
  front_end front_end_;
  std::unique_ptr<poller> fuse_poller_;
  std::unique_ptr<poller> watchdog_poller_;
  std::unique_ptr<poller> core_poller_;
  std::vector<std::unique_ptr<poller>> old_pollers_;
  unique_fd core_;  // the socket of the core that is attached or about to attach
  bool checking_callers_ = false;
  bool drain_asked_ = false;  // and not answered yet
  timer_id drain_timer_ = 0;
  timer_id path_timer_ = 0;
  std::uint64_t path_timer_at_ = path_watch::never;
  bool ending_ = false;
  bool detaching_ = false;  // the core was asked to say GOODBYE and end
  std::uint64_t end_by_ns_ = 0;
  std::uint64_t log_told_ = 0;  // lines that the log dropped, in the metrics already
};

}  // namespace tangelo
