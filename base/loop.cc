#include "base/loop.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace tangelo {

outcome<std::unique_ptr<loop>> loop::make(unsigned entry_count) {
  std::unique_ptr<loop> l(new loop);
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CLAMP |
                 IORING_SETUP_CQSIZE;
  params.cq_entries = entry_count * 4;
  int rc = io_uring_queue_init_params(entry_count, &l->ring_, &params);
  if (rc == -EINVAL) {
    params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    rc = io_uring_queue_init_params(entry_count, &l->ring_, &params);
  }
  if (rc < 0)
    return failure{problem{exit_code::failed,
                           std::string("io_uring: ") + std::strerror(-rc),
                           "this kernel or its security policy does not allow io_uring; see "
                           "sysctl kernel.io_uring_disabled"}};
  l->ring_made_ = true;
  l->wake_.reset(::eventfd(0, EFD_CLOEXEC));
  CHECK(static_cast<bool>(l->wake_));
  l->arm_wake();
  return l;
}

loop::~loop() {
  if (ring_made_) io_uring_queue_exit(&ring_);
}

timer_id loop::call_at(std::uint64_t deadline_ns, callback f) {
  return timers_.add(deadline_ns, std::move(f));
}

io_uring_sqe* loop::entry(completion* c) noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    const int rc = io_uring_submit(&ring_);
    CHECK(rc >= 0 || rc == -EBUSY || rc == -EAGAIN || rc == -EINTR);
    sqe = io_uring_get_sqe(&ring_);
  }
  CHECK(sqe != nullptr);
  io_uring_prep_nop(sqe);
  io_uring_sqe_set_data(sqe, c);
  return sqe;
}

void loop::arm_wake() noexcept {
  io_uring_sqe* sqe = entry(&wake_completion_);
  io_uring_prep_read(sqe, wake_.get(), &wake_value_, sizeof wake_value_, 0);
  io_uring_sqe_set_data(sqe, &wake_completion_);
}

void loop::on_wake(int, std::uint32_t) noexcept {
  arm_wake();
  run_posted();
}

void loop::post_from_thread(callback f) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> guard(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(f));
  }
  const std::uint64_t one = 1;
  if (first) CHECK(::write(wake_.get(), &one, sizeof one) == static_cast<ssize_t>(sizeof one));
}

void loop::run_posted() {
  std::vector<callback> now;
  {
    const std::lock_guard<std::mutex> guard(posted_mutex_);
    now.swap(posted_);
  }
  for (const callback& f : now) f();
}

void loop::deliver() noexcept {
  io_uring_cqe* batch[64];
  for (;;) {
    const unsigned count = io_uring_peek_batch_cqe(&ring_, batch, 64);
    if (count == 0) return;
    if (busy_poll_ns_ != 0) awake_until_ns_ = now_ns() + busy_poll_ns_;
    for (unsigned i = 0; i < count; ++i) {
      auto* c = static_cast<completion*>(io_uring_cqe_get_data(batch[i]));
      const int res = batch[i]->res;
      const std::uint32_t flags = batch[i]->flags;
      if (c != nullptr) c->on_complete(res, flags);
    }
    io_uring_cq_advance(&ring_, count);
  }
}

// Whether it is too early to sleep: there was an event a moment ago.
bool loop::is_awake(std::uint64_t now) noexcept {
  if (busy_poll_ns_ == 0) return false;
  bool found = false;
  for (std::size_t i = 0; i < busy_sources_.size(); ++i) found |= busy_sources_[i]->look();
  if (found) awake_until_ns_ = now + busy_poll_ns_;
  return now < awake_until_ns_;
}

void loop::run_once() {
  const bool busy = before_sleep_ != nullptr && before_sleep_();
  const std::uint64_t now = now_ns();
  const bool awake = is_awake(now);
  const std::uint64_t due = timers_.next_deadline_ns();
  if (busy || awake || due <= now) {
    (void)io_uring_submit_and_get_events(&ring_);
  } else {
    __kernel_timespec wait{};
    const std::uint64_t left = due - now;
    wait.tv_sec = static_cast<long long>(left / ns_per_s);
    wait.tv_nsec = static_cast<long long>(left % ns_per_s);
    io_uring_cqe* cqe = nullptr;
    const bool forever = timers_.empty();
    const int rc =
        io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, forever ? nullptr : &wait, nullptr);
    // Stopped and continued: what happened meanwhile comes before any other work.
    if (rc == -EINTR) (void)io_uring_get_events(&ring_);
  }
  deliver();
  const timer_id newest = timers_.last_id();
  const std::uint64_t then = now_ns();
  while (timers_.run_one(then, newest)) {
  }
}

void loop::run() {
  while (!stopped_) run_once();
}

}  // namespace tangelo
