// The two ends of a ring of the shared arena. One producer, one consumer, in different processes,
// which do not trust each other: each keeps its own position to itself and takes the other's for
// true only while it makes sense.
#pragma once

#include <atomic>
#include <optional>

#include "protocol/device.h"

namespace tangelo {

class ring_producer {
 public:
  explicit ring_producer(ring_memory& memory) noexcept : memory_(memory) {}
  // Empties the ring: positions equal. Only while the other side is not attached.
  void reset() noexcept {
    produced_ = 0;
    memory_.produced.store(0, std::memory_order_relaxed);
    memory_.consumed.store(0, std::memory_order_relaxed);
    memory_.consumer_sleeps.store(1, std::memory_order_release);
  }
  // Goes on where the shared position is; for a producer that attaches to a reset ring.
  void attach() noexcept { produced_ = memory_.produced.load(std::memory_order_acquire); }
  // False when the ring is full (or the consumer's position is senseless).
  bool push(ring_entry e) noexcept {
    const std::uint32_t consumed = memory_.consumed.load(std::memory_order_acquire);
    if (produced_ - consumed >= ring_entry_count) return false;
    memory_.entries[produced_ % ring_entry_count].store(e.pack(), std::memory_order_relaxed);
    memory_.produced.store(++produced_, std::memory_order_release);
    unannounced_ = true;
    return true;
  }
  // True when something was pushed since the last call and the consumer sleeps: it has to be woken.
  // (One that is awake looks at the ring again before it sleeps.)
  bool take_wake() noexcept {
    if (!unannounced_) return false;
    unannounced_ = false;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (memory_.consumer_sleeps.load(std::memory_order_relaxed) == 0) return false;
    return memory_.consumer_sleeps.exchange(0, std::memory_order_acq_rel) != 0;
  }

 private:
  ring_memory& memory_;
  std::uint32_t produced_ = 0;
  bool unannounced_ = false;
};

class ring_consumer {
 public:
  explicit ring_consumer(ring_memory& memory) noexcept : memory_(memory) {}
  void reset() noexcept {
    consumed_ = 0;
    broken_ = false;
  }
  void attach() noexcept { consumed_ = memory_.consumed.load(std::memory_order_acquire); }
  std::optional<ring_entry> pop() noexcept {
    const std::uint32_t produced = memory_.produced.load(std::memory_order_acquire);
    const std::uint32_t ready = produced - consumed_;
    if (ready == 0) return std::nullopt;
    if (ready > ring_entry_count) {
      broken_ = true;
      return std::nullopt;
    }
    const std::uint64_t raw =
        memory_.entries[consumed_ % ring_entry_count].load(std::memory_order_relaxed);
    memory_.consumed.store(++consumed_, std::memory_order_release);
    return ring_entry::unpack(raw);
  }
  // The producer's position made no sense: it is mad, drop it.
  bool broken() const noexcept { return broken_; }
  // Announces that we sleep; false if something came in between (then do not sleep).
  bool prepare_sleep() noexcept {
    memory_.consumer_sleeps.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (memory_.produced.load(std::memory_order_relaxed) == consumed_) return true;
    memory_.consumer_sleeps.store(0, std::memory_order_relaxed);
    return false;
  }
  void awake() noexcept { memory_.consumer_sleeps.store(0, std::memory_order_relaxed); }

 private:
  ring_memory& memory_;
  std::uint32_t consumed_ = 0;
  bool broken_ = false;
};

}  // namespace tangelo
