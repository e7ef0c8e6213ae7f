// The replay log of the front end's arena: changes that were answered before they were durable.
// Part of the layout of device.h. Written by the front end (fs/replay_log.h), read by the core, who
// makes them again after a restart of the server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "protocol/data_slots.h"
#include "protocol/ops.h"
#include "protocol/watchdog_page.h"

namespace tangelo {

inline constexpr std::uint32_t replay_count = 16384;
inline constexpr std::uint32_t replay_page_size = 4096;
inline constexpr std::uint32_t replay_page_count = 65536;

// Where the bytes that go with a replay are: in pages of the log, or, if they are more than a small
// slot holds, in the data slot that they came in, which stays taken.
struct replay_payload {
  slot_ref slot;                 // kind none: in the log
  std::uint32_t first_page = 0;  // of the log
  std::uint32_t size = 0;        // bytes; 0: there are none
};

// A mutation that was answered before it was durable: the call as it is to be made again. It is
// written before the kernel hears the answer, and goes when last_committed has passed it. `body` is
// the call's, with the server's choices in it (the offset of an append).
struct replay_cell {
  std::uint32_t crc = 0;  // over everything behind it, up to body_size bytes of body
  std::uint32_t index = 0;
  std::uint64_t transno = 0;
  std::int64_t time_ns = 0;  // of the change, by the server's clock
  std::uint64_t xid = 0;
  std::uint32_t slot = 0;
  std::uint32_t slot_seq = 0;
  opcode op = opcode::none;
  std::uint16_t body_size = 0;
  std::uint32_t is_directory = 0;  // 1: `inode` is one, though `op` does not say so
  std::uint64_t inode = 0;   // what it changed: the file or, of a change of names, the directory
  std::uint64_t inode2 = 0;  // the other directory of a rename, or what was made; 0: none
  replay_payload payload;
  std::byte body[op_body_size_max];
};
static_assert(std::is_trivially_copyable_v<replay_cell>);
inline constexpr std::size_t replay_cell_fixed_size = offsetof(replay_cell, body);

enum class replay_state : std::uint8_t { free = 0, kept = 1 };
struct alignas(64) replay_slot {
  atomic_u64 control{0};  // state: replay_state
  std::byte pad[56];
  replay_cell cells[2];
};

// True for a payload that lies within the log or names an existing slot.
constexpr bool is_valid(const replay_payload& p) noexcept {
  if (p.slot.kind != slot_class::none) return is_valid(p.slot) && p.slot.size == p.size;
  const std::uint32_t pages = (p.size + replay_page_size - 1) / replay_page_size;
  return p.size <= slot_shapes[static_cast<std::size_t>(slot_class::write_small)].size &&
         p.first_page < replay_page_count && pages <= replay_page_count - p.first_page;
}

}  // namespace tangelo
