// poller: tells on the loop when a descriptor becomes readable (or its other end is gone).
//
// Whoever owns it reads until there is nothing left; the next readiness is told again. Must outlive
// the loop's last turn, or be stopped and the loop be destroyed without another turn.
#pragma once

#include <poll.h>

#include <functional>
#include <utility>

#include "base/loop.h"

namespace tangelo {

class poller final : public completion {
 public:
  poller(loop& l, int fd, std::function<void()> on_readable)
      : loop_(l), fd_(fd), on_readable_(std::move(on_readable)) {
    arm();
  }
  void stop() noexcept { stopped_ = true; }
  // The kernel has let go of this poller: it may be destroyed.
  bool is_idle() const noexcept { return !armed_ && !cancelling_; }
  // Asks the kernel to let go; is_idle() becomes true on a later turn.
  void cancel() noexcept {
    stopped_ = true;
    if (!armed_ || cancelling_) return;
    cancelling_ = true;
    io_uring_sqe* sqe = loop_.entry(&cancel_completion_);
    const auto* name = static_cast<const completion*>(this);  // as armed
    io_uring_prep_poll_remove(sqe, reinterpret_cast<std::uintptr_t>(name));
    io_uring_sqe_set_data(sqe, static_cast<completion*>(&cancel_completion_));
  }

  void on_complete(int res, std::uint32_t flags) noexcept override {
    if ((flags & IORING_CQE_F_MORE) == 0) armed_ = false;
    if (stopped_ || res == -ECANCELED) return;
    on_readable_();
    if (!armed_ && !stopped_) arm();
  }

 private:
  void arm() noexcept {
    io_uring_sqe* sqe = loop_.entry(this);
    io_uring_prep_poll_multishot(sqe, fd_, POLLIN);
    io_uring_sqe_set_data(sqe, static_cast<completion*>(this));
    armed_ = true;
  }

  // An event that is on its way just then keeps the poll alive: EALREADY.
  void on_cancelled(int, std::uint32_t) noexcept {
    cancelling_ = false;
    cancel();
  }

  loop& loop_;
  int fd_;
  std::function<void()> on_readable_;
  bool armed_ = false;
  bool stopped_ = false;
  bool cancelling_ = false;
  member_completion<poller, &poller::on_cancelled> cancel_completion_{*this};
};

}  // namespace tangelo
