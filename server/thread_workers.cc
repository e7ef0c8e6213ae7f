#include "server/thread_workers.h"

#include <pthread.h>

#include <csignal>
#include <string>

namespace tangelo {

thread_workers::thread_workers(loop& home, std::string_view name, std::size_t thread_count)
    : home_(home) {
  sigset_t all, before;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);  // signals belong to the loop thread
  for (std::size_t i = 0; i < thread_count; ++i) {
    threads_.emplace_back([this] { run(); });
    (void)pthread_setname_np(threads_.back().native_handle(), std::string(name).c_str());
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

thread_workers::~thread_workers() {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

void thread_workers::submit(work job, work then) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    tasks_.push_back({std::move(job), std::move(then)});
  }
  wake_.notify_one();
}

void thread_workers::run() {
  for (;;) {
    task next;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      next = std::move(tasks_.front());
      tasks_.pop_front();
    }
    next.job();
    next.job = nullptr;  // what it holds is let go before its `then` runs elsewhere
    home_.post_from_thread(std::move(next.then));
  }
}

}  // namespace tangelo
