#include "server/disk_space.h"

#include <algorithm>

namespace tangelo {

namespace {
constexpr std::uint64_t age_max_ns = 20 * ns_per_ms;
constexpr std::uint64_t reserve_min = 16 << 20;
constexpr std::uint64_t reserve_max = 32 << 20;
constexpr std::uint64_t floor_min = 8 << 20;  // more than a start needs
constexpr std::uint64_t guards_max = 1 << 30;
}  // namespace

std::uint64_t disk_space::own_reserve() const noexcept {
  return std::min(std::clamp(total() / 16, reserve_min, reserve_max), total() / 4);
}

std::uint64_t disk_space::reserve() const noexcept {
  return own_reserve() + std::min(total() / 512, guards_max);
}

std::uint64_t disk_space::floor() const noexcept {
  return std::min(own_reserve(), std::max(own_reserve() / 2, floor_min));
}

std::uint64_t disk_space::above(std::uint64_t kept, std::uint64_t redo_size) const noexcept {
  const std::uint64_t available = found_.blocks_available * found_.block_size;
  const std::uint64_t spoken_for = kept + 2 * redo_size + taken_ + running_;
  return available < spoken_for ? 0 : available - spoken_for;
}

op_result<store_space> disk_space::ask() {
  const op_result<store_space> s = objects_.space();
  if (!s) return s;
  found_ = *s;
  taken_ = 0;
  until_ns_ = time_.now_ns() + age_max_ns;
  return s;
}

bool disk_space::is_known() { return time_.now_ns() < until_ns_ || ask().has_value(); }

// Of a disk that does not answer all is left: the write itself will tell.
std::uint64_t disk_space::left(std::uint64_t redo_size) {
  if (!is_known()) return UINT64_MAX;
  const std::uint64_t size = above(reserve(), redo_size);
  if (size != 0 || taken_ == 0) return size;
  return ask() ? above(reserve(), redo_size) : UINT64_MAX;  // it took less, perhaps
}

bool disk_space::has_store_room(std::uint64_t redo_size) {
  if (!is_known() || above(floor(), redo_size) != 0) return true;
  return taken_ != 0 && (!ask() || above(floor(), redo_size) != 0);
}

op_result<store_space> disk_space::shown(std::uint64_t redo_size) {
  const op_result<store_space> s = ask();
  if (!s || s->block_size == 0) return s;
  store_space shown = *s;
  shown.blocks_available =
      std::min(s->blocks_available, above(reserve(), redo_size) / s->block_size);
  const std::uint64_t kept = s->blocks_available - shown.blocks_available;
  shown.blocks_free -= std::min(s->blocks_free, kept);
  return shown;
}

}  // namespace tangelo
