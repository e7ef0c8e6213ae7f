// Records of the arena: how one is published by its writer and read by everybody else.
//
// The control word of a record names the current cell; a writer fills the other one, then stores
// the word. A reader copies the cell, reads the word again, and takes the copy only if the word did
// not change and the CRC matches: so it never uses a record that is being replaced.
#pragma once

#include <atomic>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "protocol/device.h"

namespace tangelo {

// The bytes of a cell that its CRC covers: all behind the CRC up to the end of the used body.
inline byte_span covered_bytes(const op_cell& c) noexcept {
  return object_bytes(c).subspan(4, op_cell_fixed_size - 4 + c.body_size);
}
inline byte_span covered_bytes(const downcall_cell& c) noexcept {
  return object_bytes(c).subspan(4, downcall_cell_fixed_size - 4 + c.body_size);
}
inline byte_span covered_bytes(const replay_cell& c) noexcept {
  return object_bytes(c).subspan(4, replay_cell_fixed_size - 4 + c.body_size);
}
inline byte_span covered_bytes(const handle_cell& c) noexcept { return object_bytes(c).subspan(4); }
inline byte_span covered_bytes(const lock_cell& c) noexcept { return object_bytes(c).subspan(4); }
inline byte_span covered_bytes(const eviction_cell& c) noexcept {
  return object_bytes(c).subspan(4);
}
inline byte_span covered_bytes(const replay_failure_cell& c) noexcept {
  return object_bytes(c).subspan(4);
}
inline byte_span covered_bytes(const mismatch_cell& c) noexcept {
  return object_bytes(c).subspan(4);
}

inline bool has_sane_size(const op_cell& c) noexcept { return c.body_size <= op_body_size_max; }
inline bool has_sane_size(const downcall_cell& c) noexcept {
  return c.body_size <= answer_size_max;
}
inline bool has_sane_size(const handle_cell&) noexcept { return true; }
inline bool has_sane_size(const replay_cell& c) noexcept {
  return c.body_size <= op_body_size_max;
}

// Bytes of a cell worth copying: the fixed part and what of the body is used.
template <class Cell>
std::size_t used_size(const Cell& c) noexcept {
  return 4 + covered_bytes(c).size();
}

// Writes `cell` (its CRC is filled in here) and publishes it with `state`. The one writer calls it.
template <class Slot, class Cell>
void publish(Slot& slot, Cell& cell, std::uint8_t state, std::uint32_t generation,
             std::uint32_t sequence) noexcept {
  const control_word now = control_word::unpack(slot.control.load(std::memory_order_relaxed));
  const auto spare = static_cast<std::uint8_t>(now.cell ^ 1);
  cell.crc = crc32c(covered_bytes(cell));
  std::memcpy(static_cast<void*>(&slot.cells[spare]), &cell, used_size(cell));
  slot.control.store(control_word{spare, state, generation, sequence}.pack(),
                     std::memory_order_release);
}

// Changes the state of a record and leaves its cell. The one writer calls it.
template <class Slot>
void set_state(Slot& slot, std::uint8_t state, std::uint32_t generation) noexcept {
  control_word w = control_word::unpack(slot.control.load(std::memory_order_relaxed));
  w.state = state;
  w.generation = generation;
  slot.control.store(w.pack(), std::memory_order_release);
}

template <class Slot>
control_word control_of(const Slot& slot) noexcept {
  return control_word::unpack(slot.control.load(std::memory_order_acquire));
}

// Copies the current cell into `out`; false if it is damaged or was replaced meanwhile.
template <class Slot, class Cell>
bool copy_record(const Slot& slot, control_word& word, Cell& out) noexcept {
  const std::uint64_t before = slot.control.load(std::memory_order_acquire);
  word = control_word::unpack(before);
  const Cell& cell = slot.cells[word.cell];
  if constexpr (requires { out.body; }) {
    std::memcpy(static_cast<void*>(&out), &cell, sizeof(Cell) - sizeof(out.body));
    if (!has_sane_size(out)) return false;
    std::memcpy(out.body, cell.body, out.body_size);
  } else {
    std::memcpy(static_cast<void*>(&out), &cell, sizeof out);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  if (slot.control.load(std::memory_order_relaxed) != before) return false;
  return crc32c(covered_bytes(out)) == out.crc;
}

}  // namespace tangelo
