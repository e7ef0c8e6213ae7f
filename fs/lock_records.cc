#include "fs/lock_records.h"

#include <algorithm>

#include "base/log.h"

namespace tangelo {

namespace {

std::uint32_t bucket_of(std::uint64_t number, std::uint32_t count) noexcept {
  return static_cast<std::uint32_t>(number * 0x9e3779b97f4a7c15u >> 40) % count;
}

bool is_owner(const lock_what& a, const lock_what& b) noexcept {
  return a.inode == b.inode && a.owner == b.owner && a.kind == b.kind;
}

bool overlap(const lock_what& a, const lock_what& b) noexcept {
  return a.start <= b.end && b.start <= a.end;
}

}  // namespace

lock_records::lock_records(fs_arena& arena)
    : arena_(arena),
      links_(lock_count),
      by_inode_(bucket_count, none),
      by_request_(bucket_count, none),
      used_end_(std::min(arena.locks_used_end.load(std::memory_order_relaxed), lock_count)) {
  free_.reserve(lock_count);
  for (std::uint32_t i = lock_count; i-- > 0;)
    if (i >= used_end_ || !take_over(i)) free_.push_back(static_cast<std::uint16_t>(i));
  put_in_order();
}

// True if the record is not free.
bool lock_records::take_over(std::uint32_t index) noexcept {
  lock_slot& slot = arena_.locks[index];
  const lock_state s = state_at(index);
  if (s == lock_state::free) return false;
  control_word word;
  lock_cell cell;
  const bool intact = s < lock_state::damaged && copy_record(slot, word, cell) &&
                      cell.index == index && lock_index(cell.lock_id) == index &&
                      lock_sequence(cell.lock_id) == word.sequence && is_sound(cell.what);
  if (!intact) {
    if (s != lock_state::damaged) log_error("lock {}: its record is damaged and left out", index);
    set_state(slot, static_cast<std::uint8_t>(lock_state::damaged), 0);
    return true;
  }
  link(index, cell);
  count(s, cell, 1);
  return true;
}

// The predecessor may have died before it cut what a newer record replaces.
void lock_records::put_in_order() {
  std::vector<std::uint32_t> held;
  for (std::uint32_t i = 0; i < used_end_; ++i)
    if (state_at(i) == lock_state::held) held.push_back(i);
  std::sort(held.begin(), held.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
    return cell_at(a).order > cell_at(b).order;
  });
  for (const std::uint32_t newest : held) {
    if (state_at(newest) != lock_state::held) continue;  // cut away
    const lock_cell cell = cell_at(newest);
    for (const std::uint32_t i : held)
      if (i != newest && state_at(i) == lock_state::held && cell_at(i).order < cell.order &&
          is_owner(cell_at(i).what, cell.what) && overlap(cell_at(i).what, cell.what))
        cut_one(i, cell.what);
  }
}

std::uint32_t lock_records::take() noexcept {
  if (free_.empty()) return none;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  if (index >= used_end_) {
    used_end_ = index + 1;
    arena_.locks_used_end.store(used_end_, std::memory_order_release);
  }
  return index;
}

void lock_records::count(lock_state s, const lock_cell& c, int step) noexcept {
  const auto by = static_cast<std::size_t>(step);  // wraps
  if (s == lock_state::held) held_ += by;
  if (s == lock_state::waiting) waiting_ += by;
  if (c.leaving != 0) leaving_ += by;
  arena_.counters.locks_held.store(held_, std::memory_order_relaxed);
  arena_.counters.locks_waiting.store(waiting_, std::memory_order_relaxed);
}

// A record that was free.
void lock_records::put(std::uint32_t index, lock_cell& cell, lock_state s,
                       std::uint32_t sequence) noexcept {
  lock_slot& slot = arena_.locks[index];
  cell.index = index;
  cell.lock_id = std::uint64_t{sequence} << 16 | index;
  slot.resent.store(0, std::memory_order_relaxed);
  publish(slot, cell, static_cast<std::uint8_t>(s), 0, sequence);
  link(index, cell);
  count(s, cell, 1);
}

void lock_records::rewrite(std::uint32_t index, lock_cell& cell, lock_state s) noexcept {
  const lock_cell before = cell_at(index);
  count(state_at(index), before, -1);
  unlink(index, before);
  publish(arena_.locks[index], cell, static_cast<std::uint8_t>(s), 0,
          control_of(arena_.locks[index]).sequence);
  link(index, cell);
  count(s, cell, 1);
}

void lock_records::release(std::uint32_t index) noexcept {
  const lock_cell& cell = cell_at(index);
  count(state_at(index), cell, -1);
  unlink(index, cell);
  set_state(arena_.locks[index], static_cast<std::uint8_t>(lock_state::free), 0);
  free_.push_back(static_cast<std::uint16_t>(index));
}

void lock_records::link(std::uint32_t index, const lock_cell& c) noexcept {
  std::uint32_t& of_inode = by_inode_[bucket_of(c.what.inode, bucket_count)];
  links_[index].next_of_inode = of_inode;
  of_inode = index;
  if (c.kernel_id == 0) return;
  std::uint32_t& of_request = by_request_[bucket_of(c.kernel_id, bucket_count)];
  links_[index].next_of_request = of_request;
  of_request = index;
}

void lock_records::unlink(std::uint32_t index, const lock_cell& c) noexcept {
  for (std::uint32_t* i = &by_inode_[bucket_of(c.what.inode, bucket_count)]; *i != none;
       i = &links_[*i].next_of_inode)
    if (*i == index) {
      *i = links_[index].next_of_inode;
      break;
    }
  if (c.kernel_id == 0) return;
  for (std::uint32_t* i = &by_request_[bucket_of(c.kernel_id, bucket_count)]; *i != none;
       i = &links_[*i].next_of_request)
    if (*i == index) {
      *i = links_[index].next_of_request;
      break;
    }
}

std::optional<std::uint64_t> lock_records::ask(const lock_what& what, std::uint64_t kernel_id,
                                               std::uint32_t caller) noexcept {
  const std::uint32_t index = take();
  if (index == none) return std::nullopt;
  lock_cell cell;
  cell.kernel_id = kernel_id;
  cell.caller = caller;
  cell.what = what;
  put(index, cell, lock_state::asking, control_of(arena_.locks[index]).sequence + 1);
  return cell.lock_id;
}

const lock_cell* lock_records::find(std::uint64_t lock_id) const noexcept {
  const std::uint32_t index = lock_index(lock_id);
  if (index >= lock_count || state(lock_id) == lock_state::free) return nullptr;
  return &cell_at(index);
}

lock_state lock_records::state(std::uint64_t lock_id) const noexcept {
  const std::uint32_t index = lock_index(lock_id);
  if (lock_id == 0 || index >= used_end_) return lock_state::free;
  const control_word w = control_of(arena_.locks[index]);
  if (w.sequence != lock_sequence(lock_id) ||
      w.state == static_cast<std::uint8_t>(lock_state::damaged))
    return lock_state::free;
  return static_cast<lock_state>(w.state);
}

void lock_records::drop(std::uint64_t lock_id) noexcept {
  if (find(lock_id) != nullptr) release(lock_index(lock_id));
}

void lock_records::begin_wait(std::uint64_t lock_id, std::uint64_t kernel_id,
                              bool resent) noexcept {
  if (state(lock_id) != lock_state::asking) return;  // begun before, by a predecessor
  lock_cell cell = *find(lock_id);
  cell.kernel_id = kernel_id;
  if (resent) note_resent(lock_id);
  rewrite(lock_index(lock_id), cell, lock_state::waiting);
}

// Makes `what` as long as what it touches of the same owner and type. True: it grew.
bool lock_records::widen(lock_what& what, std::uint32_t except) const noexcept {
  bool grew = false;
  for (std::uint32_t i = by_inode_[bucket_of(what.inode, bucket_count)]; i != none;
       i = links_[i].next_of_inode) {
    const lock_cell& c = cell_at(i);
    if (i == except || state_at(i) != lock_state::held || c.leaving != 0 ||
        !is_owner(c.what, what) || c.what.type != what.type || c.what.start > what.end + 1 ||
        what.start > c.what.end + 1)
      continue;
    if (c.what.start >= what.start && c.what.end <= what.end) continue;
    what.start = std::min(what.start, c.what.start);
    what.end = std::max(what.end, c.what.end);
    grew = true;
  }
  return grew;
}

void lock_records::hold(std::uint64_t lock_id, const lock_what& what, bool leaving) noexcept {
  const lock_cell* asked = find(lock_id);
  const std::uint32_t index = asked != nullptr ? lock_index(lock_id) : take();
  if (index == none) {
    log_error("inode {}: no record for a lock that is held", what.inode);
    return;
  }
  lock_cell cell;
  if (asked != nullptr) cell = *asked;
  cell.what = what;
  cell.leaving = leaving ? 1 : 0;
  // What is to be unlocked again stays as it is, to be found by its number.
  while (!leaving && widen(cell.what, index)) {
  }
  cell.order = arena_.lock_order.fetch_add(1, std::memory_order_relaxed) + 1;
  if (asked != nullptr)
    rewrite(index, cell, lock_state::held);
  else
    put(index, cell, lock_state::held, control_of(arena_.locks[index]).sequence + 1);
  cut(cell.what, index);
}

void lock_records::told(std::uint64_t lock_id) noexcept {
  const lock_cell* c = find(lock_id);
  if (c == nullptr || c->kernel_id == 0) return;
  lock_cell cell = *c;
  cell.kernel_id = 0;
  rewrite(lock_index(lock_id), cell, state(lock_id));
}

void lock_records::cut(const lock_what& what, std::uint32_t except) noexcept {
  std::uint32_t next = none;
  for (std::uint32_t i = by_inode_[bucket_of(what.inode, bucket_count)]; i != none; i = next) {
    next = links_[i].next_of_inode;
    if (i != except && state_at(i) == lock_state::held && is_owner(cell_at(i).what, what) &&
        overlap(cell_at(i).what, what))
      cut_one(i, what);
  }
}

void lock_records::cut_one(std::uint32_t index, const lock_what& what) noexcept {
  lock_cell cell = cell_at(index);
  const bool before = cell.what.start < what.start;
  const bool behind = cell.what.end > what.end;
  if (before && behind) {
    lock_cell rest = cell;
    rest.kernel_id = 0;
    rest.what.start = what.end + 1;
    const std::uint32_t other = take();
    if (other == none)
      log_error("inode {}: no record for the rest of a lock", what.inode);
    else
      put(other, rest, lock_state::held, control_of(arena_.locks[other]).sequence + 1);
  }
  if (!before && !behind) return release(index);
  if (before)
    cell.what.end = what.start - 1;
  else
    cell.what.start = what.end + 1;
  rewrite(index, cell, lock_state::held);
}

void lock_records::give_back_flock(const lock_what& what) noexcept {
  std::uint32_t next = none;
  for (std::uint32_t i = by_inode_[bucket_of(what.inode, bucket_count)]; i != none; i = next) {
    next = links_[i].next_of_inode;
    if (state_at(i) == lock_state::held && is_owner(cell_at(i).what, what) &&
        cell_at(i).what.type != what.type)
      release(i);
  }
}

void lock_records::drop_handle(std::uint64_t inode, std::uint64_t handle) noexcept {
  std::uint32_t next = none;
  for (std::uint32_t i = by_inode_[bucket_of(inode, bucket_count)]; i != none; i = next) {
    next = links_[i].next_of_inode;
    if (cell_at(i).what.handle == handle) release(i);
  }
}

void lock_records::leave(std::uint64_t lock_id, bool gone) noexcept {
  const lock_cell* c = find(lock_id);
  if (c == nullptr || (c->leaving != 0 && (!gone || c->kernel_id == 0))) return;
  lock_cell cell = *c;
  cell.leaving = 1;
  if (gone) cell.kernel_id = 0;
  rewrite(lock_index(lock_id), cell, state(lock_id));
}

const lock_cell* lock_records::find_request(std::uint64_t kernel_id) const noexcept {
  kernel_id &= ~kernel_id_resent_bit;
  for (std::uint32_t i = by_request_[bucket_of(kernel_id, bucket_count)]; i != none;
       i = links_[i].next_of_request)
    if (cell_at(i).kernel_id == kernel_id && state_at(i) != lock_state::asking) return &cell_at(i);
  return nullptr;
}

std::uint64_t lock_records::reply_id(const lock_cell& c) const noexcept {
  const bool resent = arena_.locks[c.index].resent.load(std::memory_order_relaxed) != 0;
  return c.kernel_id != 0 && resent ? resent_id(c.kernel_id) : c.kernel_id;
}

bool lock_records::has_owner(std::uint64_t inode, std::uint64_t owner) const noexcept {
  for (std::uint32_t i = by_inode_[bucket_of(inode, bucket_count)]; i != none;
       i = links_[i].next_of_inode) {
    const lock_what& w = cell_at(i).what;
    if (w.inode == inode && w.owner == owner && w.kind == lock_kind::posix) return true;
  }
  return false;
}

}  // namespace tangelo
