#include "server/standby.h"

#include <algorithm>

#include "base/log.h"

namespace tangelo {

// What one look brought.
struct standby::finding {
  outcome<std::optional<opened_store>> store = std::optional<opened_store>();
  std::string holder;
};

standby::standby(scheduler& time, workers& worker, standby_actions actions)
    : time_(time), worker_(worker), actions_(std::move(actions)) {}

standby::~standby() { stop(); }

void standby::wait_for(const volume_config& v) {
  awaited a;
  a.volume = v;
  a.since_ns = time_.now_ns();
  volumes_.push_back(std::move(a));
  look(volumes_.size() - 1);
}

void standby::stop() {
  stopped_ = true;
  for (awaited& a : volumes_) time_.cancel(a.timer);
}

std::size_t standby::waiting() const {
  return static_cast<std::size_t>(std::count_if(
      volumes_.begin(), volumes_.end(), [](const awaited& a) { return a.at != state::serving; }));
}

void standby::look(std::size_t index) {
  volumes_[index].at = state::looking;
  volumes_[index].timer = 0;
  const auto f = std::make_shared<finding>();
  worker_.submit(
      [f, volume = volumes_[index].volume, actions = actions_] {
        f->store = actions.open(volume);
        if (f->store && !*f->store) f->holder = actions.holder(volume);
      },
      [this, index, f, alive = std::weak_ptr<bool>(alive_)] {
        if (!alive.expired() && !stopped_) found(index, *f);
      });
}

void standby::found(std::size_t index, finding& f) {
  awaited& a = volumes_[index];
  const std::string& name = a.volume.name;
  outcome<bool> served = false;
  if (f.store && *f.store) {
    if (!a.holder.empty())
      log_notice("{}: {} is gone: taking over, after {} s as a standby", name, a.holder,
                 (time_.now_ns() - a.since_ns) / ns_per_s);
    served = actions_.serve(a.volume, std::move(**f.store));
  } else if (!f.store) {
    served = failure{f.store.error()};
  } else {
    if (a.holder != f.holder)
      log_notice("{}: standby: {} is served by {}", name, a.volume.path, f.holder);
    a.holder = f.holder;
    a.trouble.clear();
    return look_later(index, look_period_ns);
  }
  if (served) {
    a.at = state::serving;
    return;
  }
  const problem& p = served.error();
  if (a.trouble != p.text) log_error("{}: cannot be taken over: {}; {}", name, p.text, p.hint);
  a.trouble = p.text;
  look_later(index, retry_period_ns);
}

void standby::look_later(std::size_t index, std::uint64_t delay_ns) {
  volumes_[index].at = state::waiting;
  volumes_[index].timer = time_.call_after(delay_ns, [this, index] { look(index); });
}

}  // namespace tangelo
