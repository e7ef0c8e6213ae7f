// The watchdog's page of the front end's arena: who this mount is, what was agreed with the kernel,
// which processes serve it, and its policy. Part of the layout of device.h.
//
// Written by the watchdog before the front end starts, then only `processes` and `policy`; read by
// everybody. The core cannot write it: pids that are killed on its word come from here.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "protocol/wire.h"

namespace tangelo {

using atomic_u32 = std::atomic<std::uint32_t>;
using atomic_u64 = std::atomic<std::uint64_t>;
static_assert(atomic_u32::is_always_lock_free && atomic_u64::is_always_lock_free);

enum class process_role : std::uint8_t { watchdog = 0, front_end = 1, core = 2 };
inline constexpr std::size_t process_role_count = 3;
constexpr std::string_view name_of(process_role r) noexcept {
  switch (r) {
    using enum process_role;
    case watchdog: return "watchdog";
    case front_end: return "front_end";
    case core: return "core";
  }
  return {};
}
struct alignas(64) process_record {
  atomic_u32 pid{0};         // 0: not running
  atomic_u32 restarts{0};
  atomic_u64 generation{0};  // starts so far
  atomic_u64 started_ns{0};  // CLOCK_BOOTTIME
  atomic_u32 last_status{0}; // as from waitpid
  atomic_u32 hangs{0};       // times that one was killed because it stood still
  atomic_u64 next_start_ns{0}; // back-off: when it will be started again, 0 if it runs
  atomic_u64 start_ticks{0}; // field 22 of /proc/PID/stat: with the pid it names one process
};

// How long callers wait while the path to the server is down, when changes are answered, and what
// is logged. Read and written by protocol/policy.h only. Each time is 0 for off, or seconds + 1:
// memory that nobody has written says off, and commit = async.
struct alignas(64) policy_record {
  atomic_u32 reconnect_delay{0};
  atomic_u32 fast_io_fail_tmo{0};
  atomic_u32 dev_loss_tmo{0};
  atomic_u32 commit{0};  // commit_mode
  atomic_u32 ac{0};       // 0: as the server says, else seconds + 1
  // 1: direct_io, 2: writeback_cache, 4: noatime, 8: nodiratime, 16: protection is off
  atomic_u32 caching{0};
  atomic_u32 log{0};      // log_level of all three processes; 0: as each was started
};

struct alignas(4096) watchdog_page {
  id128 client_id{};
  std::uint64_t incarnation = 0;
  std::uint32_t init_request_size = 0;
  std::uint32_t init_reply_size = 0;
  std::array<std::byte, 256> init_request{};
  std::array<std::byte, 256> init_reply{};  // with fuse_out_header
  std::array<char, 1024> mount_point{};     // zero-terminated
  std::array<char, 1024> source{};
  process_record processes[process_role_count];
  policy_record policy;
};

}  // namespace tangelo
