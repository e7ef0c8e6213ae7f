// op_table: all ops of the mount, in the op records of the arena, and the process-local lists that
// find them: free slots, the request list (ops to be offered, by arrival), ops by kernel id.
//
// The in-progress table of the OrangeFS document is the array itself: a tag is {slot index, slot
// sequence}, so the index is a perfect hash of it.
//
// Front end's loop thread only; allocates nothing after construction.
//
// Invariants:
//   1. State changes only in apply(), by the rows of op_transitions.
//   2. The arena says everything; the lists here can be made again from it.
//   3. A slot's sequence grows by one with each op, so a tag names one op for ever.
//   4. A record that a predecessor left damaged is never used again: its slot is neither free nor
//      live.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fs/op_transitions.h"
#include "protocol/device.h"
#include "protocol/records.h"

namespace tangelo {

class op_table {
 public:
  // On an arena that was used before: all ops of it, none on the request list.
  explicit op_table(fs_arena& arena);

  // A free slot, or nothing when all are taken.
  std::optional<std::uint32_t> take() noexcept;
  // Gives back a slot from take() that begin() was never called for.
  void put_back(std::uint32_t index) noexcept { free_.push_back(index); }
  // Records the op of a taken slot (index, sequence, xid are filled in) and queues it.
  // `reply_id`: what the kernel wants to be answered under.
  void begin(std::uint32_t index, op_cell& cell, std::uint64_t reply_id) noexcept;
  // Records another op in the slot of one that a core has answered, and queues it: its data slots,
  // its barrier and its request are now this one's. In one step, so that there is always one op.
  void begin_again(std::uint32_t index, op_cell& cell) noexcept;
  // Writes a changed cell of a waiting op (its inode number, its reply slot).
  void rewrite(std::uint32_t index, op_cell& cell) noexcept;
  // For an op whose record is intact and makes no sense: as if it were damaged.
  void leave_out(std::uint32_t index) noexcept;
  // Steps the state table. `generation` is that of the present core.
  op_action apply(std::uint32_t index, op_event event, std::uint32_t generation) noexcept;

  const op_cell& cell(std::uint32_t index) const noexcept;
  op_state state(std::uint32_t index) const noexcept;
  std::uint32_t sequence(std::uint32_t index) const noexcept;
  op_slot& slot(std::uint32_t index) noexcept { return arena_.ops[index]; }
  // What the kernel knows the request by; 0 for an op of our own.
  std::uint64_t reply_id(std::uint32_t index) const noexcept;

  // By the id of a request, with or without the mark of a repeated one.
  std::optional<std::uint32_t> find(std::uint64_t kernel_id) const noexcept;
  std::size_t free_count() const noexcept { return free_.size(); }
  std::size_t live_count() const noexcept { return op_slot_count - free_.size() - damaged_; }

  // The request list. append() does nothing for an op that is on it.
  void append(std::uint32_t index) noexcept;
  void remove(std::uint32_t index) noexcept;
  std::optional<std::uint32_t> first() const noexcept;
  std::optional<std::uint32_t> after(std::uint32_t index) const noexcept;
  bool is_listed(std::uint32_t index) const noexcept { return links_[index].listed; }
  std::size_t listed_count() const noexcept { return listed_; }

  // Calls f(index) for each op that has not ended, by slot.
  template <class F>
  void for_each_live(F f) noexcept {
    for (std::uint32_t i = 0; i < used_end_; ++i)
      if (state(i) != op_state::unknown) f(i);
  }

 private:
  static constexpr std::uint32_t none = 0xffffffff;
  struct links {
    std::uint32_t next = none;
    std::uint32_t previous = none;
    std::uint32_t hash_next = none;
    bool listed = false;
  };
  void number(op_cell& cell, std::uint32_t last_sequence) noexcept;
  void hash(std::uint32_t index, std::uint64_t kernel_id) noexcept;
  void unhash(std::uint32_t index, std::uint64_t kernel_id) noexcept;
  void end(std::uint32_t index) noexcept;
  bool take_over(std::uint32_t index) noexcept;

  fs_arena& arena_;
  std::vector<std::uint32_t> free_;
  std::vector<links> links_;
  std::vector<std::uint32_t> buckets_;  // by kernel id
  std::uint32_t first_ = none;
  std::uint32_t last_ = none;
  std::size_t listed_ = 0;
  std::uint32_t used_end_ = 0;  // slots at and above it were never used
  std::size_t damaged_ = 0;
};

}  // namespace tangelo
