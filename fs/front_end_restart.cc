// Taking over from a front end that died: what the arena says, then what the kernel says.
//
// Whatever the predecessor was doing, each op's record is in one of the table's states. Its request
// may have been answered or not; its caller may have been killed meanwhile. FUSE_NOTIFY_RESEND
// tells: every request that is not answered comes again, in any order but before all new ones,
// under a new id. So the sweep reads until there is nothing or a new request, and an op whose
// request did not come has nobody who waits for it. An op that was with a core goes to the next one
// with the same tag, and the server tells a repeat from a first.
//
// Kernels before 6.9 cannot do that. There the old ids stay valid and no caller of a request that
// was read goes away without an answer; a request that was taken but not recorded is in the receive
// cell.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fs/claims.h"
#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "protocol/arena.h"
#include "protocol/records.h"

namespace tangelo {

namespace {

bool has_no_answer(std::uint32_t opcode) noexcept {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

}  // namespace

// Before the ops: a data slot that a record keeps may be one op's as well.
void front_end::take_over_log() noexcept {
  log_.take_over([this](const replay_cell& damaged) noexcept {
    losses_.note_file(damaged.inode);
    losses_.note_file(damaged.inode2);
    count(w_.arena.counters.lost_changes);
  });
  losses_.mark();
}

// Slots, barriers and lists, by arrival; nothing is said to anybody.
void front_end::take_over_ops() noexcept {
  order_.clear();
  ops_.for_each_live([this](std::uint32_t i) noexcept { order_.push_back(i); });
  std::sort(order_.begin(), order_.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
    return ops_.cell(a).xid < ops_.cell(b).xid;
  });
  for (const std::uint32_t i : order_) {
    const op_cell& op = ops_.cell(i);
    const bool has_reply_slot = ops_.slot(i).prepared.load(std::memory_order_relaxed) != 0;
    if (!is_editable(op) || !(log_.has_slot_of(op) || slots_.reserve(op.payload_in)) ||
        (has_reply_slot && !slots_.reserve(op.payload_out))) {
      ops_.leave_out(i);
      continue;
    }
    claim claims[claim_count_max];
    barriers_.add(i, claims, claims_of(op, claims));
    stale_.op_begins(op);
    note_lock_op(op, true);
    if (op.op == opcode::inode_range) range_op_ = i;
    // No core is attached: it was lost with the predecessor, or before it.
    if (ops_.state(i) == op_state::in_progress) count(w_.arena.counters.purged);
    (void)ops_.apply(i, op_event::core_lost, static_cast<std::uint32_t>(generation_));
    if (ops_.state(i) == op_state::given_up && is_mutation(op.op)) ++given_up_mutations_;
  }
  w_.arena.core_attached.store(0, std::memory_order_release);
}

void front_end::start() noexcept {
  fs_pulse& pulse = w_.arena.pulse;
  const bool is_first = pulse.generation.fetch_add(1, std::memory_order_relaxed) == 0;
  pulse.beats.fetch_add(1, std::memory_order_relaxed);
  set_draining(false);
  if (is_first) return;
  take_over_losses();
  give_answers();
  give_lock_answers();
  if (w_.kernel_resends)
    sweep();
  else
    revive_all();
  close_unused_handles();
  drop_unused_asking();
  look_at_core();
  forget_unknown();
  relist_by_arrival();
  log_notice("took over {} ops and {} open files", ops_.live_count(), handles_.open_count());
}

// What the predecessor had begun to do about losses is done before anybody is told of one: so
// nobody is told twice. The answers that it took and may have recorded are of the lost session.
void front_end::take_over_losses() noexcept {
  take_replay_failure();
  const std::optional<eviction_cell> eviction = new_eviction();
  if (!eviction) return;
  ops_.for_each_live([this](std::uint32_t i) noexcept {
    if (ops_.state(i) != op_state::serviced) return;
    const std::optional<downcall_cell> d = downcall_of(i);
    if (d && can_keep(i, *d) && log_.is_wanted(ops_.cell(i), *d)) log_.keep(ops_.cell(i), *d);
  });
  lose_session(*eviction);
  end_session();
}

// The predecessor had taken these answers, and had given them or not: the kernel, which still knows
// the requests by the ids that we know, takes what it does not have. Before RESEND no caller can
// have gone, so nobody is left with a file open that he does not know of.
void front_end::give_answers() noexcept {
  ops_.for_each_live([this](std::uint32_t i) noexcept {
    if (ops_.state(i) != op_state::serviced) return;
    const std::optional<downcall_cell> d = downcall_of(i);
    if (!d || !can_keep(i, *d)) return;
    CHECK(ops_.apply(i, op_event::came_back_answered, static_cast<std::uint32_t>(generation_)) ==
          op_action::reply);
    finish_serviced(i, *d);
  });
}

void front_end::sweep() noexcept {
  const int rc = w_.kernel.resend();
  if (rc != 0) {
    log_warning("FUSE_NOTIFY_RESEND: {}; going on with the old requests", std::strerror(-rc));
    return revive_all();
  }
  const std::uint64_t last_xid = w_.arena.next_xid.load(std::memory_order_relaxed);
  swept s{std::vector<bool>(op_slot_count, false), std::vector<bool>(op_slot_count, false),
          std::vector<bool>(lock_count, false), std::vector<bool>(lock_count, false)};
  while (sweep_one(s)) {
  }
  settle(s.ops, last_xid);
  settle_waits(s.waits, s.waits_interrupted);
  for (std::uint32_t i = 0; i < op_slot_count; ++i)
    if (s.ops_interrupted[i] && ops_.state(i) != op_state::unknown)
      interrupt_op(i, w_.callers.is_being_killed(ops_.cell(i).pid));
  ops_.for_each_live([this](std::uint32_t i) noexcept {
    if (is_direct(ops_.cell(i))) watch_caller(i);
  });
}

// Reads one request; false when the sweep is over.
bool front_end::sweep_one(swept& s) noexcept {
  // The predecessor kept room for the one request that it may have read and not recorded.
  CHECK(reserve_receive_slot(0));
  const ssize_t size = read_request();
  if (size == -EINTR || size == -ENOENT) return true;
  if (size < 0) {
    if (size != -EAGAIN) unmounted_ = true;
    return false;
  }
  fuse_in_header header{};
  std::memcpy(&header, w_.arena.receive.head.data(), sizeof header);
  if (has_no_answer(header.opcode)) return true;
  if (header.opcode == FUSE_INTERRUPT) {
    fuse_interrupt_in in{};
    std::memcpy(&in, w_.arena.receive.head.data() + sizeof header, sizeof in);
    if (const std::optional<std::uint32_t> index = ops_.find(in.unique))
      s.ops_interrupted[*index] = true;
    else if (const lock_cell* wait = locks_.find_request(in.unique))
      s.waits_interrupted[wait->index] = true;
    else
      (void)held_.interrupt(in.unique);
    return true;
  }
  const bool is_repeated = (header.unique & kernel_id_resent_bit) != 0;
  if (is_repeated) count(w_.arena.counters.resent);
  const std::optional<std::uint32_t> index =
      is_repeated ? ops_.find(header.unique) : std::nullopt;
  if (index) {
    ops_.slot(*index).resent.store(1, std::memory_order_relaxed);
    s.ops[*index] = true;
    w_.arena.receive.head.fill(std::byte{0});
  } else if (const lock_cell* wait = is_repeated ? locks_.find_request(header.unique) : nullptr) {
    locks_.note_resent(wait->lock_id);
    s.waits[wait->index] = true;
    w_.arena.receive.head.fill(std::byte{0});
  } else if (slots_.free_count(slot_class::write_large) >= sweep_slot_reserve &&
             ops_.free_count() > own_op_reserve) {
    take_request(static_cast<std::size_t>(size));
  } else {
    hold_request(static_cast<std::size_t>(size));
  }
  return is_repeated;
}

// Of the ops that were there before the sweep, up to `last_xid`.
void front_end::settle(const std::vector<bool>& returned, std::uint64_t last_xid) noexcept {
  ops_.for_each_live([this, &returned, last_xid](std::uint32_t i) noexcept {
    const op_cell& op = ops_.cell(i);
    if (op.xid > last_xid) return;
    settle_op(i, returned[i] || op.kernel_id == 0);
  });
}

// `returned`: somebody waits for its answer; for an op of our own that is ourselves.
void front_end::settle_op(std::uint32_t index, bool returned) noexcept {
  if (ops_.state(index) == op_state::serviced) return settle_unanswered(index, returned);
  const bool was_given_up = ops_.state(index) == op_state::given_up;
  const bool is_change = is_mutation(ops_.cell(index).op);
  if (!returned && !was_given_up) count(w_.arena.counters.callers_lost);
  // One of ours stays given up or not as it was: it never had a caller.
  const op_event event = returned ? op_event::came_back : op_event::caller_lost;
  const op_action action = ops_.apply(index, event, static_cast<std::uint32_t>(generation_));
  if (action == op_action::forget) return end_unexecuted(index, std::nullopt);
  if (action == op_action::orphan && is_change) ++given_up_mutations_;
  if (was_given_up && returned && is_change) --given_up_mutations_;
  ops_.append(index);
}

// The predecessor had decided on EINTR or EIO for an op that was never offered, and may have told
// it; or the downcall is damaged.
void front_end::settle_unanswered(std::uint32_t index, bool returned) noexcept {
  const auto generation = static_cast<std::uint32_t>(generation_);
  if (returned) {
    (void)ops_.apply(index, op_event::came_back, generation);
    ops_.append(index);
    return;
  }
  CHECK(ops_.apply(index, op_event::caller_lost, generation) == op_action::forget);
  end_unexecuted(index, std::nullopt);
}

// The downcall for the op as it is now, if the dead core has left one and it is intact.
std::optional<downcall_cell> front_end::downcall_of(std::uint32_t index) const noexcept {
  downcall_cell d;
  control_word word;
  const bool fits = copy_record(w_.shared.downcalls[index], word, d) &&
                    word.state == static_cast<std::uint8_t>(downcall_state::written) &&
                    d.index == index && d.slot_seq == ops_.sequence(index) && is_sound(index, d);
  return fits ? std::optional(d) : std::nullopt;
}

// The predecessor may have died before or after it answered: a second answer does no harm, but what
// was answered EINTR must not be executed afterwards.
void front_end::revive_op(std::uint32_t index) noexcept {
  const op_state state = ops_.state(index);
  const bool was_offered = ops_.slot(index).attempts.load(std::memory_order_relaxed) != 0;
  if (ops_.cell(index).kernel_id == 0) return settle_op(index, true);
  if (state == op_state::given_up) {
    answer_error(ops_.reply_id(index), error_code::interrupted);
    return ops_.append(index);
  }
  if (state == op_state::serviced && !was_offered) {
    (void)ops_.apply(index, op_event::caller_lost, static_cast<std::uint32_t>(generation_));
    return end_unexecuted(index, error_code::interrupted);
  }
  settle_op(index, true);
  // Its signal, if there was one, was told to the predecessor.
  if (ops_.state(index) != op_state::unknown) watch_caller(index);
}

// Without RESEND: every caller still waits, under the id that we know.
void front_end::revive_all() noexcept {
  const std::uint64_t last_xid = w_.arena.next_xid.load(std::memory_order_relaxed);
  ops_.for_each_live([this, last_xid](std::uint32_t i) noexcept {
    if (ops_.cell(i).xid <= last_xid) revive_op(i);
  });
  const receive_cell& taken = w_.arena.receive;
  fuse_in_header header{};
  std::memcpy(&header, taken.head.data(), sizeof header);
  const std::uint32_t slot = taken.tail_slot.load(std::memory_order_relaxed);
  const slot_ref tail{slot_class::write_large, 0, static_cast<std::uint16_t>(slot), 0};
  const bool is_known = header.len == 0 || ops_.find(header.unique) ||
                        locks_.find_request(header.unique) != nullptr;
  if (is_known || !is_valid(tail) || !slots_.reserve(tail)) return;
  receive_slot_ = tail;
  take_request(header.len);
}

// A handle that is opening belongs to an op; the predecessor may have died before it began that.
void front_end::close_unused_handles() noexcept {
  std::vector<std::uint64_t> owned;
  ops_.for_each_live([this, &owned](std::uint32_t i) noexcept {
    const op_cell& op = ops_.cell(i);
    if (has_new_handle(op)) owned.push_back(op.handle);
  });
  std::sort(owned.begin(), owned.end());
  std::vector<std::uint64_t> unused;
  handles_.for_each_opening([&](std::uint64_t handle) noexcept {
    if (!std::binary_search(owned.begin(), owned.end(), handle)) unused.push_back(handle);
  });
  for (const std::uint64_t handle : unused) (void)handles_.close(handle);
}

}  // namespace tangelo
