// barriers: conflicting mutations of one client are never in flight together (rule 11).
//
// Each mutation claims what it changes: a byte range of a file's data, the whole of an inode, or a
// name in a directory. An op may be offered only when no earlier op holds a claim that conflicts
// with one of its own; the claims stay until the op's fate is known, also when its caller has gone.
// The kernel's own locks keep most conflicts away; what remains are ops whose caller was killed,
// parallel direct writes, and write-back of mapped pages.
//
// Front end's loop thread only; allocates nothing after construction.
//
// Invariants:
//   1. Claims of one key are kept in the order of their ops' arrival.
//   2. An op without earlier conflicting claims may go; removing claims can only free others.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "protocol/device.h"

namespace tangelo {

inline constexpr std::uint32_t claim_count_max = 2;

struct claim {
  std::uint64_t key = 0;
  std::uint64_t from = 0;
  std::uint64_t to = 0;  // exclusive
};

claim claim_range(std::uint64_t inode, std::uint64_t from, std::uint64_t to) noexcept;
claim claim_inode(std::uint64_t inode) noexcept;
claim claim_name(std::uint64_t parent, std::string_view name) noexcept;
// Lock operations of one owner on one file, and those through one open file, which its release has
// to wait for. What waits for a lock claims nothing.
claim claim_lock_owner(std::uint64_t inode, std::uint64_t owner) noexcept;
claim claim_lock_handle(std::uint64_t handle, std::uint64_t owner) noexcept;
claim claim_locks_of_handle(std::uint64_t handle) noexcept;

class barriers {
 public:
  barriers();
  // Registers the claims of op `index`, behind all registered before.
  void add(std::uint32_t index, const claim* claims, std::size_t count) noexcept;
  // True when no earlier op stands in the way of op `index`.
  bool may_go(std::uint32_t index) const noexcept;
  // Does any op claim what conflicts with it?
  bool is_claimed(const claim& what) const noexcept;
  // Removes the claims of op `index`; calls `freed(other)` for each op behind it on a key.
  template <class F>
  void remove(std::uint32_t index, F freed) noexcept {
    for (std::uint32_t n = 0; n < claim_count_max; ++n) {
      const std::uint32_t node = index * claim_count_max + n;
      if (nodes_[node].bucket == none) continue;
      const std::uint32_t after = unlink(node);
      for (std::uint32_t i = after; i != none; i = nodes_[i].next)
        if (nodes_[i].what.key == nodes_[node].what.key) freed(i / claim_count_max);
    }
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t bucket_count = 32768;
  struct claim_node {
    claim what;
    std::uint32_t bucket = none;
    std::uint32_t previous = none;
    std::uint32_t next = none;
  };
  struct bucket_ends {
    std::uint32_t first = none;
    std::uint32_t last = none;
  };
  std::uint32_t unlink(std::uint32_t node) noexcept;

  std::vector<claim_node> nodes_;
  std::vector<bucket_ends> buckets_;
};

}  // namespace tangelo
