// clock and scheduler: the only ways in which our code learns the time and asks to be called later.
//
// Both are passed in through constructors. Processes use the io_uring loop (base/loop.h), tests a
// virtual_scheduler whose time moves only when they say so; the same product code runs on both.
// All times are nanoseconds. `now_ns` never goes back and keeps counting while the machine is
// suspended (CLOCK_BOOTTIME); `wall_ns` is the calendar time that file times are made of.
//
// A scheduler belongs to one thread; its callbacks run there, one at a time, never from inside
// call_at() or post().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

namespace tangelo {

inline constexpr std::uint64_t ns_per_us = 1'000;
inline constexpr std::uint64_t ns_per_ms = 1'000'000;
inline constexpr std::uint64_t ns_per_s = 1'000'000'000;

class clock {
 public:
  virtual ~clock() = default;
  virtual std::uint64_t now_ns() const noexcept = 0;
  virtual std::uint64_t wall_ns() const noexcept = 0;
};

class system_clock final : public clock {
 public:
  std::uint64_t now_ns() const noexcept override;
  std::uint64_t wall_ns() const noexcept override;
};

// Names one pending call; 0 is never given out.
using timer_id = std::uint64_t;

class scheduler : public clock {
 public:
  using callback = std::function<void()>;

  // Calls `f` once, at `deadline_ns` or as soon as possible after it.
  virtual timer_id call_at(std::uint64_t deadline_ns, callback f) = 0;
  timer_id call_after(std::uint64_t delay_ns, callback f) {
    return call_at(now_ns() + delay_ns, std::move(f));
  }
  // Does nothing for a timer that has run or is 0.
  virtual void cancel(timer_id id) noexcept = 0;
  // Calls `f` once, on a later turn of the loop.
  void post(callback f) { (void)call_at(0, std::move(f)); }
};

// Timers in the order of their deadlines, and of their making among equal ones.
class timer_queue {
 public:
  timer_id add(std::uint64_t deadline_ns, scheduler::callback f);
  void cancel(timer_id id) noexcept;
  bool empty() const noexcept { return timers_.empty(); }
  std::uint64_t next_deadline_ns() const noexcept;  // UINT64_MAX when there is none
  // Runs one timer whose deadline is not after `now_ns`; false when there is none.
  bool run_one(std::uint64_t now_ns);
  timer_id last_id() const noexcept { return last_id_; }
  // As run_one, but leaves timers made after `newest` for the next turn.
  bool run_one(std::uint64_t now_ns, timer_id newest);

 private:
  using key = std::pair<std::uint64_t, timer_id>;
  std::map<key, scheduler::callback> timers_;
  std::map<timer_id, std::uint64_t> deadlines_;
  timer_id last_id_ = 0;
};

// Virtual time for tests and the simulator: nothing happens until run_one() or advance().
class virtual_scheduler final : public scheduler {
 public:
  std::uint64_t now_ns() const noexcept override { return now_ns_; }
  std::uint64_t wall_ns() const noexcept override { return wall_base_ns + now_ns_; }
  timer_id call_at(std::uint64_t deadline_ns, callback f) override;
  void cancel(timer_id id) noexcept override { timers_.cancel(id); }

  // Moves time to the next timer and runs it; false when nothing is pending.
  bool run_one();
  // Runs everything due in the next `delta_ns` and moves time there.
  void advance(std::uint64_t delta_ns);

 private:
  static constexpr std::uint64_t wall_base_ns = 1'700'000'000 * ns_per_s;
  std::uint64_t now_ns_ = 1;
  timer_queue timers_;
};

}  // namespace tangelo
