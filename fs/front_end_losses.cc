// What is not durable yet, and what becomes of it: replay records are written and trimmed, an
// eviction or a refused replay becomes EIO for those who have the file open, and what the kernel
// has cached is dropped when the server no longer stands for it.
#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "protocol/errors.h"
#include "protocol/records.h"

namespace tangelo {

namespace {

constexpr std::size_t unsafe_lines_max = 64;

}  // namespace

// ---- flags of a call ----------------------------------------------------------------------------

bool front_end::wants_commit(const op_cell& op) const noexcept {
  if (!is_mutation(op.op)) return false;
  switch (read_policy(w_.arena.watchdog.policy).commit) {
    case commit_mode::sync: return true;
    case commit_mode::names:
      if (changes_names(op.op)) return true;
      break;
    case commit_mode::async: break;
  }
  if (op.op != opcode::write && op.op != opcode::fallocate) return false;
  const handle_cell* file = handles_.find(op.handle);
  return (op.kernel_flags & O_DSYNC) != 0 || (file != nullptr && (file->open_flags & O_DSYNC) != 0);
}

std::uint16_t front_end::call_flags_of(const op_cell& op) const noexcept {
  if (!is_mutation(op.op)) return 0;
  const bool must_wait = wants_commit(op);
  switch (log_.fullness()) {
    using enum replay_log::fill;
    case low: return must_wait ? message_flag::need_commit : std::uint16_t{0};
    case quarter:
      return must_wait ? message_flag::need_commit : message_flag::commit_soon;
    case half: return message_flag::need_commit | message_flag::commit_soon;
  }
  return 0;
}

// ---- each turn ----------------------------------------------------------------------------------

void front_end::look_at_core() noexcept {
  log_.trim(w_.shared.core.last_committed.load(std::memory_order_acquire));
  take_replay_failure();
  look_at_lease();
}

std::optional<eviction_cell> front_end::new_eviction() noexcept {
  const eviction_slot& slot = w_.shared.core.eviction;
  if (slot.control.load(std::memory_order_acquire) == eviction_seen_) return std::nullopt;
  eviction_cell cell;
  control_word word;
  if (!copy_record(slot, word, cell)) {
    const std::uint64_t now = slot.control.load(std::memory_order_acquire);
    if (now != word.pack()) return std::nullopt;  // replaced while we looked
    log_error("core {}: what it says of an eviction is damaged", generation_);
    eviction_seen_ = now;
    bad_core_ = bad_core_ || core_attached_;
    return std::nullopt;
  }
  if (cell.sequence <= w_.arena.evictions_done.load(std::memory_order_relaxed)) {
    eviction_seen_ = word.pack();
    return std::nullopt;
  }
  cell.text.back() = '\0';
  for (char& c : cell.text)
    if (c != '\0' && (c < ' ' || c > '~')) c = '?';
  return cell;
}

// All that was answered in the lost session has been taken: a record that came later would be
// counted to the next one. It comes before the answers that say `evicted`: an fsync among them
// tells the loss.
void front_end::lose_session(const eviction_cell& e) noexcept {
  if (evicting_ == e.sequence) return;
  std::size_t lost = 0;
  log_.for_each([this, &e, &lost](const replay_cell& c) noexcept {
    if (c.transno <= e.kept_through) return;
    losses_.note(c);
    ++lost;
  });
  if (e.went_back != 0) losses_.note_all_files();
  log_error("the server has forgotten this mount ({}): {} answered changes are lost", e.text.data(),
            lost);
  losses_.mark();
  lose_locks();
  log_.drop_all();
  numbers_.forget();
  evicting_ = e.sequence;
}

// The next session may begin when no core holds an op any more. It has answered them, or it is
// lost: nobody could tell any more, behind this, which of its ops belong to the lost session.
void front_end::end_session() noexcept {
  if (evicting_ == 0 || offered_count_ != 0) return;
  disown_ops();
  stale_.want();
  w_.arena.evictions_done.store(evicting_, std::memory_order_release);
  evicting_ = 0;
  if (core_attached_) w_.core_bell.ring();
}

// What may have been executed in the lost session must not be executed again in the next.
void front_end::disown_ops() noexcept {
  const auto generation = static_cast<std::uint32_t>(generation_);
  ops_.for_each_live([this, generation](std::uint32_t i) noexcept {
    const op_cell& op = ops_.cell(i);
    if (!is_mutation(op.op)) return;
    const op_action action = ops_.apply(i, op_event::evicted, generation);
    if (action == op_action::none) return;
    if (range_op_ == i) range_op_.reset();
    if (action == op_action::forget) {
      --given_up_mutations_;
      return end_unexecuted(i, std::nullopt);
    }
    CHECK(action == op_action::reply_eio);
    end_unexecuted(i, op.kernel_id == 0 ? std::nullopt : std::optional(error_code::evicted));
  });
}

void front_end::take_replay_failure() noexcept {
  const replay_failure_slot& slot = w_.shared.core.replay_failure;
  if (slot.control.load(std::memory_order_acquire) == failure_seen_) return;
  replay_failure_cell cell;
  control_word word;
  const bool intact = copy_record(slot, word, cell);
  if (!intact && slot.control.load(std::memory_order_acquire) != word.pack()) return;
  failure_seen_ = word.pack();
  if (!intact) {
    log_error("core {}: what it says of a refused replay is damaged", generation_);
    bad_core_ = bad_core_ || core_attached_;
    return;
  }
  if (cell.sequence <= w_.arena.replay_failures_done.load(std::memory_order_relaxed)) return;
  log_error("the server refuses to make a change of inode {} again: {}", cell.inode,
            name_of_error(error_of_wire(static_cast<std::uint16_t>(cell.status))));
  if (const replay_cell* record = log_.find(cell.transno)) {
    losses_.note(*record);
    losses_.mark();
    log_.drop(cell.transno);
  }
  w_.arena.replay_failures_done.store(cell.sequence, std::memory_order_release);
  if (core_attached_) w_.core_bell.ring();
}

// ---- losses of which an open file is told -------------------------------------------------------

// The answer to an fsync becomes EIO if its file or directory has lost changes that nobody was told
// of. True if it was a directory: it is told with the reply.
bool front_end::tell_loss(const op_cell& op, std::uint64_t reply_id) noexcept {
  if (op.op != opcode::fsync || reply_id == 0) return false;
  const bool of_directory = op.kernel_opcode == FUSE_FSYNCDIR;
  const bool lost = of_directory ? losses_.has_lost_directory(op.inode)
                                 : losses_.tell_file(op.handle, op.kernel_id);
  if (lost) answer_.build_error(reply_id, error_code::io);
  return lost && of_directory;
}

// ---- what the kernel has cached -----------------------------------------------------------------

// While the lease runs the server gives away nothing that we rely on.
std::uint64_t front_end::lease_left_ns() const noexcept {
  const std::uint64_t until = w_.shared.core.lease_until_ns.load(std::memory_order_relaxed);
  const std::uint64_t now = w_.time.now_ns();
  if (until == 0) return path_watch::never;
  return until > now ? until - now : 0;
}

void front_end::look_at_lease() noexcept {
  const bool lapsed = lease_left_ns() == 0;
  if (lapsed && !lease_lapsed_) {
    log_notice("the lease has ended: what the kernel has cached is dropped");
    stale_.want();
  }
  lease_lapsed_ = lapsed;
}

std::uint64_t front_end::wake_at_ns() const noexcept {
  const std::uint64_t lease_end = w_.shared.core.lease_until_ns.load(std::memory_order_relaxed);
  const bool is_ahead = lease_end != 0 && !lease_lapsed_;
  return is_ahead ? std::min(path_.due_ns(), lease_end) : path_.due_ns();
}

bool front_end::drop_caches() noexcept {
  if (unmounted_) return false;
  return stale_.look(all_read_, path_.state() == path_state::running && lease_left_ns() != 0);
}

// ---- the end ------------------------------------------------------------------------------------

void front_end::log_unsafe_changes() noexcept {
  if (log_.count() == 0) return;
  inodes_.clear();
  log_.for_each([this](const replay_cell& c) noexcept {
    if (inodes_.size() < inodes_.capacity()) inodes_.push_back(c.inode);
  });
  std::sort(inodes_.begin(), inodes_.end());
  log_error("{} answered changes are not known to be durable", inodes_.size());
  std::size_t lines = 0;
  for (auto first = inodes_.begin(); first != inodes_.end() && lines < unsafe_lines_max; ++lines) {
    const auto last = std::upper_bound(first, inodes_.end(), *first);
    log_error("not known to be durable: inode {}: {} changes", *first, last - first);
    first = last;
  }
}

}  // namespace tangelo
