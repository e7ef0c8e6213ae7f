// Lock records: what this client holds and waits for; part of the layout of device.h.
//
// A lock_slot in the front end's arena is written by the front end alone. One that is held is a
// range of a file that its owner has; one that waits is a wait at the server, known there by
// lock_id, and has taken the place of the op that began it. The core claims both after a restart of
// the server.
//
// In the shared arena a lock word is written by the core alone: what the server said of the record
// with that index and sequence. `lock_news` in the core's page grows behind it. The front end
// acts, which changes the record; that is how the core sees that it is done, and tells the server.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "protocol/lock_ops.h"
#include "protocol/watchdog_page.h"

namespace tangelo {

inline constexpr std::uint32_t lock_count = 16384;

enum class lock_state : std::uint8_t {
  free = 0,
  asking = 1,   // belongs to a set_lock op that has not been answered
  waiting = 2,  // the server has queued it
  held = 3,
  damaged = 4,  // never used again
};

struct lock_cell {
  std::uint32_t crc = 0;  // over everything behind it
  std::uint32_t index = 0;
  std::uint64_t lock_id = 0;    // sequence << 16 | index
  std::uint64_t order = 0;      // where two of one owner overlap, the higher one counts
  std::uint64_t kernel_id = 0;  // of the request that waits; held: that may not be answered yet
  std::uint32_t caller = 0;     // thread that waits
  // 1: nobody wants it any more. A wait is cancelled, what is held is unlocked.
  std::uint32_t leaving = 0;
  lock_what what;
  std::uint16_t reserved[3]{};
};
struct alignas(64) lock_slot {
  std::atomic<std::uint64_t> control{0};  // state: lock_state
  std::atomic<std::uint32_t> resent{0};   // 1: the kernel has sent the request again (resent_id)
  std::byte pad[52];
  lock_cell cells[2];
};

enum class lock_event : std::uint16_t {
  none = 0,
  ended = 1,  // the wait; status ok: the lock is held
  lost = 2,   // somebody else has it
};
struct lock_word {
  std::uint32_t sequence = 0;
  lock_event event = lock_event::none;
  std::uint16_t status = 0;  // error_code
  constexpr std::uint64_t pack() const noexcept {
    return std::uint64_t{sequence} << 32 | std::uint64_t{static_cast<std::uint16_t>(event)} << 16 |
           status;
  }
  static constexpr lock_word unpack(std::uint64_t raw) noexcept {
    return {static_cast<std::uint32_t>(raw >> 32), static_cast<lock_event>(raw >> 16 & 0xffff),
            static_cast<std::uint16_t>(raw)};
  }
};

constexpr std::uint32_t lock_index(std::uint64_t lock_id) noexcept { return lock_id & 0xffff; }
constexpr std::uint32_t lock_sequence(std::uint64_t lock_id) noexcept {
  return static_cast<std::uint32_t>(lock_id >> 16);
}

}  // namespace tangelo
