// virtual_workers: `workers` in virtual time, for tests and the simulator. A job runs when its
// delay has passed and its `then` right after it, both as events of the scheduler.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "server/workers.h"

namespace tangelo {

class virtual_workers final : public workers {
 public:
  explicit virtual_workers(scheduler& time) : time_(time) {}
  virtual_workers(const virtual_workers&) = delete;
  virtual_workers& operator=(const virtual_workers&) = delete;

  void submit(work job, work then) override {
    // One thread: a job begins when the one before it has ended.
    const std::uint64_t now = time_.now_ns();
    free_at_ns_ = (free_at_ns_ > now ? free_at_ns_ : now) + delay_ns_;
    (void)time_.call_at(free_at_ns_, [alive = std::weak_ptr<bool>(alive_), job = std::move(job),
                                      then = std::move(then)] {
      if (alive.expired()) return;
      job();
      then();
    });
  }
  void set_delay_ns(std::uint64_t delay_ns) { delay_ns_ = delay_ns; }

 private:
  scheduler& time_;
  std::uint64_t delay_ns_ = 0;
  std::uint64_t free_at_ns_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace tangelo
