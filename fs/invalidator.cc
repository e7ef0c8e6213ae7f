#include "fs/invalidator.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/log.h"
#include "fs/fuse_abi.h"
#include "protocol/device.h"

namespace tangelo {

struct invalidator::shared_state {
  unique_fd fd;
  std::mutex m;
  std::condition_variable wake;
  std::vector<std::uint64_t> inodes;  // the thread's while busy
  std::atomic<bool> busy{false};      // set under m
  std::atomic<bool> ending{false};    // the same
  bool works = false;                 // there is a thread
};

namespace {

// Data and attributes, from its beginning to its end. ENOENT: the kernel does not know it.
void invalidate(int fd, std::uint64_t inode) noexcept {
  struct {
    fuse_out_header header{};
    fuse_notify_inval_inode_out out{};
  } notice;
  notice.header.len = sizeof notice;
  notice.header.error = FUSE_NOTIFY_INVAL_INODE;
  notice.out.ino = inode;
  if (::write(fd, &notice, sizeof notice) < 0 && errno != ENOENT)
    log_debug("inode {}: its cache is not dropped: {}", inode, std::strerror(errno));
}

}  // namespace

invalidator::invalidator(int fuse_fd) noexcept : state_(std::make_shared<shared_state>()) {
  state_->fd = unique_fd(::fcntl(fuse_fd, F_DUPFD_CLOEXEC, 0));
  state_->inodes.reserve(handle_count);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  (void)::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the loop's
  try {
    std::thread([s = state_] {
      for (std::unique_lock lock(s->m);;) {
        s->wake.wait(lock, [&s] { return s->ending || s->busy; });
        lock.unlock();
        for (const std::uint64_t inode : s->inodes)
          if (!s->ending) invalidate(s->fd.get(), inode);
        lock.lock();
        if (s->ending) return;
        s->busy.store(false, std::memory_order_release);
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
  const std::size_t n = std::min(inodes.size(), std::size_t{handle_count});
  state_->inodes.assign(inodes.begin(), inodes.begin() + static_cast<std::ptrdiff_t>(n));
  const std::lock_guard lock(state_->m);
  state_->busy.store(true, std::memory_order_release);
  state_->wake.notify_one();
}

bool invalidator::is_busy() const noexcept { return state_->busy.load(std::memory_order_acquire); }

}  // namespace tangelo
