#include "fs/losses.h"

#include <algorithm>

#include "base/log.h"
#include "fs/replay_log.h"

namespace tangelo {

namespace {

constexpr std::size_t log_lines_max = 64;

}  // namespace

losses::losses(fs_arena& arena, handle_table& handles) : arena_(arena), handles_(handles) {
  files_.reserve(std::size_t{replay_count} * 2 + handle_count);
  directories_.reserve(std::size_t{replay_count} * 2);
  changes_.reserve(replay_count);
}

void losses::add(std::vector<std::uint64_t>& to, std::uint64_t inode) noexcept {
  if (inode != 0 && to.size() < to.capacity()) to.push_back(inode);
}

void losses::note(const replay_cell& lost) noexcept {
  if (changes_.size() < changes_.capacity()) changes_.push_back({lost.inode, lost.op});
  arena_.counters.lost_changes.fetch_add(1, std::memory_order_relaxed);
  const bool of_directory = changes_names(lost.op) || lost.is_directory != 0;
  // The kernel does not say what an attribute is of.
  const bool of_either = lost.op == opcode::setxattr || lost.op == opcode::removexattr;
  if (of_directory || of_either) add(directories_, lost.inode);
  if (!of_directory) add(files_, lost.inode);
  add(lost.op == opcode::rename ? directories_ : files_, lost.inode2);
}

void losses::note_all_files() noexcept {
  handles_.for_each_in_use([this](const handle_cell& file) noexcept { add(files_, file.inode); });
}

void losses::mark() noexcept {
  log_changes();
  for (std::vector<std::uint64_t>* list : {&files_, &directories_}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  if (!files_.empty()) {
    const std::size_t told = handles_.mark_lost(files_);
    arena_.counters.lost_files.fetch_add(told, std::memory_order_relaxed);
  }
  for (const std::uint64_t inode : directories_) mark_directory(inode);
  files_.clear();
  directories_.clear();
  changes_.clear();
}

void losses::mark_directory(std::uint64_t inode) noexcept {
  if (has_lost_directory(inode)) return;
  for (atomic_u64& entry : arena_.lost_directories)
    if (entry.load(std::memory_order_relaxed) == 0) {
      arena_.counters.lost_files.fetch_add(1, std::memory_order_relaxed);
      return entry.store(inode, std::memory_order_release);
    }
  log_error("directory {}: no room to note its loss; its next fsync does not say it", inode);
}

// One line for each inode and kind of change.
void losses::log_changes() noexcept {
  const auto same = [](const lost_change& a, const lost_change& b) noexcept {
    return a.inode == b.inode && a.op == b.op;
  };
  std::sort(changes_.begin(), changes_.end(),
            [](const lost_change& a, const lost_change& b) noexcept {
              return a.inode != b.inode ? a.inode < b.inode : a.op < b.op;
            });
  std::size_t lines = 0;
  for (auto first = changes_.begin(); first != changes_.end();) {
    const auto last = std::find_if_not(
        first, changes_.end(),
        [&same, first](const lost_change& c) noexcept { return same(*first, c); });
    if (lines++ < log_lines_max)
      log_error("lost: inode {}: {} {}", first->inode, last - first, name_of(first->op));
    first = last;
  }
  if (lines > log_lines_max) log_error("lost: and {} more inodes", lines - log_lines_max);
}

bool losses::tell_file(std::uint64_t handle, std::uint64_t request_id) noexcept {
  const handle_table::telling t = handles_.tell_loss(handle, request_id);
  if (t == handle_table::telling::first)
    arena_.counters.losses_told.fetch_add(1, std::memory_order_relaxed);
  return t != handle_table::telling::nothing;
}

bool losses::has_untold(std::uint64_t handle) noexcept {
  const handle_cell* file = handles_.find(handle);
  if (file == nullptr || file->loss_untold == 0) return false;
  arena_.counters.losses_told.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool losses::has_lost_directory(std::uint64_t inode) const noexcept {
  return std::any_of(arena_.lost_directories.begin(), arena_.lost_directories.end(),
                     [inode](const atomic_u64& entry) noexcept {
                       return entry.load(std::memory_order_relaxed) == inode;
                     });
}

void losses::directory_told(std::uint64_t inode) noexcept {
  for (atomic_u64& entry : arena_.lost_directories)
    if (entry.load(std::memory_order_relaxed) == inode) {
      entry.store(0, std::memory_order_release);
      arena_.counters.losses_told.fetch_add(1, std::memory_order_relaxed);
    }
}

}  // namespace tangelo
