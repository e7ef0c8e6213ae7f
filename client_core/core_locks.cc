// Locks, as a core sees them: what the server says of a wait goes into the lock words, and is
// acknowledged when the front end's record shows that it has acted; after a restart of the server
// the records are claimed.
//
// An op under way may have been executed and its answer lost: a lock that it gives up, or reduces,
// may be another client's by now. So it is claimed as one that gives way (lock_call::at_least).
#include <algorithm>

#include "base/log.h"
#include "client_core/core.h"
#include "protocol/op_state.h"
#include "protocol/records.h"

namespace tangelo {

namespace {

// Behind the claims of what is held come those of what is waited for.
constexpr std::uint64_t waits_begin = lock_count;

bool is_same_owner(const lock_what& a, const lock_what& b) noexcept {
  return a.inode == b.inode && a.owner == b.owner && a.kind == b.kind;
}

}  // namespace

std::uint32_t core::locks_end() const noexcept {
  return std::min(w_.arena.locks_used_end.load(std::memory_order_acquire), lock_count);
}

// ---- what the server says of waits --------------------------------------------------------------

void core::on_lock_notice(std::uint64_t lock_id, error_code status) noexcept {
  tell_lock(lock_id, lock_event::ended, status);
}

void core::on_lock_refused(const lock_claim& claim, error_code status) noexcept {
  log_error("lock of inode {}: the server does not give it back: {}", claim.call.what.inode,
            name_of_error(status));
  const lock_event event = claim.call.wait != 0 ? lock_event::ended : lock_event::lost;
  tell_lock(claim.call.lock_id, event, status);
}

void core::tell_lock(std::uint64_t lock_id, lock_event event, error_code status) noexcept {
  const std::uint32_t index = lock_index(lock_id);
  const bool told = std::any_of(
      locks_told_.begin(), locks_told_.end(),
      [lock_id](const lock_told& t) noexcept { return t.lock_id == lock_id; });
  if (told) return;
  if (index < lock_count && !is_acted_upon({lock_id, event})) {
    const lock_word word{lock_sequence(lock_id), event, static_cast<std::uint16_t>(status)};
    w_.shared.lock_words[index].store(word.pack(), std::memory_order_release);
    w_.shared.core.lock_news.fetch_add(1, std::memory_order_release);
    news_ = true;
  }
  locks_told_.push_back({lock_id, event});
  look_at_locks();
}

bool core::is_acted_upon(const lock_told& told) const noexcept {
  const std::uint32_t index = lock_index(told.lock_id);
  if (index >= lock_count) return true;
  const control_word w = control_of(w_.arena.locks[index]);
  const auto state = static_cast<lock_state>(w.state);
  if (w.sequence != lock_sequence(told.lock_id)) return true;
  if (told.event == lock_event::lost) return state != lock_state::held;
  return state != lock_state::asking && state != lock_state::waiting;
}

// A record that is damaged has lost its waiter: the server gives the lock to the next one.
void core::look_at_locks() noexcept {
  std::erase_if(locks_told_, [this](const lock_told& t) noexcept {
    if (!is_acted_upon(t)) return false;
    if (t.event != lock_event::ended) return true;
    const std::uint32_t index = lock_index(t.lock_id);
    const bool lost = index >= lock_count ||
                      control_of(w_.arena.locks[index]).state ==
                          static_cast<std::uint8_t>(lock_state::damaged);
    session_->acknowledge(t.lock_id, !lost);
    return true;
  });
}

// ---- claims -------------------------------------------------------------------------------------

bool core::has_locks() const noexcept {
  for (std::uint32_t i = 0; i < locks_end(); ++i) {
    const auto state = static_cast<lock_state>(control_of(w_.arena.locks[i]).state);
    if (state == lock_state::held || state == lock_state::waiting) return true;
  }
  return false;
}

// Lock ops that some server may have executed.
void core::list_lock_ops() {
  lock_ops_.clear();
  const std::uint32_t end =
      std::min(w_.arena.ops_used_end.load(std::memory_order_acquire), op_slot_count);
  for (std::uint32_t i = 0; i < end; ++i) {
    control_word word;
    op_cell cell;
    const op_slot& slot = w_.arena.ops[i];
    const auto state = static_cast<op_state>(control_of(slot).state);
    if (state == op_state::unknown || slot.attempts.load(std::memory_order_relaxed) == 0) continue;
    if (!copy_record(slot, word, cell) || cell.op != opcode::set_lock) continue;
    const std::optional<lock_call> call = decode<lock_call>({cell.body, cell.body_size});
    if (call) lock_ops_.push_back(call->what);
  }
  for (std::uint32_t i = 0; i < locks_end(); ++i) {
    control_word word;
    lock_cell cell;
    if (copy_record(w_.arena.locks[i], word, cell) &&
        word.state == static_cast<std::uint8_t>(lock_state::waiting))
      lock_ops_.push_back(cell.what);
  }
}

lock_type core::at_least(const lock_what& held) const noexcept {
  lock_type least = held.type;
  for (const lock_what& op : lock_ops_)
    if (is_same_owner(op, held) && op.start <= held.end && held.start <= op.end)
      least = std::min(least, op.type);
  return least;
}

bool core::next_lock(std::uint64_t after, lock_claim& out) {
  if (after == 0) list_lock_ops();
  const std::uint32_t end = locks_end();
  for (std::uint64_t place = after; place < waits_begin + end; ++place) {
    if (place >= end && place < waits_begin) {
      place = waits_begin - 1;
      continue;
    }
    const bool waits = place >= waits_begin;
    const auto index = static_cast<std::uint32_t>(waits ? place - waits_begin : place);
    control_word word;
    lock_cell cell;
    const lock_slot& slot = w_.arena.locks[index];
    if (!copy_record(slot, word, cell)) continue;
    const lock_state wanted = waits ? lock_state::waiting : lock_state::held;
    if (word.state != static_cast<std::uint8_t>(wanted)) continue;
    // Its release may have been executed.
    const std::uint8_t handle_now = control_of(w_.arena.handles[cell.what.handle & 0xffff]).state;
    if (handle_now == static_cast<std::uint8_t>(handle_state::closing)) continue;
    out = lock_claim{};
    out.place = place + 1;
    out.call.what = cell.what;
    out.call.lock_id = cell.lock_id;
    out.call.wait = waits ? 1 : 0;
    out.call.at_least = waits ? lock_type::unlock : at_least(cell.what);
    return true;
  }
  return false;
}

}  // namespace tangelo
