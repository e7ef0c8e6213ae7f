// The trailers of writes (protection.h) in the front end's arena, part of the layout of device.h:
// made when a write arrives, next to its data slot, and for a replay record whose bytes are in the
// log next to that record. Written by the front end before the op or the record is published, and
// not changed while it has them; the core sends them as they are.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "protocol/data_slots.h"
#include "protocol/protection.h"
#include "protocol/replay_records.h"

namespace tangelo {

// An encoded trailer of at most PieceCount pieces.
template <std::size_t PieceCount>
struct alignas(64) kept_trailer {
  std::uint32_t size = 0;  // bytes; 0: there is none
  std::array<std::byte, trailer_fixed_size + 4 * PieceCount> bytes{};
};

inline constexpr std::size_t small_piece_count_max =
    slot_shapes[static_cast<std::size_t>(slot_class::write_small)].size / protected_block_size + 1;
using large_trailer = kept_trailer<piece_count_max>;
using small_trailer = kept_trailer<small_piece_count_max>;

struct trailer_tables {
  large_trailer large[slot_shapes[static_cast<std::size_t>(slot_class::write_large)].count];
  small_trailer small[slot_shapes[static_cast<std::size_t>(slot_class::write_small)].count];
  small_trailer replays[replay_count];
};

template <std::size_t PieceCount>
byte_span bytes_of(const kept_trailer<PieceCount>& t) noexcept {
  const std::size_t size = t.size;
  return size <= t.bytes.size() ? byte_span(t.bytes).first(size) : byte_span{};
}
// That of the bytes in a data slot, which is_valid(); empty: there is none.
inline byte_span trailer_of(const trailer_tables& tables, const slot_ref& slot) noexcept {
  if (slot.kind == slot_class::write_large) return bytes_of(tables.large[slot.index]);
  if (slot.kind == slot_class::write_small) return bytes_of(tables.small[slot.index]);
  return {};
}

template <std::size_t PieceCount>
void keep_trailer(kept_trailer<PieceCount>& to, const protection_trailer& t) noexcept {
  to.size = size_of(t) <= to.bytes.size()
                ? static_cast<std::uint32_t>(encode_trailer(t, to.bytes))
                : 0;
}
// Those of a slot's next owner; nothing: it has none.
inline void keep_trailer(trailer_tables& tables, const slot_ref& slot,
                         const protection_trailer* t) noexcept {
  const auto keep = [t](auto& to) noexcept {
    if (t != nullptr)
      keep_trailer(to, *t);
    else if (to.size != 0)
      to.size = 0;
  };
  if (slot.kind == slot_class::write_large) keep(tables.large[slot.index]);
  if (slot.kind == slot_class::write_small) keep(tables.small[slot.index]);
}

}  // namespace tangelo
