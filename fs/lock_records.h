// lock_records: what this mount holds and waits for, in the lock records of the arena.
//
// A record belongs to an op that asks for a lock (asking), is a wait (waiting), or a range that an
// owner has (held). The server is told first and the record follows its answer; but what is given
// up need not be here when the answer comes: the core claims nothing that an op under way may have
// unlocked (client_core/core_locks.cc).
//
// Front end's loop thread only; allocates nothing after construction.
//
// Invariants:
//   1. Every change of a range publishes the new record before it cuts the old ones, and the newer
//      one counts: so a front end that dies between the two has lost nothing. Its successor puts
//      them in order.
//   2. A lock id names one wait for ever (sequence << 16 | index).
//   3. A record that a predecessor left damaged is never used again.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/device.h"
#include "protocol/records.h"

namespace tangelo {

class lock_records {
 public:
  explicit lock_records(fs_arena& arena);

  std::size_t free_count() const noexcept { return free_.size(); }
  std::size_t waiting_count() const noexcept { return waiting_; }
  std::size_t leaving_count() const noexcept { return leaving_; }

  // A record for an op that may have to wait: its lock id; nothing when all are in use.
  std::optional<std::uint64_t> ask(const lock_what& what, std::uint64_t kernel_id,
                                   std::uint32_t caller) noexcept;
  // The op that asked has ended without the lock, or the wait has.
  void drop(std::uint64_t lock_id) noexcept;
  // The server has queued it. `kernel_id` 0: its caller has gone.
  void begin_wait(std::uint64_t lock_id, std::uint64_t kernel_id, bool resent) noexcept;
  // The owner has the range. With a lock id the record that asked, or waited, becomes it; it keeps
  // its caller, until told(). A wait without a caller is held as `leaving`.
  void hold(std::uint64_t lock_id, const lock_what& what, bool leaving) noexcept;
  void told(std::uint64_t lock_id) noexcept;
  // The owner has nothing in the range any more.
  void unlock(const lock_what& what) noexcept { cut(what, none); }
  // What a flock of another type gives back before it is asked for.
  void give_back_flock(const lock_what& what) noexcept;
  void drop_handle(std::uint64_t inode, std::uint64_t handle) noexcept;
  // The wait is to be cancelled. `gone`: nobody is to be answered any more.
  void leave(std::uint64_t lock_id, bool gone) noexcept;
  void note_resent(std::uint64_t lock_id) noexcept {
    arena_.locks[lock_index(lock_id)].resent.store(1, std::memory_order_relaxed);
  }
  // After a predecessor: asking records that belong to no op.
  template <class F>
  void drop_asking_unless(F owned) noexcept {
    for_each([this, owned](const lock_cell& c, lock_state s) noexcept {
      if (s == lock_state::asking && !owned(c.lock_id)) drop(c.lock_id);
    });
  }

  // Its record, unless it is free; nullptr for a number that names none.
  const lock_cell* find(std::uint64_t lock_id) const noexcept;
  lock_state state(std::uint64_t lock_id) const noexcept;
  // The wait of this request, or the lock that was granted to it.
  const lock_cell* find_request(std::uint64_t kernel_id) const noexcept;
  std::uint64_t reply_id(const lock_cell& c) const noexcept;
  // Anything of this owner of record locks, held or asked for?
  bool has_owner(std::uint64_t inode, std::uint64_t owner) const noexcept;

  // Calls f(cell, state) for each record in use; f may drop and change them.
  template <class F>
  void for_each(F f) noexcept {
    for (std::uint32_t i = 0; i < used_end_; ++i) {
      const control_word w = control_of(arena_.locks[i]);
      const auto s = static_cast<lock_state>(w.state);
      if (s == lock_state::free || s == lock_state::damaged) continue;
      const lock_cell cell = arena_.locks[i].cells[w.cell];
      f(cell, s);
    }
  }

 private:
  static constexpr std::uint32_t none = 0xffffffff;
  static constexpr std::uint32_t bucket_count = 4096;
  struct links {
    std::uint32_t next_of_inode = none;
    std::uint32_t next_of_request = none;
  };
  bool take_over(std::uint32_t index) noexcept;
  void put_in_order();
  std::uint32_t take() noexcept;
  void put(std::uint32_t index, lock_cell& cell, lock_state s, std::uint32_t sequence) noexcept;
  void rewrite(std::uint32_t index, lock_cell& cell, lock_state s) noexcept;
  void release(std::uint32_t index) noexcept;
  void cut(const lock_what& what, std::uint32_t except) noexcept;
  void cut_one(std::uint32_t index, const lock_what& what) noexcept;
  bool widen(lock_what& what, std::uint32_t except) const noexcept;
  void count(lock_state s, const lock_cell& c, int step) noexcept;
  void link(std::uint32_t index, const lock_cell& c) noexcept;
  void unlink(std::uint32_t index, const lock_cell& c) noexcept;
  const lock_cell& cell_at(std::uint32_t index) const noexcept {
    return arena_.locks[index].cells[control_of(arena_.locks[index]).cell];
  }
  lock_state state_at(std::uint32_t index) const noexcept {
    return static_cast<lock_state>(control_of(arena_.locks[index]).state);
  }

  fs_arena& arena_;
  std::vector<std::uint16_t> free_;
  std::vector<links> links_;
  std::vector<std::uint32_t> by_inode_;
  std::vector<std::uint32_t> by_request_;
  std::uint32_t used_end_ = 0;  // records at and above it were never used
  std::size_t held_ = 0;
  std::size_t waiting_ = 0;
  std::size_t leaving_ = 0;
};

}  // namespace tangelo
