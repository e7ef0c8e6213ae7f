// loop_network: a fabric inside one process, on a scheduler, for tests and the simulator.
//
// Connections have delays drawn from a seed, keep order, and fail only when told to: at the n-th
// frame delivered anywhere (counted from 1; messages and bulk alike), all at once, or by losing a
// single frame in silence. A listener is found under the very text it listens on. Everything is
// deterministic: same seed, same calls, same virtual time -> same events.
//
// Bulk is copied into the frame when it is sent, so no memory is read after on_done or close(),
// and written only on delivery to an endpoint that is still up.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/prng.h"
#include "rdma/provider.h"

namespace tangelo {

class loop_side;
class loop_listener;

struct loop_options {
  std::uint64_t seed = 1;
  std::uint64_t delay_min_ns = 10 * ns_per_us;
  std::uint64_t delay_max_ns = 100 * ns_per_us;
  std::size_t frames_in_flight_max = 4096;  // per direction; beyond: no_buffers
};

class loop_network final : public provider {
 public:
  explicit loop_network(scheduler& time, loop_options options = {});
  ~loop_network() override;
  std::unique_ptr<endpoint> connect(std::string_view address) override;
  outcome<std::unique_ptr<listener>> listen(std::string_view address, acceptor a) override;

  // Frames delivered so far, lost ones included.
  std::uint64_t delivered() const noexcept { return delivered_; }
  // Instead of delivering frame `n`, ends the connection it would arrive on.
  void cut_at(std::uint64_t n) { cuts_.insert(n); }
  // Loses frame `n` without a sign.
  void swallow_at(std::uint64_t n) { losses_.insert(n); }
  // Loses everything from now on, without a sign, until it is called with false.
  void swallow_all(bool on) noexcept { swallow_all_ = on; }
  void cut_all();

 private:
  friend class loop_side;
  friend class loop_listener;
  enum class fate : std::uint8_t { deliver, lose, cut };
  fate next_fate();
  std::uint64_t delay_ns() noexcept;

  scheduler& time_;
  loop_options options_;
  prng random_;
  std::uint64_t delivered_ = 0;
  bool swallow_all_ = false;
  std::uint64_t connection_count_ = 0;
  std::set<std::uint64_t> cuts_;
  std::set<std::uint64_t> losses_;
  std::map<std::string, loop_listener*, std::less<>> listeners_;
  std::vector<std::weak_ptr<loop_side>> sides_;
};

}  // namespace tangelo
