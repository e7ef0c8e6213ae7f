// thread_workers: `workers` on real threads, which end with it. What is queued then is still done,
// its `then` is not called.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/loop.h"
#include "server/workers.h"

namespace tangelo {

class thread_workers final : public workers {
 public:
  thread_workers(loop& home, std::string_view name, std::size_t thread_count);
  ~thread_workers() override;
  thread_workers(const thread_workers&) = delete;
  thread_workers& operator=(const thread_workers&) = delete;
  void submit(work job, work then) override;

 private:
  struct task {
    work job;
    work then;
  };
  void run();

  loop& home_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<task> tasks_;  // guarded by mutex_
  bool ending_ = false;     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace tangelo
