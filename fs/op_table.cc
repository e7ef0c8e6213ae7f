#include "fs/op_table.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "base/probe.h"
#include "fs/op_meter.h"

namespace tangelo {

namespace {

constexpr std::uint32_t bucket_count = 16384;

// Kernel ids count up in steps of two.
std::uint32_t bucket_of(std::uint64_t kernel_id) noexcept {
  return static_cast<std::uint32_t>((kernel_id >> 1) % bucket_count);
}

}  // namespace

op_table::op_table(fs_arena& arena)
    : arena_(arena), links_(op_slot_count), buckets_(bucket_count, none) {
  free_.reserve(op_slot_count);
  used_end_ = std::min(arena.ops_used_end.load(std::memory_order_relaxed), op_slot_count);
  for (std::uint32_t i = op_slot_count; i-- > 0;)
    if (i >= used_end_ || !take_over(i)) free_.push_back(i);
  arena_.pending_ops.store(static_cast<std::uint32_t>(live_count()), std::memory_order_relaxed);
}

// True if the slot is not free.
bool op_table::take_over(std::uint32_t index) noexcept {
  op_slot& s = arena_.ops[index];
  if (control_of(s).state == static_cast<std::uint8_t>(op_state::unknown)) return false;
  control_word word;
  op_cell cell;
  const bool intact = copy_record(s, word, cell) && word.state < count_of<op_state> &&
                      cell.index == index && cell.slot_seq == word.sequence &&
                      is_valid(cell.payload_in) && is_valid(cell.payload_out);
  if (!intact) {
    log_error("op {}: its record is damaged and left out", index);
    set_state(s, static_cast<std::uint8_t>(op_state::unknown), 0);
    ++damaged_;
  } else if (cell.kernel_id != 0) {
    hash(index, cell.kernel_id);
  }
  return true;
}

void op_table::leave_out(std::uint32_t index) noexcept {
  log_error("op {}: its record makes no sense and is left out", index);
  if (const std::uint64_t id = cell(index).kernel_id; id != 0) unhash(index, id);
  set_state(arena_.ops[index], static_cast<std::uint8_t>(op_state::unknown), 0);
  ++damaged_;
  arena_.pending_ops.store(static_cast<std::uint32_t>(live_count()), std::memory_order_relaxed);
}

std::optional<std::uint32_t> op_table::take() noexcept {
  if (free_.empty()) return std::nullopt;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  if (index >= used_end_) {
    used_end_ = index + 1;
    arena_.ops_used_end.store(used_end_, std::memory_order_release);
  }
  return index;
}

void op_table::number(op_cell& cell, std::uint32_t last_sequence) noexcept {
  cell.slot_seq = last_sequence + 1;
  if (cell.slot_seq == 0) cell.slot_seq = 1;
  cell.xid = arena_.next_xid.load(std::memory_order_relaxed) + 1;
  arena_.next_xid.store(cell.xid, std::memory_order_relaxed);
}

void op_table::begin(std::uint32_t index, op_cell& cell, std::uint64_t reply_id) noexcept {
  op_slot& s = arena_.ops[index];
  const control_word before = control_of(s);
  CHECK(before.state == static_cast<std::uint8_t>(op_state::unknown));
  cell.index = index;
  number(cell, before.sequence);
  s.attempts.store(0, std::memory_order_relaxed);
  s.core_losses.store(0, std::memory_order_relaxed);
  s.offered_ns.store(0, std::memory_order_relaxed);
  s.prepared.store(0, std::memory_order_relaxed);
  s.resent.store(reply_id != cell.kernel_id ? 1 : 0, std::memory_order_relaxed);
  if (observe_op != nullptr) observe_op(op_state::unknown, op_event::queued, cell);
  const auto& row = op_transitions.at(op_state::unknown, op_event::queued);
  publish(s, cell, static_cast<std::uint8_t>(row.to), 0, cell.slot_seq);
  TANGELO_PROBE(op_state, index, ordinal(cell.op), 0, ordinal(row.to));
  meter_begun(arena_, cell.op);
  if (cell.kernel_id != 0) hash(index, cell.kernel_id);
  arena_.pending_ops.store(static_cast<std::uint32_t>(live_count()), std::memory_order_relaxed);
  append(index);
}

void op_table::begin_again(std::uint32_t index, op_cell& cell) noexcept {
  op_slot& s = arena_.ops[index];
  const op_state from = state(index);
  if (observe_op != nullptr) observe_op(from, op_event::renewed, cell);
  const auto& row = op_transitions.at(from, op_event::renewed);
  CHECK(row.act == op_action::enqueue);
  number(cell, sequence(index));
  s.attempts.store(0, std::memory_order_relaxed);
  s.offered_ns.store(0, std::memory_order_relaxed);
  publish(s, cell, static_cast<std::uint8_t>(row.to), 0, cell.slot_seq);
  TANGELO_PROBE(op_state, index, ordinal(cell.op), ordinal(from), ordinal(row.to));
  log_debug("op {}.{}: {} --{}--> {}", index, cell.slot_seq, name_of(from),
            name_of(op_event::renewed), name_of(row.to));
  append(index);
}

void op_table::rewrite(std::uint32_t index, op_cell& cell) noexcept {
  const control_word w = control_of(arena_.ops[index]);
  publish(arena_.ops[index], cell, w.state, w.generation, w.sequence);
}

op_action op_table::apply(std::uint32_t index, op_event event, std::uint32_t generation) noexcept {
  op_slot& s = arena_.ops[index];
  const op_state from = state(index);
  if (observe_op != nullptr) observe_op(from, event, cell(index));
  const auto& row = op_transitions.at(from, event);
  CHECK(row.act != op_action::never);
  if (row.to != from || row.act == op_action::hand_over) {
    set_state(s, static_cast<std::uint8_t>(row.to), generation);
    TANGELO_PROBE(op_state, index, ordinal(cell(index).op), ordinal(from), ordinal(row.to));
    log_debug("op {}.{}: {} --{}--> {}", index, sequence(index), name_of(from), name_of(event),
              name_of(row.to));
  }
  if (row.act == op_action::free_slot) end(index);
  return row.act;
}

void op_table::end(std::uint32_t index) noexcept {
  const std::uint64_t kernel_id = cell(index).kernel_id;
  if (kernel_id != 0) unhash(index, kernel_id);
  remove(index);
  free_.push_back(index);
  arena_.pending_ops.store(static_cast<std::uint32_t>(live_count()), std::memory_order_relaxed);
}

const op_cell& op_table::cell(std::uint32_t index) const noexcept {
  return arena_.ops[index].cells[control_of(arena_.ops[index]).cell];
}

op_state op_table::state(std::uint32_t index) const noexcept {
  return static_cast<op_state>(control_of(arena_.ops[index]).state);
}

std::uint64_t op_table::reply_id(std::uint32_t index) const noexcept {
  const std::uint64_t id = cell(index).kernel_id;
  return arena_.ops[index].resent.load(std::memory_order_relaxed) != 0 ? resent_id(id) : id;
}

std::uint32_t op_table::sequence(std::uint32_t index) const noexcept {
  return control_of(arena_.ops[index]).sequence;
}

void op_table::hash(std::uint32_t index, std::uint64_t kernel_id) noexcept {
  std::uint32_t& head = buckets_[bucket_of(kernel_id)];
  links_[index].hash_next = head;
  head = index;
}

void op_table::unhash(std::uint32_t index, std::uint64_t kernel_id) noexcept {
  for (std::uint32_t* i = &buckets_[bucket_of(kernel_id)]; *i != none; i = &links_[*i].hash_next)
    if (*i == index) {
      *i = links_[index].hash_next;
      return;
    }
}

std::optional<std::uint32_t> op_table::find(std::uint64_t kernel_id) const noexcept {
  kernel_id &= ~kernel_id_resent_bit;
  for (std::uint32_t i = buckets_[bucket_of(kernel_id)]; i != none; i = links_[i].hash_next)
    if (cell(i).kernel_id == kernel_id) return i;
  return std::nullopt;
}

void op_table::append(std::uint32_t index) noexcept {
  links& l = links_[index];
  if (l.listed) return;
  l.listed = true;
  l.next = none;
  l.previous = last_;
  (last_ == none ? first_ : links_[last_].next) = index;
  last_ = index;
  ++listed_;
}

void op_table::remove(std::uint32_t index) noexcept {
  links& l = links_[index];
  if (!l.listed) return;
  l.listed = false;
  (l.previous == none ? first_ : links_[l.previous].next) = l.next;
  (l.next == none ? last_ : links_[l.next].previous) = l.previous;
  --listed_;
}

std::optional<std::uint32_t> op_table::first() const noexcept {
  return first_ == none ? std::nullopt : std::optional(first_);
}

std::optional<std::uint32_t> op_table::after(std::uint32_t index) const noexcept {
  const std::uint32_t next = links_[index].next;
  return next == none ? std::nullopt : std::optional(next);
}

}  // namespace tangelo
