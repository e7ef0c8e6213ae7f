#include "fs/stale_caches.h"

#include <fcntl.h>

#include <algorithm>

#include "protocol/policy.h"

namespace tangelo {

namespace {

// While one of these is under way, the kernel may hold pages of the file, or wait for some.
bool is_data_op(opcode op) noexcept {
  return op == opcode::read || op == opcode::write || op == opcode::fsync ||
         op == opcode::setattr;
}

}  // namespace

stale_caches::stale_caches(fs_arena& arena, kernel_port& kernel, const handle_table& handles)
    : arena_(arena), kernel_(kernel), handles_(handles), busy_(counter_count) {
  list_.reserve(handle_count + drop_batch_max);
  listed_for_ = arena.invalidation.done.load(std::memory_order_relaxed);
}

std::size_t stale_caches::place_of(std::uint64_t inode) noexcept {
  return static_cast<std::size_t>(inode * 0x9e3779b97f4a7c15u >> 48);
}

void stale_caches::want() noexcept {
  arena_.invalidation.wanted.fetch_add(1, std::memory_order_release);
}

void stale_caches::op_begins(const op_cell& op) noexcept {
  if (!is_data_op(op.op)) return;
  ++busy(op.inode);
  for (std::size_t i = 0; i < batch_size_; ++i) {
    batch_file& b = batch_[i];
    if (b.file.inode == op.inode && !b.taken_back) b.taken_back = kernel_.take_back(i);
  }
}

void stale_caches::op_ends(const op_cell& op) noexcept {
  if (!is_data_op(op.op)) return;
  --busy(op.inode);
  refused_ = 0;
}

bool stale_caches::may_drop(const stale_file& f) const noexcept {
  return busy_[place_of(f.inode)] == 0 && (server_there_ || !f.may_be_dirty);
}

// Each inode once; it may be dirty if any of its handles can be mapped for writing, or just be
// written to where the kernel keeps that for a while.
void stale_caches::list_all() noexcept {
  list_.clear();
  const bool writeback = read_cache_policy(arena_.watchdog.policy).writeback;
  handles_.for_each_in_use([this, writeback](const handle_cell& h) noexcept {
    const std::uint32_t how = h.open_flags & O_ACCMODE;
    const bool may_be_dirty = how == O_RDWR || (writeback && how == O_WRONLY);
    if (h.inode != 0) list_.push_back({h.inode, may_be_dirty});
  });
  std::sort(list_.begin(), list_.end(), [](const stale_file& a, const stale_file& b) noexcept {
    return a.inode != b.inode ? a.inode < b.inode : a.may_be_dirty > b.may_be_dirty;
  });
  list_.erase(std::unique(list_.begin(), list_.end(),
                          [](const stale_file& a, const stale_file& b) noexcept {
                            return a.inode == b.inode;
                          }),
              list_.end());
  next_ = refused_ = 0;
}

void stale_caches::end_batch() noexcept {
  for (std::size_t i = 0; i < batch_size_; ++i)
    if (batch_[i].taken_back) list_.push_back(batch_[i].file);
  batch_size_ = 0;
  refused_ = 0;
}

bool stale_caches::look(bool all_read, bool server_there) noexcept {
  if (kernel_.is_dropping()) return false;
  if (batch_size_ != 0) end_batch();
  invalidation_record& record = arena_.invalidation;
  const std::uint64_t wanted = record.wanted.load(std::memory_order_relaxed);
  if (wanted != listed_for_) {
    list_all();
    listed_for_ = wanted;
  }
  if (list_.empty()) {
    if (record.done.load(std::memory_order_relaxed) < wanted)
      record.done.store(wanted, std::memory_order_release);
    return false;
  }
  if (server_there != server_there_) refused_ = 0;
  server_there_ = server_there;
  if (!all_read) return false;
  std::array<std::uint64_t, drop_batch_max> inodes;
  for (std::size_t n = 0; n < looks_per_turn && batch_size_ < drop_batch_max; ++n) {
    if (refused_ >= list_.size()) break;
    if (next_ >= list_.size()) next_ = 0;
    if (!may_drop(list_[next_])) {
      ++refused_;
      ++next_;
      continue;
    }
    inodes[batch_size_] = list_[next_].inode;
    batch_[batch_size_++] = {list_[next_], false};
    list_[next_] = list_.back();
    list_.pop_back();
  }
  if (batch_size_ != 0) {
    kernel_.drop_caches({inodes.data(), batch_size_});
    return !kernel_.is_dropping();
  }
  return refused_ < list_.size();
}

}  // namespace tangelo
