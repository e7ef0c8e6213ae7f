#include "fs/replay_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "protocol/arena.h"
#include "protocol/errors.h"
#include "protocol/kept_trailers.h"

namespace tangelo {

namespace {

constexpr std::uint8_t state_free = static_cast<std::uint8_t>(replay_state::free);
constexpr std::uint8_t state_kept = static_cast<std::uint8_t>(replay_state::kept);
constexpr std::uint32_t bits_per_word = 64;
constexpr std::uint32_t word_count = replay_page_count / bits_per_word;
constexpr std::uint32_t log_payload_max =
    slot_shapes[static_cast<std::size_t>(slot_class::write_small)].size;

constexpr std::uint32_t large_slot_count =
    slot_shapes[static_cast<std::size_t>(slot_class::write_large)].count;

// What is offered already fits into the half that is left: op_offered_count_max records, and as
// many payloads of the largest size that is copied.
static_assert(replay_count / 2 >= op_offered_count_max);
static_assert(replay_page_count / 2 >= op_offered_count_max * (log_payload_max / replay_page_size));

std::uint32_t pages_of(std::uint32_t bytes) noexcept {
  return (bytes + replay_page_size - 1) / replay_page_size;
}

template <class Body, class F>
void edit(replay_cell& record, F change) noexcept {
  std::byte copy[op_body_size_max];
  std::memcpy(copy, record.body, record.body_size);
  std::optional<Body> body = decode<Body>({copy, record.body_size});
  if (!body) return;
  change(*body);
  if (const std::optional<std::size_t> size = encode(*body, record.body))
    record.body_size = static_cast<std::uint16_t>(*size);
}

// The bytes went where the server chose, and perhaps not all of them.
void fix_write(replay_cell& record, byte_span answer) noexcept {
  const std::optional<write_answer> done = decode<write_answer>(answer);
  if (!done) return;
  edit<write_call>(record, [&record, &done](write_call& call) noexcept {
    if ((call.flags & write_flag::append) != 0) call.offset = done->offset;
    call.flags &= ~write_flag::append;
    call.size = std::min(call.size, done->written);
    record.payload.size = std::min(record.payload.size, call.size);
  });
}

void note_changed(replay_cell& record, const op_cell& op, byte_span answer) noexcept {
  const byte_span body(op.body, op.body_size);
  record.inode = op.inode;
  switch (op.op) {
    case opcode::symlink:
    case opcode::mknod:
    case opcode::mkdir:
    case opcode::create:
      if (const auto call = decode<make_call>(body)) record.inode2 = call->inode;
      return;
    case opcode::tmpfile:
      if (const auto call = decode<make_call>(body)) record.inode = call->inode;
      return;
    case opcode::link:
      if (const auto call = decode<link_call>(body)) record.inode2 = call->inode;
      return;
    case opcode::rename:
      if (const auto call = decode<rename_call>(body)) record.inode2 = call->new_parent;
      return;
    case opcode::setattr:
      if (const auto a = decode<attr_answer>(answer); a && S_ISDIR(a->attr.mode))
        record.is_directory = 1;
      return;
    case opcode::write: fix_write(record, answer); return;
    case opcode::none:
    case opcode::lookup:
    case opcode::getattr:
    case opcode::readlink:
    case opcode::unlink:
    case opcode::rmdir:
    case opcode::open:
    case opcode::read:
    case opcode::release:
    case opcode::fsync:
    case opcode::readdir:
    case opcode::statfs:
    case opcode::setxattr:
    case opcode::getxattr:
    case opcode::listxattr:
    case opcode::removexattr:
    case opcode::inode_range:
    case opcode::fallocate:
    case opcode::seek:
    case opcode::copy_range:
    case opcode::get_lock:
    case opcode::set_lock:
    case opcode::cancel_lock:
    case opcode::reclaim_lock:
    case opcode::reclaim_open: return;
  }
}

}  // namespace

replay_log::replay_log(fs_arena& arena, shared_arena& shared, slot_pool& slots)
    : arena_(arena),
      shared_(shared),
      slots_(slots),
      transnos_(replay_count),
      pages_(word_count),
      newest_(op_slot_count),
      used_end_(std::min(arena.replays_used_end.load(std::memory_order_relaxed), replay_count)) {
  free_.reserve(replay_count);
  heap_.reserve(replay_count);
  for (std::uint32_t i = replay_count; i-- > 0;)
    if (i >= used_end_ || control_of(arena.replays[i]).state == state_free) free_.push_back(i);
}

const replay_cell& replay_log::cell(std::uint32_t index) const noexcept {
  const replay_slot& s = arena_.replays[index];
  return s.cells[control_of(s).cell];
}

// ---- taking over --------------------------------------------------------------------------------

// True also for a record that is free.
bool replay_log::adopt(std::uint32_t index, replay_cell& copy) noexcept {
  if (control_of(arena_.replays[index]).state == state_free) return true;
  control_word word;
  const bool intact = copy_record(arena_.replays[index], word, copy) &&
                      word.state == state_kept && copy.index == index &&
                      copy.slot < op_slot_count && is_valid(copy.payload) &&
                      newest_[copy.slot].sequence != copy.slot_seq;
  if (!intact) return false;
  const replay_payload& p = copy.payload;
  const std::uint32_t pages = p.slot.kind == slot_class::none ? pages_of(p.size) : 0;
  if (!are_free(p.first_page, pages) || !slots_.reserve(p.slot)) return false;
  mark_pages(p.first_page, pages, true);
  enlist(index, copy);
  newest& n = newest_[copy.slot];
  if (n.sequence == 0 || copy.xid > n.xid) n = {copy.xid, copy.slot_seq, p.slot};
  return true;
}

void replay_log::forget(std::uint32_t index) noexcept {
  log_error("replay record {} is damaged and left out", index);
  set_state(arena_.replays[index], state_free, 0);
  free_.push_back(index);
}

// ---- keeping ------------------------------------------------------------------------------------

bool replay_log::is_wanted(const op_cell& op, const downcall_cell& answer) const noexcept {
  return is_mutation(op.op) && error_of_wire(answer.status) == error_code::ok &&
         answer.transno > std::max(committed_, answer.last_committed) &&
         newest_[op.index].sequence != op.slot_seq;
}

void replay_log::keep(const op_cell& op, const downcall_cell& answer) noexcept {
  CHECK(has_room());
  const byte_span told(answer.body, answer.body_size);
  replay_cell record;
  record.transno = answer.transno;
  record.time_ns = time_of_answer(told);
  record.xid = op.xid;
  record.slot = op.index;
  record.slot_seq = op.slot_seq;
  record.op = op.op;
  record.body_size = op.body_size;
  record.payload.size = op.payload_in.size;
  std::memcpy(record.body, op.body, op.body_size);
  note_changed(record, op, told);
  place_payload(op, record);
  const std::uint32_t index = free_.back();
  free_.pop_back();
  record.index = index;
  if (op.op == opcode::write) place_guards(op, record);
  if (index >= used_end_) {
    used_end_ = index + 1;
    arena_.replays_used_end.store(used_end_, std::memory_order_release);
  }
  replay_slot& slot = arena_.replays[index];
  publish(slot, record, state_kept, 0, control_of(slot).sequence + 1);
  enlist(index, record);
  newest_[op.index] = {op.xid, op.slot_seq, record.payload.slot};
  note_gauges();
}

// Into the log, or, if it is large or the log has no such piece left, it stays where it is.
void replay_log::place_payload(const op_cell& op, replay_cell& record) noexcept {
  replay_payload& p = record.payload;
  if (p.size == 0) return;
  slot_ref from = op.payload_in;
  from.size = p.size;
  const std::optional<std::uint32_t> first =
      p.size <= log_payload_max ? find_pages(pages_of(p.size)) : std::nullopt;
  if (!first) {
    p.slot = from;
    return;
  }
  p.first_page = *first;
  std::byte* to = arena_.replay_log + std::size_t{*first} * replay_page_size;
  copy_bytes({to, p.size}, slot_bytes(shared_, from));
  mark_pages(*first, pages_of(p.size), true);
}

// Next to the bytes. A write that was cut has none: its last piece is not the one that was guarded.
void replay_log::place_guards(const op_cell& op, const replay_cell& record) noexcept {
  const replay_payload& p = record.payload;
  const bool is_cut = p.size != op.payload_in.size;
  if (p.slot.kind != slot_class::none) {
    if (is_cut) keep_trailer(arena_.trailers, p.slot, nullptr);
    return;
  }
  small_trailer& to = arena_.trailers.replays[record.index];
  const byte_span from =
      is_cut ? byte_span{} : trailer_of(arena_.trailers, op.payload_in);
  to.size = static_cast<std::uint32_t>(copy_bytes(to.bytes, from));
}

void replay_log::enlist(std::uint32_t index, const replay_cell& c) noexcept {
  transnos_[index] = c.transno;
  if (c.payload.slot.kind != slot_class::none) ++slots_held_;
  bytes_ += c.payload.size;
  heap_.push_back(index);
  std::push_heap(heap_.begin(), heap_.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
    return is_later(a, b);
  });
}

bool replay_log::has_slot_of(const op_cell& op) const noexcept {
  const newest& n = newest_[op.index];
  return n.sequence == op.slot_seq && n.slot.kind != slot_class::none &&
         n.slot.kind == op.payload_in.kind && n.slot.index == op.payload_in.index;
}

replay_log::fill replay_log::fullness() const noexcept {
  const auto part = [this](std::uint32_t divisor) noexcept {
    return heap_.size() >= replay_count / divisor || pages_used_ >= replay_page_count / divisor ||
           slots_held_ >= large_slot_count / divisor;
  };
  if (part(2)) return fill::half;
  return part(4) ? fill::quarter : fill::low;
}

void replay_log::note_gauges() noexcept {
  arena_.counters.replays_kept.store(heap_.size(), std::memory_order_relaxed);
  arena_.counters.replay_bytes.store(bytes_, std::memory_order_relaxed);
}

// ---- letting go ---------------------------------------------------------------------------------

void replay_log::trim(std::uint64_t last_committed) noexcept {
  if (last_committed <= committed_) return;
  committed_ = last_committed;
  if (heap_.empty() || transnos_[heap_.front()] > committed_) return;
  while (!heap_.empty() && transnos_[heap_.front()] <= committed_) {
    const std::uint32_t index = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
      return is_later(a, b);
    });
    heap_.pop_back();
    release(index);
  }
  note_gauges();
}

const replay_cell* replay_log::find(std::uint64_t transno) const noexcept {
  const auto it = std::find_if(
      heap_.begin(), heap_.end(),
      [this, transno](std::uint32_t i) noexcept { return transnos_[i] == transno; });
  return it == heap_.end() ? nullptr : &cell(*it);
}

void replay_log::drop(std::uint64_t transno) noexcept {
  const auto it = std::find_if(
      heap_.begin(), heap_.end(),
      [this, transno](std::uint32_t i) noexcept { return transnos_[i] == transno; });
  if (it == heap_.end()) return;
  const std::uint32_t index = *it;
  *it = heap_.back();
  heap_.pop_back();
  std::make_heap(heap_.begin(), heap_.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
    return is_later(a, b);
  });
  release(index);
  note_gauges();
}

void replay_log::drop_all() noexcept {
  for (const std::uint32_t index : heap_) release(index);
  heap_.clear();
  committed_ = 0;
  note_gauges();
}

// The record goes first: dead from here on we leave nothing that uses pages or slot.
void replay_log::release(std::uint32_t index) noexcept {
  const replay_cell& c = cell(index);
  set_state(arena_.replays[index], state_free, 0);
  bytes_ -= c.payload.size;
  if (c.payload.slot.kind == slot_class::none)
    mark_pages(c.payload.first_page, pages_of(c.payload.size), false);
  else
    release_slot(c);
  free_.push_back(index);
}

// An op that has not ended needs it still; it gives it back with its end.
void replay_log::release_slot(const replay_cell& c) noexcept {
  --slots_held_;
  newest& n = newest_[c.slot];
  const control_word op = control_of(arena_.ops[c.slot]);
  const bool op_lives = op.state != 0 && op.sequence == c.slot_seq && n.sequence == c.slot_seq;
  if (n.sequence == c.slot_seq) n.slot = {};
  const slot_ref& of_op = arena_.ops[c.slot].cells[op.cell].payload_in;
  const bool is_same = of_op.kind == c.payload.slot.kind && of_op.index == c.payload.slot.index;
  if (!op_lives || !is_same) slots_.give_back(c.payload.slot);
}

// ---- pages --------------------------------------------------------------------------------------

// The lowest piece that is large enough: so a mount that keeps little touches little memory.
std::optional<std::uint32_t> replay_log::find_pages(std::uint32_t count) const noexcept {
  std::uint32_t begin = 0;
  std::uint32_t length = 0;
  for (std::uint32_t w = 0; w < word_count; ++w) {
    for (std::uint32_t bit = 0; bit < bits_per_word;) {
      const std::uint64_t rest = pages_[w] >> bit;
      if ((rest & 1) != 0) {
        length = 0;
        bit += static_cast<std::uint32_t>(std::countr_one(rest));
        continue;
      }
      if (length == 0) begin = w * bits_per_word + bit;
      const std::uint32_t free =
          std::min(static_cast<std::uint32_t>(std::countr_zero(rest)), bits_per_word - bit);
      length += free;
      if (length >= count) return begin;
      bit += free;
    }
  }
  return std::nullopt;
}

bool replay_log::are_free(std::uint32_t first, std::uint32_t count) const noexcept {
  for (std::uint32_t page = first; page < first + count; ++page)
    if ((pages_[page / bits_per_word] >> page % bits_per_word & 1) != 0) return false;
  return true;
}

void replay_log::mark_pages(std::uint32_t first, std::uint32_t count, bool used) noexcept {
  for (std::uint32_t page = first; page < first + count; ++page) {
    const std::uint64_t bit = std::uint64_t{1} << page % bits_per_word;
    if (used)
      pages_[page / bits_per_word] |= bit;
    else
      pages_[page / bits_per_word] &= ~bit;
  }
  pages_used_ = used ? pages_used_ + count : pages_used_ - count;
}

}  // namespace tangelo
