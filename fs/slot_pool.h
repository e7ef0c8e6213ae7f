// slot_pool: which data slots of the shared arena are free, per class, last given back first (so
// that an idle mount touches little memory). Front end's loop thread only.
//
// Invariants:
//   1. A slot is out at most once.
//   2. take() and give_back() allocate nothing.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/device.h"

namespace tangelo {

class slot_pool {
 public:
  slot_pool();
  // A slot of `kind` for `size` bytes, or nothing when all are out.
  std::optional<slot_ref> take(slot_class kind, std::uint32_t size) noexcept;
  void give_back(const slot_ref& ref) noexcept;
  // Marks a slot as out that an op of the arena holds; false if it is out already.
  bool reserve(const slot_ref& ref) noexcept;
  std::size_t free_count(slot_class kind) const noexcept;

 private:
  struct class_state {
    std::vector<std::uint16_t> free;  // reserved once, used as a stack
    std::vector<bool> out;
  };
  std::array<class_state, slot_class_count> classes_;
};

}  // namespace tangelo
