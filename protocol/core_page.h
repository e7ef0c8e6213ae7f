// What the core tells about itself and its server: a page of the shared arena, part of the layout
// of device.h. Written by the core alone; the front end resets `path_up` while no core is attached.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "protocol/watchdog_page.h"

namespace tangelo {

// Written by the core: the server has forgotten this mount. It is published after the last answer
// of the lost session, and before the downcalls that say `evicted`, which all ops get that are
// offered until it is acted upon. The front end notes what was lost and drops the replay records;
// when the core holds no op any more it ends what a lost core held, stores `sequence` in
// fs_arena::evictions_done and rings. Until then no core begins a new session.
struct eviction_cell {
  std::uint32_t crc = 0;  // over everything behind it
  std::uint32_t went_back = 0;  // 1: the store is older than it was: all may be lost
  std::uint64_t sequence = 0;  // 1 more than the one before, in the life of the arena
  std::uint64_t kept_through = 0;  // changes up to this transno are not lost
  std::array<char, 128> text{};    // why, zero-terminated
};
struct alignas(64) eviction_slot {
  atomic_u64 control{0};  // state: 1 once written
  std::byte pad[56];
  eviction_cell cells[2];
};

// Written by the core: the server refused a replay, so what it changed is lost. The front end drops
// that record, notes the loss, stores `sequence` in fs_arena::replay_failures_done and rings; until
// then the core tells of no other.
struct replay_failure_cell {
  std::uint32_t crc = 0;  // over everything behind it
  std::uint32_t index = 0;
  std::uint64_t sequence = 0;  // 1 more than the one before, in the life of the arena
  std::uint64_t transno = 0;   // of the replay
  std::uint64_t inode = 0;     // what it changed
  std::uint32_t status = 0;    // error_code
  std::uint32_t reserved = 0;
};
struct alignas(64) replay_failure_slot {
  atomic_u64 control{0};  // state: 1 once written
  std::byte pad[56];
  replay_failure_cell cells[2];
};

// Written by the core: what did not fit last when trailers were checked (protection.h).
struct mismatch_cell {
  std::uint32_t crc = 0;  // over everything behind it
  std::uint32_t kind = 0;  // protection_kind
  std::uint32_t hop = 0;   // protection_hop
  std::uint32_t expected = 0;
  std::uint32_t found = 0;
  std::uint32_t reserved = 0;
  std::uint64_t inode = 0;
  std::uint64_t block = 0;
};
struct alignas(64) mismatch_slot {
  atomic_u64 control{0};  // state: 1 once written
  std::byte pad[56];
  mismatch_cell cells[2];
};

// The last_down_reason of a server that answers, and does not want this mount (rdma/provider.h).
inline constexpr std::uint32_t refused_by_server = 7;

// What the core tells about itself. Written by the core; the front end resets `path_up` while no
// core is attached. What it says of the server is believed: a too high last_committed would empty
// the replay log.
struct alignas(4096) core_page {
  atomic_u32 import_state{0};
  atomic_u32 connection_count{0};
  atomic_u64 boot_generation{0};
  atomic_u64 last_committed{0};
  atomic_u64 beats{0};     // as in fs_pulse
  atomic_u32 path_up{0};   // 1: the import is FULL, ops are wanted
  atomic_u32 sending{0};
  atomic_u32 delayed{0};
  atomic_u32 last_down_reason{0};
  std::array<atomic_u64, 8> address{};    // text, zero-padded
  std::array<atomic_u64, 16> last_text{};  // what the server said last, zero-padded
  atomic_u64 lease_until_ns{0};  // CLOCK_BOOTTIME; 0: there was none yet
  atomic_u64 lock_news{0};  // grows with each lock word that is written
  eviction_slot eviction;
  replay_failure_slot replay_failure;
  mismatch_slot mismatch;
};

}  // namespace tangelo
