// What a core does when answers are to be made again or are lost: the replay records and open
// handles of the arena as the session wants them, refused replays, evictions.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "client_core/core.h"
#include "protocol/arena.h"
#include "protocol/op_state.h"
#include "protocol/records.h"

namespace tangelo {

// ---- evictions --------------------------------------------------------------------------------

void core::end_evicted(std::uint32_t index) noexcept {
  downcall_cell cell;
  cell.slot_seq = control_of(w_.arena.ops[index]).sequence;
  cell.status = static_cast<std::uint16_t>(error_code::evicted);
  write_downcall(index, cell);
}

// Everything not answered is over: its fate is unknown, the application is told EIO. So is what the
// front end offers before it has heard of it.
void core::on_evicted(std::uint64_t kept_through, bool went_back) noexcept {
  publish_eviction(kept_through, went_back);
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < op_slot_count; ++i) {
    if (!running_[i]) continue;
    end_evicted(i);
    ++count;
  }
  log_error("evicted by the server: {} operations end with EIO", count);
  w_.ring_front_end();
}

void core::publish_eviction(std::uint64_t kept_through, bool went_back) noexcept {
  core_page& page = w_.shared.core;
  control_word word;
  eviction_cell last;
  const bool any = copy_record(page.eviction, word, last) && word.state != 0;
  const std::uint64_t done = w_.arena.evictions_done.load(std::memory_order_acquire);
  eviction_cell cell;
  cell.sequence = std::max(any ? last.sequence : 0, done) + 1;
  cell.kept_through = kept_through;
  cell.went_back = went_back ? 1 : 0;
  const std::string why = session_->status().last_text;
  std::memcpy(cell.text.data(), why.data(), std::min(why.size(), cell.text.size() - 1));
  // The next session may be with a store that was set back: what the last one said of commits must
  // not be believed of its transnos.
  page.last_committed.store(0, std::memory_order_relaxed);
  publish(page.eviction, cell, 1, static_cast<std::uint32_t>(w_.generation),
          static_cast<std::uint32_t>(cell.sequence));
  eviction_ = cell.sequence;
  tell_status();  // no boot generation: the next core claims nothing
}

// Has the front end acted upon what we told it?
void core::look_at_front_end() noexcept {
  if (loss_ != 0 && w_.arena.replay_failures_done.load(std::memory_order_acquire) >= loss_)
    loss_ = 0;
  tell_loss();
  look_at_locks();
  if (eviction_ == 0) return;
  if (w_.arena.evictions_done.load(std::memory_order_acquire) < eviction_) return;
  eviction_ = 0;
  if (std::exchange(start_waits_, false)) return session_->start();
  session_->invalidated();
}

// ---- refused replays --------------------------------------------------------------------------

void core::on_replay_failed(const replay_entry& entry, error_code status) noexcept {
  replay_loss loss{entry.transno, 0, status};
  for (const replay_place& p : places()) {
    replay_cell cell;
    if (p.transno == entry.transno && read_replay(p, cell)) loss.inode = cell.inode;
  }
  losses_.push_back(loss);
  tell_loss();
}

// One at a time: the record is the only memory of it.
void core::tell_loss() noexcept {
  if (loss_ != 0 || losses_.empty()) return;
  core_page& page = w_.shared.core;
  control_word word;
  replay_failure_cell last;
  const bool any = copy_record(page.replay_failure, word, last) && word.state != 0;
  const std::uint64_t done = w_.arena.replay_failures_done.load(std::memory_order_acquire);
  replay_failure_cell cell;
  cell.sequence = std::max(any ? last.sequence : 0, done) + 1;
  cell.transno = losses_.front().transno;
  cell.inode = losses_.front().inode;
  cell.status = static_cast<std::uint32_t>(losses_.front().status);
  publish(page.replay_failure, cell, 1, static_cast<std::uint32_t>(w_.generation),
          static_cast<std::uint32_t>(cell.sequence));
  losses_.pop_front();
  loss_ = cell.sequence;
  w_.ring_front_end();
}

// ---- the replay source ------------------------------------------------------------------------

// Our downcall for it is written, and the front end has not ended it yet.
bool core::is_answered(std::uint32_t index) const noexcept {
  const control_word op = control_of(w_.arena.ops[index]);
  switch (static_cast<op_state>(op.state)) {
    case op_state::unknown:
    case op_state::waiting:
    case op_state::purged: return false;
    case op_state::in_progress:
    case op_state::serviced:
    case op_state::given_up: break;
  }
  const control_word down = control_of(w_.shared.downcalls[index]);
  const std::uint32_t mine = w_.generation & 0xffffff;
  return op.generation == mine && down.generation == mine && down.sequence == op.sequence &&
         down.state == static_cast<std::uint8_t>(downcall_state::written);
}

bool core::settled() const {
  if (!answers_taken_) {
    const std::uint32_t end =
        std::min(w_.arena.ops_used_end.load(std::memory_order_acquire), op_slot_count);
    for (std::uint32_t i = 0; i < end; ++i)
      if (is_answered(i)) return false;
    answers_taken_ = true;
    places_known_ = false;
  }
  return loss_ == 0 && losses_.empty() &&
         std::all_of(locks_told_.begin(), locks_told_.end(),
                     [this](const lock_told& t) noexcept { return is_acted_upon(t); });
}

// Read when a pass begins: while the session recovers, records only go.
const std::vector<core::replay_place>& core::places() const {
  if (places_known_) return places_;
  places_.clear();
  const std::uint32_t end =
      std::min(w_.arena.replays_used_end.load(std::memory_order_acquire), replay_count);
  for (std::uint32_t i = 0; i < end; ++i) {
    const replay_slot& slot = w_.arena.replays[i];
    const control_word word = control_of(slot);
    if (word.state != static_cast<std::uint8_t>(replay_state::kept)) continue;
    places_.push_back({slot.cells[word.cell].transno, i});
  }
  std::sort(places_.begin(), places_.end(), [](const replay_place& a, const replay_place& b) {
    return a.transno < b.transno;
  });
  places_known_ = true;
  return places_;
}

// A file whose create or open was not answered need not be there: that op is sent again.
void core::on_claim_refused(std::uint64_t handle, error_code status) noexcept {
  control_word word;
  handle_cell cell;
  if (copy_record(w_.arena.handles[handle & 0xffff], word, cell) && cell.handle == handle &&
      word.state == static_cast<std::uint8_t>(handle_state::open))
    log_error("open handle {} of inode {} is lost: {}", handle, cell.inode,
              name_of_error(status));
}

// False for a record that has gone since, or is damaged.
bool core::read_replay(const replay_place& place, replay_cell& out) const noexcept {
  control_word word;
  const bool whole = copy_record(w_.arena.replays[place.index], word, out);
  if (word.state != static_cast<std::uint8_t>(replay_state::kept)) return false;
  if (!whole || out.transno != place.transno || out.slot >= op_slot_count ||
      !is_valid(out.payload)) {
    log_error("replay record {} (transno {}) is damaged", place.index, place.transno);
    return false;
  }
  return true;
}

// The record does not change while it is kept, so its body and its bytes are sent from where they
// are; a page of the log is only read by the session (its memory is mapped read-only).
bool core::next_replay(std::uint64_t after, replay_entry& out) {
  const std::vector<replay_place>& all = places();
  auto at = std::upper_bound(
      all.begin(), all.end(), after,
      [](std::uint64_t transno, const replay_place& p) { return transno < p.transno; });
  replay_cell cell;
  while (at != all.end() && !read_replay(*at, cell)) ++at;
  if (at == all.end()) return false;
  const replay_slot& slot = w_.arena.replays[at->index];
  out = replay_entry{};
  out.transno = cell.transno;
  out.time_ns = cell.time_ns;
  out.call.slot = static_cast<std::uint16_t>(cell.slot);
  out.call.slot_seq = cell.slot_seq;
  out.call.xid = cell.xid;
  out.call.op = cell.op;
  out.call.body = {slot.cells[control_of(slot).cell].body, cell.body_size};
  const replay_payload& p = cell.payload;
  if (p.slot.kind != slot_class::none) {
    out.call.payload_in = slot_bytes(w_.shared, p.slot);
    out.call.protection = trailer_of(w_.arena.trailers, p.slot);
  } else if (p.size != 0) {
    const std::byte* pages =
        w_.arena.replay_log + std::size_t{p.first_page} * replay_page_size;
    out.call.payload_in = {const_cast<std::byte*>(pages), p.size};
    out.call.protection = bytes_of(w_.arena.trailers.replays[at->index]);
  }
  if (!protected_ || cell.op != opcode::write) out.call.protection = {};
  return true;
}

bool core::next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                     std::uint32_t& open_flags) {
  const std::uint32_t end = handles_end();
  for (std::uint64_t i = after == 0 ? 0 : (after & 0xffff) + 1; i < end; ++i) {
    control_word word;
    handle_cell cell;
    if (!copy_record(w_.arena.handles[i], word, cell)) continue;
    if (word.state == static_cast<std::uint8_t>(handle_state::free)) continue;
    // Its release may have been executed, and the file be gone; nobody needs it.
    if (word.state == static_cast<std::uint8_t>(handle_state::closing)) continue;
    if (cell.inode == 0) continue;
    handle = cell.handle;
    inode = cell.inode;
    open_flags = cell.open_flags;
    return true;
  }
  return false;
}

std::uint32_t core::held(std::uint64_t last_committed) const {
  const std::vector<replay_place>& all = places();
  std::uint32_t held =
      !all.empty() && all.back().transno > last_committed ? held_state::uncommitted : 0;
  const std::uint32_t end = handles_end();
  for (std::uint32_t i = 0; i < end; ++i) {
    if (control_of(w_.arena.handles[i]).state != static_cast<std::uint8_t>(handle_state::open))
      continue;
    held |= held_state::opens;
    break;
  }
  if (has_locks()) held |= held_state::locks;
  return held;
}

std::uint32_t core::handles_end() const noexcept {
  return std::min(w_.arena.handles_used_end.load(std::memory_order_acquire), handle_count);
}

}  // namespace tangelo
