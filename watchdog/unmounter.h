// unmounter: umount2(2), or fusermount3, on threads of their own, because it may wait for the very
// processes that the loop supervises.
//
// Owned by the watchdog, loop thread only; at most thread_count_max calls at once. The answer comes
// back on the loop. Before the call the thread looks whether the topmost mount there is ours.
#pragma once

#include <functional>
#include <string>

#include "base/loop.h"

namespace tangelo {

class unmounter {
 public:
  static constexpr unsigned thread_count_max = 4;
  // `device`: "major:minor" of our mount in the mount table.
  unmounter(loop& time, std::string mount_point, std::string device)
      : time_(time), mount_point_(std::move(mount_point)), device_(std::move(device)) {}

  // `flags`: 0, MNT_DETACH or MNT_FORCE. `done` gets 0 or an errno: EBUSY in use, ENOENT not there
  // any more, EAGAIN too many such calls.
  void unmount(int flags, std::function<void(int)> done) noexcept;
  bool idle() const noexcept { return threads_ == 0; }
  // Something else is mounted over ours.
  bool is_covered() const;

 private:
  loop& time_;
  std::string mount_point_;
  std::string device_;
  unsigned threads_ = 0;
};

}  // namespace tangelo
