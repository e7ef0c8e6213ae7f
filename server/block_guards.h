// block_guards: the guards (protection.h) that the store keeps for the blocks of one inode, as one
// transaction reads and changes them.
//
// They lie in the store in groups of 64 blocks, a group in one record, in the same batch as what
// else a change changes. A block without one is not protected: a hole, bytes from before there were
// guards, or such as are yet to be made anew (column::unguarded).
//
// Invariants:
//   1. The guard of a block covers its 4096 bytes as they are in the file: zeros behind its end.
//      So making a file longer changes no guard, and what a crash has left behind the end of the
//      file spoils none.
//   2. There is none for a block that lies wholly behind the end of its file.
//   3. A guard in the store is that of the block's bytes once redo is done: except in regions that
//      are marked (dirty_regions.h).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/protection.h"
#include "server/transaction.h"

namespace tangelo {

inline constexpr std::uint64_t guard_group_blocks = 64;

// Format final.
struct guard_group {
  std::uint8_t version = record_version;
  std::uint32_t application = 0;  // tags of the first block
  std::uint32_t reference = 0;
  std::uint64_t present = 0;  // a bit for each block that has a guard
  std::array<std::uint32_t, guard_group_blocks> guards{};

  template <class Self, class V>
  static void fields(Self& s, V& v) {
    v(s.version), v(s.application), v(s.reference), v(s.present);
    for (std::size_t i = 0; i < guard_group_blocks; ++i)
      if ((s.present >> i & 1) != 0) v(s.guards[i]);
  }
};

constexpr std::uint64_t block_of(std::uint64_t offset) noexcept {
  return offset / protected_block_size;
}
// The block behind the last one of a file of this size.
constexpr std::uint64_t block_end_of(std::uint64_t size) noexcept {
  return size == 0 ? 0 : (size - 1) / protected_block_size + 1;
}
inline std::string guard_key(std::uint64_t inode, std::uint64_t block) {
  return key_of(inode, block / guard_group_blocks);
}
// Does this record belong to these blocks? The fault that says why not.
std::optional<protection_fault> check_group(const guard_group& g, std::uint64_t inode,
                                            std::uint64_t group);

class block_guards {
 public:
  block_guards(transaction& t, std::uint64_t inode) : t_(t), inode_(inode) {}

  // Before at(), set() and clear() of these blocks. `integrity`: a record is not the one that it
  // should be (fault()); `again_later`: as of transaction::value().
  error_code load(std::uint64_t first, std::uint64_t end);
  const protection_fault& fault() const noexcept { return fault_; }
  std::optional<std::uint32_t> at(std::uint64_t block) const;
  void set(std::uint64_t block, std::uint32_t guard);
  void clear(std::uint64_t first, std::uint64_t end);
  // As clear(), for any number of blocks: only the groups that it cuts have been loaded. What was
  // loaded stays so, without guards; other groups in the range are not to be loaded any more.
  void drop(std::uint64_t first, std::uint64_t end);
  // All from this block on, of a file of `size`.
  void cut(std::uint64_t first, std::uint64_t size);
  void save();  // into the batch

 private:
  struct loaded {
    std::uint64_t number = 0;
    guard_group group;
    bool changed = false;
  };
  std::size_t place_of(std::uint64_t block) const;  // of its group

  transaction& t_;
  const std::uint64_t inode_;
  std::vector<loaded> groups_;
  protection_fault fault_;
};

}  // namespace tangelo
