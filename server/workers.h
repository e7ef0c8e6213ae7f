// workers: the way to threads that may wait for the disk.
//
// A seam: thread_workers.h is the real one, virtual_workers.h runs jobs in virtual time. The server
// has two: a small pool (warm reads, opening and removing files) and a commit thread of its own.
// submit() is loop-thread only.
#pragma once

#include <functional>

namespace tangelo {

class workers {
 public:
  using work = std::function<void()>;
  virtual ~workers() = default;
  // Runs `job` on another thread, then `then` on the loop thread. Jobs of one thread run in order.
  virtual void submit(work job, work then) = 0;
};

}  // namespace tangelo
