#include "base/clock.h"

#include <ctime>
#include <limits>

namespace tangelo {

namespace {

std::uint64_t read_clock(clockid_t id) noexcept {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * ns_per_s + static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

std::uint64_t system_clock::now_ns() const noexcept { return read_clock(CLOCK_BOOTTIME); }
std::uint64_t system_clock::wall_ns() const noexcept { return read_clock(CLOCK_REALTIME); }

timer_id timer_queue::add(std::uint64_t deadline_ns, scheduler::callback f) {
  const timer_id id = ++last_id_;
  timers_.emplace(key{deadline_ns, id}, std::move(f));
  deadlines_.emplace(id, deadline_ns);
  return id;
}

void timer_queue::cancel(timer_id id) noexcept {
  const auto it = deadlines_.find(id);
  if (it == deadlines_.end()) return;
  timers_.erase(key{it->second, id});
  deadlines_.erase(it);
}

std::uint64_t timer_queue::next_deadline_ns() const noexcept {
  return timers_.empty() ? std::numeric_limits<std::uint64_t>::max() : timers_.begin()->first.first;
}

bool timer_queue::run_one(std::uint64_t now_ns) {
  return run_one(now_ns, std::numeric_limits<timer_id>::max());
}

bool timer_queue::run_one(std::uint64_t now_ns, timer_id newest) {
  for (auto it = timers_.begin(); it != timers_.end() && it->first.first <= now_ns; ++it) {
    if (it->first.second > newest) continue;
    const scheduler::callback f = std::move(it->second);
    deadlines_.erase(it->first.second);
    timers_.erase(it);
    f();
    return true;
  }
  return false;
}

timer_id virtual_scheduler::call_at(std::uint64_t deadline_ns, callback f) {
  return timers_.add(deadline_ns < now_ns_ ? now_ns_ : deadline_ns, std::move(f));
}

bool virtual_scheduler::run_one() {
  if (timers_.empty()) return false;
  if (timers_.next_deadline_ns() > now_ns_) now_ns_ = timers_.next_deadline_ns();
  return timers_.run_one(now_ns_);
}

void virtual_scheduler::advance(std::uint64_t delta_ns) {
  const std::uint64_t end = now_ns_ + delta_ns;
  while (timers_.next_deadline_ns() <= end) run_one();
  now_ns_ = end;
}

}  // namespace tangelo
