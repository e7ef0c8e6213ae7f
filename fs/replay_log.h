// replay_log: the changes that were answered before they were durable, in the replay records of the
// arena, until the server says that they are.
//
// A record is written before the kernel hears the answer. Small payloads are copied into the pages
// of the log, so that their data slot is free at once; larger ones keep the slot that they came in.
// The core reads the records when it has to make the changes again; it never writes any. The guards
// of a write stay those that were made when it arrived.
//
// Front end's loop thread only; allocates nothing after construction.
//
// Invariants:
//   1. One record for each {slot, slot sequence} at most, however often its answer comes.
//   2. A data slot that a record keeps is given back by the record, or by the op that came with it
//      if that has not ended: exactly one of them.
//   3. What the records say is all: heap, free lists and pages here can be made again from it.
//   4. committed() never falls while a session lasts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "fs/slot_pool.h"
#include "protocol/device.h"
#include "protocol/records.h"

namespace tangelo {

// Operations that change what a directory says.
constexpr bool changes_names(opcode op) noexcept {
  switch (op) {
    using enum opcode;
    case symlink:
    case mknod:
    case mkdir:
    case unlink:
    case rmdir:
    case rename:
    case link:
    case create: return true;
    case none:
    case lookup:
    case getattr:
    case setattr:
    case readlink:
    case open:
    case read:
    case write:
    case release:
    case fsync:
    case readdir:
    case statfs:
    case setxattr:
    case getxattr:
    case listxattr:
    case removexattr:
    case inode_range:
    case fallocate:
    case seek:
    case copy_range:
    case tmpfile:
    case get_lock:
    case set_lock:
    case cancel_lock:
    case reclaim_lock:
    case reclaim_open: return false;
  }
  return false;
}

class replay_log {
 public:
  // How full it is: from a quarter on the server is asked to commit soon, from a half on calls wait
  // for their commit. The other half has room for all that may be on its way.
  enum class fill : std::uint8_t { low, quarter, half };

  // Records of a predecessor are counted, but not used before take_over().
  replay_log(fs_arena& arena, shared_arena& shared, slot_pool& slots);
  // Takes over the records of a predecessor; before anything else takes a data slot. Calls
  // `damaged(cell)` for each that cannot be used, and forgets it.
  template <class F>
  void take_over(F damaged) noexcept {
    replay_cell cell;
    for (std::uint32_t i = 0; i < used_end_; ++i)
      if (!adopt(i, cell)) {
        damaged(cell);
        forget(i);
      }
    note_gauges();
  }

  // True for a successful answer that is not durable and has no record yet.
  bool is_wanted(const op_cell& op, const downcall_cell& answer) const noexcept;
  bool has_room() const noexcept { return !free_.empty(); }
  // Writes the record of an answer that is_wanted(); has_room().
  void keep(const op_cell& op, const downcall_cell& answer) noexcept;
  // True if a record keeps the payload slot of this op.
  bool has_slot_of(const op_cell& op) const noexcept;

  // Changes up to here are durable; a lower number than before is ignored.
  void trim(std::uint64_t last_committed) noexcept;
  std::uint64_t committed() const noexcept { return committed_; }
  fill fullness() const noexcept;
  std::size_t count() const noexcept { return heap_.size(); }

  // Calls f(cell) for each record, in no order.
  template <class F>
  void for_each(F f) const noexcept {
    for (const std::uint32_t i : heap_) f(cell(i));
  }
  // The record of one change; nullptr: there is none.
  const replay_cell* find(std::uint64_t transno) const noexcept;
  void drop(std::uint64_t transno) noexcept;
  // For the end of a session: the next may be with a store whose transnos are lower.
  void drop_all() noexcept;

 private:
  struct newest {
    std::uint64_t xid = 0;
    std::uint32_t sequence = 0;  // of the op slot's last op that has, or had, a record
    slot_ref slot;               // kept by that record; kind none: nothing is
  };
  const replay_cell& cell(std::uint32_t index) const noexcept;
  bool adopt(std::uint32_t index, replay_cell& copy) noexcept;
  void forget(std::uint32_t index) noexcept;
  void release(std::uint32_t index) noexcept;
  void release_slot(const replay_cell& c) noexcept;
  void place_payload(const op_cell& op, replay_cell& record) noexcept;
  void place_guards(const op_cell& op, const replay_cell& record) noexcept;
  std::optional<std::uint32_t> find_pages(std::uint32_t count) const noexcept;
  bool are_free(std::uint32_t first, std::uint32_t count) const noexcept;
  void mark_pages(std::uint32_t first, std::uint32_t count, bool used) noexcept;
  void enlist(std::uint32_t index, const replay_cell& c) noexcept;
  void note_gauges() noexcept;
  bool is_later(std::uint32_t a, std::uint32_t b) const noexcept {
    return transnos_[a] > transnos_[b];
  }

  fs_arena& arena_;
  shared_arena& shared_;
  slot_pool& slots_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> heap_;      // records by transno, the lowest first
  std::vector<std::uint64_t> transnos_;  // of each record
  std::vector<std::uint64_t> pages_;     // a bit for each page of the log that is in use
  std::vector<newest> newest_;           // by op slot
  std::uint32_t used_end_ = 0;           // records at and above it were never used
  std::uint32_t pages_used_ = 0;
  std::uint32_t slots_held_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t committed_ = 0;
};

}  // namespace tangelo
