// loop: the event loop of a process, one io_uring and its timers, run by one thread.
//
// Who uses it: every main() makes one and hands it down as a `scheduler`; code that does I/O asks
// it for submission entries. A completion is delivered to the `completion` object named when the
// entry was taken, which must stay alive until then. All of it is loop-thread only, except
// post_from_thread().
//
// A turn: submit what was prepared and wait -> deliver completions -> run due timers. Completions
// record and prepare; the next turn submits everything they prepared with one system call.
//
// A loop that busy polls does not sleep for a while after each event: what comes next finds it
// awake, and costs a processor meanwhile.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/problem.h"

namespace tangelo {

// Where the kernel's answer to one submission goes.
class completion {
 public:
  virtual ~completion() = default;
  // `res` as in io_uring_cqe: a count, or a negative errno. `flags` as there (IORING_CQE_F_*).
  virtual void on_complete(int res, std::uint32_t flags) noexcept = 0;
};

// A completion that calls a member function of its owner.
template <class Owner, void (Owner::*Method)(int, std::uint32_t) noexcept>
class member_completion final : public completion {
 public:
  explicit member_completion(Owner& owner) noexcept : owner_(owner) {}
  void on_complete(int res, std::uint32_t flags) noexcept override { (owner_.*Method)(res, flags); }

 private:
  Owner& owner_;
};

// A source of events that the kernel tells of only when it is asked to: a loop that busy polls
// looks by itself.
class busy_source {
 public:
  virtual ~busy_source() = default;
  virtual bool look() noexcept = 0;  // true: there was an event
};

class loop final : public scheduler {
 public:
  static outcome<std::unique_ptr<loop>> make(unsigned entry_count);
  ~loop() override;
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  std::uint64_t now_ns() const noexcept override { return clock_.now_ns(); }
  std::uint64_t wall_ns() const noexcept override { return clock_.wall_ns(); }
  timer_id call_at(std::uint64_t deadline_ns, callback f) override;
  void cancel(timer_id id) noexcept override { timers_.cancel(id); }

  // An empty submission entry whose answer goes to `c` (nullptr: to nobody). Never null.
  io_uring_sqe* entry(completion* c) noexcept;
  io_uring* ring() noexcept { return &ring_; }

  // Calls `f` on the loop thread; may be called from any thread.
  void post_from_thread(callback f);

  // One turn; waits for an event if nothing is due.
  void run_once();
  void run();
  void stop() noexcept { stopped_ = true; }

  // For so long after an event the loop does not sleep; 0, as at first: it sleeps at once.
  void set_busy_poll(std::uint64_t ns) noexcept { busy_poll_ns_ = ns; }
  void attach(busy_source& s) { busy_sources_.push_back(&s); }
  void detach(busy_source& s) { std::erase(busy_sources_, &s); }

  // Called at the end of each turn, before sleeping; true means "there is more to do, don't sleep".
  void set_before_sleep(std::function<bool()> f) { before_sleep_ = std::move(f); }

 private:
  loop() = default;
  void arm_wake() noexcept;
  void on_wake(int res, std::uint32_t flags) noexcept;
  void deliver() noexcept;
  bool is_awake(std::uint64_t now) noexcept;
  void run_posted();

  io_uring ring_{};
  bool ring_made_ = false;
  system_clock clock_;
  timer_queue timers_;
  std::function<bool()> before_sleep_;
  bool stopped_ = false;

  std::uint64_t busy_poll_ns_ = 0;
  std::uint64_t awake_until_ns_ = 0;
  std::vector<busy_source*> busy_sources_;

  unique_fd wake_;
  std::uint64_t wake_value_ = 0;
  member_completion<loop, &loop::on_wake> wake_completion_{*this};
  std::mutex posted_mutex_;
  std::vector<callback> posted_;  // guarded by posted_mutex_
};

}  // namespace tangelo
