// run_dir: RUN/mounts/NAME/, the place where a running mount is found, and the lock on it.
//
// Owned by the watchdog from before the mount until after its end. The lock is flock(2) on the
// directory itself: it ends with the watchdog, however that ends, and holds against a second
// watchdog of the same NAME. What a dead watchdog left behind is taken over.
#pragma once

#include <sys/un.h>

#include <functional>
#include <string>

#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

class run_dir {
 public:
  // Makes and locks RUN/mounts/NAME; a user's RUN must be that user's alone. While another watchdog
  // of that NAME is ending, waits up to `wait_ms` for it, unless it `stays`.
  static outcome<run_dir> take(const std::string& run_root, const std::string& name,
                               unsigned wait_ms, const std::function<bool()>& stays = {});
  // What this process had locked before it became another program.
  static run_dir inherited(const std::string& run_root, const std::string& name, unique_fd lock);
  run_dir(run_dir&&) = default;
  run_dir& operator=(run_dir&&) = default;

  outcome<void> write_mount_file(const std::string& content) const;
  outcome<std::string> read_mount_file() const;
  // A listening SEQPACKET socket, mode 0600, non-blocking.
  outcome<unique_fd> listen_at(const char* socket_name) const;
  // Whether it is where it was made, with that socket in it: somebody may clear /run under us.
  bool has(const char* socket_name) const noexcept;
  // A connection that never waits; empty when nobody listens there.
  unique_fd connect_to(const char* socket_name) const;
  // Takes everything in it and the directory away.
  void remove() noexcept;
  int lock_fd() const noexcept { return lock_.get(); }
  const std::string& path() const noexcept { return path_; }

 private:
  run_dir(std::string path, unique_fd lock) noexcept
      : path_(std::move(path)), lock_(std::move(lock)) {}

  sockaddr_un address_of(const char* socket_name) const;

  std::string path_;
  unique_fd lock_;
};

}  // namespace tangelo
