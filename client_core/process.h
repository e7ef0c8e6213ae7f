// process: tangelo-core as a process: attaches to the front end over the socket that the watchdog
// passed, then runs one core on its loop until the front end dismisses it or is gone.
//
// Where nobody else would keep the mount's descriptors, the core does: it was given a duplicate of
// /dev/fuse and core.sock. When the front end is gone it works no more, and waits: for the watchdog
// to kill it, for an adopter to take the descriptors and kill it, or for the end of the mount.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "base/poller.h"
#include "base/problem.h"
#include "client_core/core.h"
#include "protocol/arena.h"
#include "protocol/control_server.h"
#include "protocol/mount_source.h"
#include "rdma/fabric.h"

namespace tangelo {

struct core_fds {
  int device = -1;
  int keeper = -1;  // listening core.sock; -1: keeps nothing
  int fuse = -1;    // only kept
  int secret = -1;  // the file of the server's secret; -1: there is none
  int arena = -1;   // for self_test()
};

class core_process final : control_events {
 public:
  // Attaches; takes over the descriptors.
  static outcome<std::unique_ptr<core_process>> make(const core_fds& fds, const std::string& source,
                                                     fabric_choice fabric,
                                                     std::uint64_t busy_poll_ns);
  int run();
  // Would this program be able to work on the arena? Nothing of it is touched.
  static outcome<void> self_test(int arena_fd);

 private:
  struct attachment {
    std::uint64_t generation = 0;
    unique_fd arena, shared, up_bell, down_bell;
  };
  static outcome<attachment> attach(int socket);
  core_process(std::unique_ptr<loop> l, unique_fd device, unique_fd fuse, fs_arena_map arena,
               shared_arena_map shared, attachment a, mount_source source, secret shared_secret,
               std::unique_ptr<provider> fabric);
  void on_device() noexcept;
  void on_front_end_gone() noexcept;
  void on_control(const control_request& request, control_ticket ticket) noexcept override;
  void look_for_the_end() noexcept;
  bool work() noexcept;
  void beat() noexcept;

  std::unique_ptr<loop> loop_;
  unique_fd device_;
  unique_fd fuse_;
  control_server control_{*loop_, *this};
  fs_arena_map arena_;
  shared_arena_map shared_;
  unique_fd up_bell_;
  unique_fd down_bell_;
  std::unique_ptr<provider> fabric_;
  std::unique_ptr<core> core_;
  std::unique_ptr<poller> device_poller_;
  std::unique_ptr<poller> bell_poller_;
  bool leaving_ = false;
  bool keeping_ = false;  // the front end is gone
  int exit_code_ = 0;
};

}  // namespace tangelo
