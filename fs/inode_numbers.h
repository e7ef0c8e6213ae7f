// inode_numbers: the ranges of inode numbers that the server has reserved for this mount.
//
// Two ranges in the arena: one in use, one ahead, so that creating files never waits for a number
// while the server is away for a moment. A number is passed over in the arena before it is used, so
// it is used at most once whatever dies. Front end's loop thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/device.h"

namespace tangelo {

class inode_numbers {
 public:
  static constexpr std::uint32_t range_size = 65536;

  explicit inode_numbers(fs_arena& arena) noexcept : arena_(arena) {}

  std::optional<std::uint64_t> take() noexcept {
    for (inode_range_record& r : arena_.inode_ranges) {
      const std::uint64_t next = r.next.load(std::memory_order_relaxed);
      if (next >= r.end.load(std::memory_order_relaxed)) continue;
      r.next.store(next + 1, std::memory_order_release);
      return next;
    }
    return std::nullopt;
  }
  // True while one of the two ranges is used up.
  bool wants_range() const noexcept {
    for (const inode_range_record& r : arena_.inode_ranges)
      if (r.next.load(std::memory_order_relaxed) >= r.end.load(std::memory_order_relaxed))
        return true;
    return false;
  }
  // The server has forgotten this mount, and with it the ranges: they are of no use any more.
  void forget() noexcept {
    for (inode_range_record& r : arena_.inode_ranges) r.end.store(0, std::memory_order_release);
  }
  // A range that is known already is not taken twice: a new front end may hear of it again.
  void add_range(std::uint64_t first, std::uint32_t count) noexcept {
    for (const inode_range_record& r : arena_.inode_ranges)
      if (r.end.load(std::memory_order_relaxed) == first + count) return;
    for (inode_range_record& r : arena_.inode_ranges) {
      if (r.next.load(std::memory_order_relaxed) < r.end.load(std::memory_order_relaxed)) continue;
      r.end.store(0, std::memory_order_release);
      r.next.store(first, std::memory_order_release);
      r.end.store(first + count, std::memory_order_release);
      return;
    }
  }

 private:
  fs_arena& arena_;
};

}  // namespace tangelo
