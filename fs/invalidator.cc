#include "fs/invalidator.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "fs/inval_notice.h"
#include "fs/kernel_port.h"

namespace tangelo {

// Whoever changes an inode's word from its number to 0 has it: the thread tells the kernel, the
// loop has taken it back.
struct invalidator::shared_state {
  unique_fd fd;
  unique_fd bell;
  std::mutex m;
  std::condition_variable wake;
  std::array<std::atomic<std::uint64_t>, drop_batch_max> inodes{};
  std::atomic<bool> busy{false};    // set under m
  std::atomic<bool> ending{false};  // the same
  bool works = false;               // there is a thread
};

namespace {

void invalidate(int fd, std::uint64_t inode) noexcept {
  const int rc = write_inval_notice(fd, inode, 0);
  if (rc != 0 && rc != -ENOENT)
    log_debug("inode {}: its cache is not dropped: {}", inode, std::strerror(-rc));
}

void ring(int bell) noexcept {
  const std::uint64_t one = 1;
  (void)!::write(bell, &one, sizeof one);
}

}  // namespace

invalidator::invalidator(int fuse_fd, int bell_fd) noexcept
    : state_(std::make_shared<shared_state>()) {
  state_->fd = unique_fd(::fcntl(fuse_fd, F_DUPFD_CLOEXEC, 0));
  state_->bell = unique_fd(::fcntl(bell_fd, F_DUPFD_CLOEXEC, 0));
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  (void)::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the loop's
  try {
    std::thread([s = state_] {
      for (std::unique_lock lock(s->m);;) {
        s->wake.wait(lock, [&s] { return s->ending || s->busy; });
        lock.unlock();
        for (std::atomic<std::uint64_t>& entry : s->inodes)
          if (const std::uint64_t inode = entry.exchange(0); inode != 0 && !s->ending)
            invalidate(s->fd.get(), inode);
        lock.lock();
        if (s->ending) return;
        s->busy.store(false, std::memory_order_release);
        ring(s->bell.get());
      }
    }).detach();
    state_->works = true;
  } catch (const std::system_error& e) {
    log_error("no thread to drop the kernel's caches with: {}", e.what());
  }
  (void)::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

invalidator::~invalidator() {
  const std::lock_guard lock(state_->m);
  state_->ending = true;
  state_->wake.notify_one();
}

void invalidator::begin(std::span<const std::uint64_t> inodes) noexcept {
  if (!state_->works) return;
  const std::size_t n = std::min(inodes.size(), drop_batch_max);
  for (std::size_t i = 0; i < n; ++i) state_->inodes[i].store(inodes[i]);
  const std::lock_guard lock(state_->m);
  state_->busy.store(true, std::memory_order_release);
  state_->wake.notify_one();
}

bool invalidator::take_back(std::size_t place) noexcept {
  return place < drop_batch_max && state_->inodes[place].exchange(0) != 0;
}

bool invalidator::is_busy() const noexcept { return state_->busy.load(std::memory_order_acquire); }

}  // namespace tangelo
