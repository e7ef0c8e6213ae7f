#include "fs/slot_pool.h"

#include <algorithm>

#include "base/check.h"

namespace tangelo {

slot_pool::slot_pool() {
  for (std::size_t k = 0; k < slot_class_count; ++k) {
    const std::uint32_t count = slot_shapes[k].count;
    classes_[k].out.assign(count, false);
    classes_[k].free.reserve(count);
    for (std::uint32_t i = count; i-- > 0;)
      classes_[k].free.push_back(static_cast<std::uint16_t>(i));
  }
}

std::optional<slot_ref> slot_pool::take(slot_class kind, std::uint32_t size) noexcept {
  class_state& c = classes_[static_cast<std::size_t>(kind)];
  CHECK(size <= slot_shapes[static_cast<std::size_t>(kind)].size);
  if (c.free.empty()) return std::nullopt;
  const std::uint16_t index = c.free.back();
  c.free.pop_back();
  c.out[index] = true;
  return slot_ref{kind, 0, index, size};
}

void slot_pool::give_back(const slot_ref& ref) noexcept {
  if (ref.kind == slot_class::none) return;
  class_state& c = classes_[static_cast<std::size_t>(ref.kind)];
  CHECK(c.out[ref.index]);
  c.out[ref.index] = false;
  c.free.push_back(ref.index);
}

bool slot_pool::reserve(const slot_ref& ref) noexcept {
  if (ref.kind == slot_class::none) return true;
  if (!is_valid(ref)) return false;
  class_state& c = classes_[static_cast<std::size_t>(ref.kind)];
  const auto it = std::find(c.free.begin(), c.free.end(), ref.index);
  if (it == c.free.end()) return false;
  c.free.erase(it);
  c.out[ref.index] = true;
  return true;
}

std::size_t slot_pool::free_count(slot_class kind) const noexcept {
  return classes_[static_cast<std::size_t>(kind)].free.size();
}

}  // namespace tangelo
