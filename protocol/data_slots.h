// The data slots of the shared arena: their classes, and how one is named. Part of the layout of
// device.h. A slot belongs to one op, or one replay record, at a time; the front end alone says
// which (fs/slot_pool.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tangelo {

enum class slot_class : std::uint8_t {
  none = 0,
  write_large = 1,  // 1 MiB, read from the kernel straight into it
  read_large = 2,   // 1 MiB
  directory = 3,    // 128 KiB
  write_small = 4,  // 64 KiB
  read_small = 5,   // 64 KiB
};
inline constexpr std::size_t slot_class_count = 6;

struct slot_class_shape {
  std::uint32_t count;
  std::uint32_t size;    // bytes that hold payload
  std::uint32_t stride;  // bytes from one slot to the next
};
// A large write slot has one page more than its payload: the tail of a request that is not a
// write may be longer than 1 MiB by its header.
inline constexpr std::array<slot_class_shape, slot_class_count> slot_shapes{{
    {0, 0, 0},
    {64, 1u << 20, (1u << 20) + 4096},
    {64, 1u << 20, 1u << 20},
    {16, 128u << 10, 128u << 10},
    {512, 64u << 10, 64u << 10},
    {512, 64u << 10, 64u << 10},
}};

struct slot_ref {
  slot_class kind = slot_class::none;
  std::uint8_t reserved = 0;
  std::uint16_t index = 0;
  std::uint32_t size = 0;  // of the payload, or the room for it
};

inline constexpr std::size_t data_slots_size = [] {
  std::size_t n = 0;
  for (const slot_class_shape& s : slot_shapes) n += std::size_t{s.count} * s.stride;
  return n;
}();

// Where slot `index` of `kind` begins in shared_arena::slots; the caller has checked both.
constexpr std::size_t slot_offset(slot_class kind, std::uint32_t index) noexcept {
  std::size_t n = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(kind); ++k)
    n += std::size_t{slot_shapes[k].count} * slot_shapes[k].stride;
  return n + std::size_t{index} * slot_shapes[static_cast<std::size_t>(kind)].stride;
}
// True for a reference that names an existing slot and no more bytes than it has.
constexpr bool is_valid(const slot_ref& ref) noexcept {
  const auto kind = static_cast<std::size_t>(ref.kind);
  if (kind >= slot_class_count) return false;
  if (ref.kind == slot_class::none) return ref.size == 0;
  return ref.index < slot_shapes[kind].count && ref.size <= slot_shapes[kind].size;
}

}  // namespace tangelo
