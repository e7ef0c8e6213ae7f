// standby: waits for volumes that other servers hold, and opens each one as soon as it is free.
//
// Loop thread only; the looking (a try for the lock, ten times a second) and the opening of the
// metadata are jobs of a worker of its own, one at a time, so that neither stands in the way of
// what this process serves already. A volume that cannot be opened is tried again, more slowly.
//
// The three functions are how it is connected to a server, or to a test.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/problem.h"
#include "server/served_volume.h"
#include "server/workers.h"

namespace tangelo {

struct standby_actions {
  // On the worker: hold and open it; nothing while it is another's.
  std::function<outcome<std::optional<opened_store>>(const volume_config&)> open;
  // On the worker: who holds it, for people.
  std::function<std::string(const volume_config&)> holder;
  // On the loop: it is ours. A failure gives it back; it is tried again.
  std::function<outcome<bool>(const volume_config&, opened_store)> serve;
};

class standby {
 public:
  static constexpr std::uint64_t look_period_ns = 100 * ns_per_ms;
  static constexpr std::uint64_t retry_period_ns = 5 * ns_per_s;

  standby(scheduler& time, workers& worker, standby_actions actions);
  ~standby();
  standby(const standby&) = delete;
  standby& operator=(const standby&) = delete;

  void wait_for(const volume_config& v);
  // Looks no more; what is being opened at this moment is given back.
  void stop();
  std::size_t waiting() const;  // for how many volumes

 private:
  enum class state : std::uint8_t { waiting, looking, serving };
  struct awaited {
    volume_config volume;
    state at = state::waiting;
    timer_id timer = 0;
    std::uint64_t since_ns = 0;
    std::string holder;   // as said last
    std::string trouble;  // as said last
  };
  struct finding;
  void look(std::size_t index);
  void found(std::size_t index, finding& f);
  void look_later(std::size_t index, std::uint64_t delay_ns);

  scheduler& time_;
  workers& worker_;
  const standby_actions actions_;
  std::vector<awaited> volumes_;
  bool stopped_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace tangelo
