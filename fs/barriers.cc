#include "fs/barriers.h"

#include "base/check.h"

namespace tangelo {

namespace {

std::uint64_t mix(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

claim claim_range(std::uint64_t inode, std::uint64_t from, std::uint64_t to) noexcept {
  return {mix(inode * 2 + 1), from, to};
}

claim claim_inode(std::uint64_t inode) noexcept {
  return claim_range(inode, 0, std::numeric_limits<std::uint64_t>::max());
}

// Two names with one hash only wait for each other.
claim claim_name(std::uint64_t parent, std::string_view name) noexcept {
  std::uint64_t h = mix(parent * 2);
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return {mix(h), 0, std::numeric_limits<std::uint64_t>::max()};
}

claim claim_lock_owner(std::uint64_t inode, std::uint64_t owner) noexcept {
  return {mix(mix(inode) + owner), 0, std::numeric_limits<std::uint64_t>::max()};
}

claim claim_lock_handle(std::uint64_t handle, std::uint64_t owner) noexcept {
  const std::uint64_t place = owner >> 1;
  return {mix(~handle), place, place + 1};
}

claim claim_locks_of_handle(std::uint64_t handle) noexcept {
  return {mix(~handle), 0, std::numeric_limits<std::uint64_t>::max()};
}

barriers::barriers() : nodes_(op_slot_count * claim_count_max), buckets_(bucket_count) {}

void barriers::add(std::uint32_t index, const claim* claims, std::size_t count) noexcept {
  CHECK(count <= claim_count_max);
  for (std::size_t n = 0; n < count; ++n) {
    const auto id = static_cast<std::uint32_t>(index * claim_count_max + n);
    claim_node& node = nodes_[id];
    CHECK(node.bucket == none);
    node.what = claims[n];
    node.bucket = static_cast<std::uint32_t>(claims[n].key % bucket_count);
    bucket_ends& ends = buckets_[node.bucket];
    node.previous = ends.last;
    node.next = none;
    (ends.last == none ? ends.first : nodes_[ends.last].next) = id;
    ends.last = id;
  }
}

bool barriers::may_go(std::uint32_t index) const noexcept {
  for (std::size_t n = 0; n < claim_count_max; ++n) {
    const claim_node& mine = nodes_[index * claim_count_max + n];
    if (mine.bucket == none) continue;
    for (std::uint32_t i = mine.previous; i != none; i = nodes_[i].previous) {
      const claim& earlier = nodes_[i].what;
      if (i / claim_count_max != index && earlier.key == mine.what.key &&
          earlier.from < mine.what.to && mine.what.from < earlier.to)
        return false;
    }
  }
  return true;
}

bool barriers::is_claimed(const claim& what) const noexcept {
  for (std::uint32_t i = buckets_[what.key % bucket_count].first; i != none; i = nodes_[i].next) {
    const claim& c = nodes_[i].what;
    if (c.key == what.key && c.from < what.to && what.from < c.to) return true;
  }
  return false;
}

std::uint32_t barriers::unlink(std::uint32_t id) noexcept {
  claim_node& node = nodes_[id];
  bucket_ends& ends = buckets_[node.bucket];
  const std::uint32_t after = node.next;
  (node.previous == none ? ends.first : nodes_[node.previous].next) = node.next;
  (node.next == none ? ends.last : nodes_[node.next].previous) = node.previous;
  node.bucket = none;
  node.previous = none;
  node.next = none;
  return after;
}

}  // namespace tangelo
