// disk_space: how much of the disk the files of a volume may still take, and what is kept back.
//
// The store itself must never meet a full disk: its log and its tables have to find room, also for
// what empties a full volume, and for the next start (rocks_kv.cc). So a part of the disk is kept
// back, in two steps:
//   reserve   no file gets a new block of it. Volume full: only what needs no block goes on.
//   floor     below it that is refused, too, but for removals and what else gives room back.
// What lies between them is for what overwriting takes for a while: log, tables, redo records,
// tables that are being merged. All these are bounded on a disk that is nearly full
// (volume::has_much_redo, rocks_kv.cc), so a writer that overwrites for ever does not get to the
// floor. The reserve grows with the disk because room that was allocated and never written has no
// guards yet (block_guards.h): a thousandth of its bytes, written, and once more when merged.
//
// The disk is asked now and then. What was taken since then, and what running writes may take, is
// not left. Loop thread only.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "server/objects.h"

namespace tangelo {

class disk_space {
 public:
  disk_space(object_store& objects, scheduler& time) : objects_(objects), time_(time) {}

  // Bytes that files may take; 0: the volume is full. What is in redo records, of `redo_size`
  // bytes, will be in the log and in tables.
  std::uint64_t left(std::uint64_t redo_size);
  // Is there what the store needs for a change that takes no block of the disk?
  bool has_store_room(std::uint64_t redo_size);
  // For statfs: the disk as it is now, without what no file can have.
  op_result<store_space> shown(std::uint64_t redo_size);

  // A write that may take as much begins, and has ended.
  void begin(std::uint64_t size) noexcept { running_ += size; }
  void end(std::uint64_t size) noexcept { running_ -= size, taken_ += size; }
  // Much has changed at once.
  void ask_again() noexcept { until_ns_ = 0; }

  // As it was found last.
  std::uint64_t total() const noexcept { return found_.blocks * found_.block_size; }
  bool was_full(std::uint64_t redo_size) const noexcept { return above(reserve(), redo_size) == 0; }

 private:
  op_result<store_space> ask();
  bool is_known();
  std::uint64_t above(std::uint64_t kept, std::uint64_t redo_size) const noexcept;
  std::uint64_t own_reserve() const noexcept;  // without what is for guards
  std::uint64_t reserve() const noexcept;
  std::uint64_t floor() const noexcept;

  object_store& objects_;
  scheduler& time_;
  store_space found_;
  std::uint64_t until_ns_ = 0;
  std::uint64_t taken_ = 0;    // since it was asked
  std::uint64_t running_ = 0;  // may be taken at any moment
};

}  // namespace tangelo
