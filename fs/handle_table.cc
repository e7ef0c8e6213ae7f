#include "fs/handle_table.h"

#include "protocol/records.h"

namespace tangelo {

namespace {

constexpr std::uint8_t state_open = static_cast<std::uint8_t>(handle_state::open);
constexpr std::uint8_t state_free = static_cast<std::uint8_t>(handle_state::free);

}  // namespace

handle_table::handle_table(fs_arena& arena) : arena_(arena) {
  free_.reserve(handle_count);
  for (std::uint32_t i = handle_count; i-- > 0;) free_.push_back(static_cast<std::uint16_t>(i));
}

std::optional<std::uint64_t> handle_table::open(std::uint64_t inode,
                                                std::uint32_t open_flags) noexcept {
  if (free_.empty()) return std::nullopt;
  const std::uint16_t index = free_.back();
  free_.pop_back();
  handle_slot& slot = arena_.handles[index];
  const std::uint32_t sequence = control_of(slot).sequence + 1;
  handle_cell cell;
  cell.index = index;
  cell.handle = std::uint64_t{sequence} << 16 | index;
  cell.inode = inode;
  cell.open_flags = open_flags;
  publish(slot, cell, state_open, 0, sequence);
  return cell.handle;
}

const handle_cell* handle_table::find(std::uint64_t handle) const noexcept {
  const handle_slot& slot = arena_.handles[handle & 0xffff];
  const control_word w = control_of(slot);
  if (w.state != state_open) return nullptr;
  const handle_cell& cell = slot.cells[w.cell];
  return cell.handle == handle ? &cell : nullptr;
}

void handle_table::set_inode(std::uint64_t handle, std::uint64_t inode) noexcept {
  const handle_cell* present = find(handle);
  if (present == nullptr || present->inode == inode) return;
  handle_cell cell = *present;
  cell.inode = inode;
  handle_slot& slot = arena_.handles[handle & 0xffff];
  publish(slot, cell, state_open, 0, control_of(slot).sequence);
}

bool handle_table::close(std::uint64_t handle) noexcept {
  if (find(handle) == nullptr) return false;
  set_state(arena_.handles[handle & 0xffff], state_free, 0);
  free_.push_back(static_cast<std::uint16_t>(handle & 0xffff));
  return true;
}

}  // namespace tangelo
