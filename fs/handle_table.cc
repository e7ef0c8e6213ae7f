#include "fs/handle_table.h"

#include <algorithm>

#include "base/log.h"

namespace tangelo {

namespace {

constexpr std::uint8_t state_open = static_cast<std::uint8_t>(handle_state::open);
constexpr std::uint8_t state_opening = static_cast<std::uint8_t>(handle_state::opening);
constexpr std::uint8_t state_closing = static_cast<std::uint8_t>(handle_state::closing);
constexpr std::uint8_t state_free = static_cast<std::uint8_t>(handle_state::free);

// False also for a damaged record, which is left as it is and never used again.
bool is_free(const handle_slot& slot, std::uint32_t index) noexcept {
  control_word word;
  handle_cell cell;
  if (control_of(slot).state == state_free) return true;
  const bool intact = copy_record(slot, word, cell) && cell.index == index;
  if (!intact) log_error("handle {}: its record is damaged and left out", index);
  return false;
}

}  // namespace

handle_table::handle_table(fs_arena& arena)
    : arena_(arena),
      used_end_(std::min(arena.handles_used_end.load(std::memory_order_relaxed), handle_count)) {
  free_.reserve(handle_count);
  for (std::uint32_t i = handle_count; i-- > 0;)
    if (i >= used_end_ || is_free(arena.handles[i], i))
      free_.push_back(static_cast<std::uint16_t>(i));
}

std::optional<std::uint64_t> handle_table::open(std::uint64_t inode,
                                                std::uint32_t open_flags) noexcept {
  if (free_.empty()) return std::nullopt;
  const std::uint16_t index = free_.back();
  free_.pop_back();
  if (index >= used_end_) {
    used_end_ = index + 1u;
    arena_.handles_used_end.store(used_end_, std::memory_order_release);
  }
  handle_slot& slot = arena_.handles[index];
  const std::uint32_t sequence = control_of(slot).sequence + 1;
  handle_cell cell;
  cell.index = index;
  cell.handle = std::uint64_t{sequence} << 16 | index;
  cell.inode = inode;
  cell.open_flags = open_flags;
  publish(slot, cell, state_opening, 0, sequence);
  return cell.handle;
}

const handle_cell* handle_table::find(std::uint64_t handle) const noexcept {
  const handle_slot& slot = arena_.handles[handle & 0xffff];
  const control_word w = control_of(slot);
  if (w.state == state_free) return nullptr;
  const handle_cell& cell = slot.cells[w.cell];
  return cell.handle == handle ? &cell : nullptr;
}

void handle_table::set_inode(std::uint64_t handle, std::uint64_t inode) noexcept {
  const handle_cell* present = find(handle);
  if (present == nullptr || present->inode == inode) return;
  handle_cell cell = *present;
  cell.inode = inode;
  rewrite(arena_.handles[handle & 0xffff], cell);
}

void handle_table::rewrite(handle_slot& slot, handle_cell& cell) noexcept {
  const control_word now = control_of(slot);
  publish(slot, cell, now.state, 0, now.sequence);
}

std::size_t handle_table::mark_lost(const std::vector<std::uint64_t>& inodes) noexcept {
  std::size_t marked = 0;
  for (std::uint32_t i = 0; i < used_end_; ++i) {
    handle_slot& slot = arena_.handles[i];
    control_word w = control_of(slot);
    handle_cell cell;
    if (w.state == state_free || !copy_record(slot, w, cell) || cell.index != i ||
        cell.loss_untold != 0 || !std::binary_search(inodes.begin(), inodes.end(), cell.inode))
      continue;
    cell.loss_untold = 1;
    rewrite(slot, cell);
    ++marked;
  }
  return marked;
}

handle_table::telling handle_table::tell_loss(std::uint64_t handle,
                                              std::uint64_t request_id) noexcept {
  const handle_cell* present = find(handle);
  if (present == nullptr) return telling::nothing;
  if (present->loss_untold == 0)
    return request_id != 0 && present->told_to == request_id ? telling::again : telling::nothing;
  handle_cell cell = *present;
  cell.loss_untold = 0;
  cell.told_to = request_id;
  rewrite(arena_.handles[handle & 0xffff], cell);
  return telling::first;
}

void handle_table::confirm(std::uint64_t handle) noexcept {
  if (find(handle) != nullptr) set_state(arena_.handles[handle & 0xffff], state_open, 0);
}

void handle_table::close_unconfirmed(std::uint64_t handle) noexcept {
  const bool opening = control_of(arena_.handles[handle & 0xffff]).state == state_opening;
  if (opening) (void)close(handle);
}

void handle_table::begin_close(std::uint64_t handle) noexcept {
  if (find(handle) != nullptr) set_state(arena_.handles[handle & 0xffff], state_closing, 0);
}

bool handle_table::close(std::uint64_t handle) noexcept {
  if (find(handle) == nullptr) return false;
  set_state(arena_.handles[handle & 0xffff], state_free, 0);
  free_.push_back(static_cast<std::uint16_t>(handle & 0xffff));
  return true;
}

}  // namespace tangelo
