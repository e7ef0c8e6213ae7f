// process: tangelo-core as a process: attaches to the front end over the socket that the watchdog
// passed, then runs one core on its loop until the front end dismisses it or is gone.
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

namespace tangelo {

struct core_source {
  std::vector<std::string> addresses;  // "host:port"
  std::string volume;
};
// Takes "host[:port][,host...]:/VOLUME" apart.
outcome<core_source> parse_source(const std::string& source);

class core_process {
 public:
  // Attaches; takes over the socket.
  static outcome<std::unique_ptr<core_process>> make(int device_fd, const std::string& source);
  int run();

 private:
  struct attachment {
    std::uint64_t generation = 0;
    unique_fd arena, shared, up_bell, down_bell;
  };
  static outcome<attachment> attach(int socket);
  core_process(std::unique_ptr<loop> l, unique_fd device, fs_arena_map arena,
               shared_arena_map shared, attachment a, core_source source);
  void on_device() noexcept;
  bool work() noexcept;

  std::unique_ptr<loop> loop_;
  unique_fd device_;
  fs_arena_map arena_;
  shared_arena_map shared_;
  unique_fd up_bell_;
  unique_fd down_bell_;
  std::unique_ptr<provider> fabric_;
  std::unique_ptr<core> core_;
  std::unique_ptr<poller> device_poller_;
  std::unique_ptr<poller> bell_poller_;
  bool leaving_ = false;
  int exit_code_ = 0;
};

}  // namespace tangelo
