// Locks: what is asked for, what the server grants later, and waits that nobody wants any more.
//
// A set_lock op whose lock is taken ends with "queued": its caller's id is in a lock record then
// (lock_records.h), and the op slot is free. What the server says of it comes in the core's lock
// words. A wait whose caller was signalled, killed or refused is `leaving`: a cancel op of our own
// says so to the server, and its answer says whether the lock was granted first.
//
// Whoever gets a lock reads what its last holder wrote: the kernel forgets the file's attributes
// before it hears of the lock, and so asks whether its pages still hold.
#include "base/check.h"
#include "base/log.h"
#include "fs/claims.h"
#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "fs/op_meter.h"
#include "protocol/arena.h"

namespace tangelo {

namespace {

// Ops that ask for locks leave room for those that give them up.
constexpr std::size_t asking_count_max = op_slot_count / 2;

bool is_unlock(const lock_call& c) noexcept { return c.what.type == lock_type::unlock; }

}  // namespace

// ---- requests -----------------------------------------------------------------------------------

// A lock takes a record, and may split another; what is under way and waits has its own.
bool front_end::has_room_for_lock() const noexcept {
  const std::size_t wanted = 2 * (lock_ops_ + 1) + locks_.waiting_count();
  return lock_ops_ < asking_count_max && locks_.free_count() > wanted;
}

void front_end::queue_lock(op_draft& draft) noexcept {
  op_cell& op = draft.cell;
  const std::optional<lock_call> call = lock_call_of(op);
  CHECK(call.has_value());
  const bool is_whole = call->what.start == 0 && call->what.end == lock_end_max;
  if (!(is_unlock(*call) && is_whole) && !has_room_for_lock())
    return answer_error(draft.reply_id, error_code::no_locks);
  if (call->wait != 0) {
    const std::optional<std::uint64_t> id = locks_.ask(call->what, op.kernel_id, op.pid);
    if (!id) return answer_error(draft.reply_id, error_code::no_locks);
    set_lock_id(op, *id);
  }
  queue_op(draft);
}

// Every copy of a descriptor that is closed sends one, also in a child that looks at no answer: it
// says the loss and leaves it to be told. It waits for the server only if the process that closes
// it has locks to give up.
void front_end::answer_flush(op_draft& draft) noexcept {
  const std::optional<lock_call> call = lock_call_of(draft.cell);
  const bool may_have_locks =
      call && (locks_.has_owner(call->what.inode, call->what.owner) ||
               barriers_.is_claimed(claim_lock_owner(call->what.inode, call->what.owner)));
  if (may_have_locks) return queue_op(draft);
  const bool lost = losses_.has_untold(draft.cell.handle);
  answer_error(draft.reply_id, lost ? error_code::io : error_code::ok);
}

// An op of our own that is as good as the one that ended.
void front_end::unlock_without_caller(const lock_call& call) noexcept {
  std::byte body[op_body_size_max];
  lock_call own = call;
  own.what.type = lock_type::unlock;
  own.wait = 0;
  const std::optional<std::size_t> size = encode(own, body);
  (void)queue_own(opcode::set_lock, {body, size.value_or(0)}, own.what.inode, own.what.handle);
}

// ---- answers ------------------------------------------------------------------------------------

void front_end::finish_lock_op(std::uint32_t index, const downcall_cell& d,
                               bool has_caller) noexcept {
  const op_cell& op = ops_.cell(index);
  const error_code status = error_of_wire(d.status);
  const byte_span answer{d.body, d.body_size};
  if (has_caller)
    meter_answered(w_.arena, op, status == error_code::queued ? error_code::ok : status, 0,
                   w_.time.now_ns());
  if (op.op == opcode::cancel_lock) {
    const std::optional<cancel_lock_call> call =
        decode<cancel_lock_call>({op.body, op.body_size});
    const std::optional<cancel_lock_answer> told = decode<cancel_lock_answer>(answer);
    const bool granted = status == error_code::ok && told && told->granted != 0;
    end_op(index);
    if (call) end_wait(call->lock_id, granted ? error_code::ok : error_code::interrupted);
    return;
  }
  const std::optional<lock_call> call = lock_call_of(op);
  const std::uint64_t reply_id = has_caller ? ops_.reply_id(index) : 0;
  if (!call) {
    if (reply_id != 0) answer_error(reply_id, error_code::io);
    return end_op(index);
  }
  if (status == error_code::queued && call->lock_id != 0 && call->wait != 0)
    return begin_wait(index, *call, has_caller);
  note_lock_result(*call, status, op.kernel_id != 0 && !has_caller);
  if (reply_id != 0) {
    const bool closes = op.kernel_opcode == FUSE_FLUSH;
    const bool lost = closes && losses_.has_untold(op.handle);
    const bool is_odd = status == error_code::queued;  // nobody asked to wait
    if (status == error_code::ok && !is_unlock(*call))
      w_.kernel.forget_attributes(call->what.inode);
    answer_error(reply_id, lost || is_odd ? error_code::io : closes ? error_code::ok : status);
  }
  if (call->wait != 0) locks_.told(call->lock_id);
  end_op(index);
}

// `abandoned`: its caller was told that it failed.
void front_end::note_lock_result(const lock_call& call, error_code status,
                                 bool abandoned) noexcept {
  if (is_unlock(call)) {
    // One of ours that gives back what nobody wanted.
    if (call.lock_id != 0) locks_.drop(call.lock_id);
    if (status == error_code::ok) locks_.unlock(call.what);
    return;
  }
  if (status != error_code::ok) return locks_.drop(call.lock_id);
  locks_.hold(call.lock_id, call.what, abandoned);
}

void front_end::begin_wait(std::uint32_t index, const lock_call& call, bool has_caller) noexcept {
  const bool signalled = notes_[index].interrupted;
  const bool resent = ops_.slot(index).resent.load(std::memory_order_relaxed) != 0;
  locks_.begin_wait(call.lock_id, has_caller ? ops_.cell(index).kernel_id : 0, resent);
  end_op(index);
  if (!has_caller || signalled) locks_.leave(call.lock_id, !has_caller);
  (void)take_lock_word(call.lock_id);
}

// The wait is over; whoever waits is told.
void front_end::end_wait(std::uint64_t lock_id, error_code status) noexcept {
  if (locks_.state(lock_id) != lock_state::waiting) return;
  const lock_cell cell = *locks_.find(lock_id);
  const std::uint64_t reply_id = locks_.reply_id(cell);
  if (status == error_code::ok) locks_.hold(lock_id, cell.what, cell.kernel_id == 0);
  if (reply_id != 0) {
    if (status == error_code::ok) w_.kernel.forget_attributes(cell.what.inode);
    answer_error(reply_id, status);
  }
  if (status == error_code::ok)
    locks_.told(lock_id);
  else
    locks_.drop(lock_id);
}

// ---- what the server says by itself -------------------------------------------------------------

bool front_end::take_lock_word(std::uint64_t lock_id) noexcept {
  const lock_word word = lock_word::unpack(
      w_.shared.lock_words[lock_index(lock_id)].load(std::memory_order_acquire));
  const lock_state s = locks_.state(lock_id);
  if (word.sequence != lock_sequence(lock_id)) return false;
  if (word.event == lock_event::ended && s == lock_state::waiting) {
    end_wait(lock_id, error_of_wire(word.status));
    return true;
  }
  if (word.event != lock_event::lost || s != lock_state::held) return false;
  const lock_what what = locks_.find(lock_id)->what;
  log_error("inode {}: a lock is lost: {}", what.inode,
            row_of(error_of_wire(word.status)).text);
  losses_.note_file(what.inode);
  losses_.mark();
  count(w_.arena.counters.lost_locks);
  locks_.drop(lock_id);
  return true;
}

void front_end::take_lock_words(bool all) noexcept {
  const std::uint64_t news = w_.shared.core.lock_news.load(std::memory_order_acquire);
  if (!all && news == lock_news_seen_) return;
  lock_news_seen_ = news;
  bool any = false;
  locks_.for_each([this, &any](const lock_cell& c, lock_state) noexcept {
    if (take_lock_word(c.lock_id)) any = true;
  });
  if (any && core_attached_) w_.core_bell.ring();
}

// ---- waits that nobody wants --------------------------------------------------------------------

// A caller that survives its signal is answered when the server has said whether it was granted
// first; one that is being killed now.
void front_end::interrupt_wait(std::uint64_t lock_id, bool killed) noexcept {
  if (killed) return refuse_wait(lock_id, error_code::interrupted);
  locks_.leave(lock_id, false);
}

void front_end::refuse_wait(std::uint64_t lock_id, error_code error) noexcept {
  const lock_cell* wait = locks_.find(lock_id);
  if (wait == nullptr || locks_.state(lock_id) != lock_state::waiting) return;
  if (const std::uint64_t id = locks_.reply_id(*wait); id != 0) answer_error(id, error);
  locks_.leave(lock_id, true);
}

void front_end::refuse_waits() noexcept {
  locks_.for_each([this](const lock_cell& c, lock_state s) noexcept {
    if (s != lock_state::waiting || c.kernel_id == 0) return;
    count(w_.arena.counters.refused);
    refuse_wait(c.lock_id, error_code::io);
  });
}

// One op of ours at a time for each of them, as long as there are slots.
void front_end::send_leavings() noexcept {
  if (locks_.leaving_count() == leaving_ops_ || unmounted_) return;
  locks_.for_each([this](const lock_cell& c, lock_state s) noexcept {
    if (c.leaving == 0 || leaving_busy_[c.index] || s == lock_state::asking) return;
    if (ops_.free_count() <= own_op_reserve) return;
    if (s == lock_state::held) {
      lock_call call;
      call.what = c.what;
      call.lock_id = c.lock_id;
      return unlock_without_caller(call);
    }
    std::byte body[op_body_size_max];
    const std::optional<std::size_t> size = encode(
        cancel_lock_call{{}, c.lock_id, c.what.inode, c.what.owner, c.what.handle}, body);
    (void)queue_own(opcode::cancel_lock, {body, size.value_or(0)}, c.what.inode, c.what.handle);
  });
}

// Counts the ops about locks, from their beginning to their end.
void front_end::note_lock_op(const op_cell& op, bool begins) noexcept {
  std::uint64_t leaving = 0;
  if (op.op == opcode::cancel_lock) {
    const std::optional<cancel_lock_call> call =
        decode<cancel_lock_call>({op.body, op.body_size});
    if (call) leaving = call->lock_id;
  } else if (const std::optional<lock_call> call = lock_call_of(op)) {
    lock_ops_ += begins ? 1 : std::size_t(0) - 1;
    if (is_unlock(*call)) leaving = call->lock_id;
  }
  const std::uint32_t index = lock_index(leaving);
  if (leaving == 0 || index >= lock_count || leaving_busy_[index] == begins) return;
  leaving_busy_[index] = begins;
  leaving_ops_ += begins ? 1 : std::size_t(0) - 1;
}

// ---- the end of a session, and of a front end ---------------------------------------------------

// The server has given them to others, or will.
void front_end::lose_locks() noexcept {
  std::size_t lost = 0;
  locks_.for_each([this, &lost](const lock_cell& c, lock_state s) noexcept {
    if (s != lock_state::held) return;
    losses_.note_file(c.what.inode);
    ++lost;
  });
  if (lost != 0) log_error("{} locks are lost", lost);
  losses_.mark();
  locks_.for_each([this](const lock_cell& c, lock_state s) noexcept {
    if (s == lock_state::waiting) end_wait(c.lock_id, error_code::evicted);
    if (s != lock_state::held) return;
    count(w_.arena.counters.lost_locks);
    locks_.drop(c.lock_id);
  });
}

// Of a predecessor: what it may have recorded and not told, while the old ids still count.
void front_end::give_lock_answers() noexcept {
  take_lock_words(true);
  locks_.for_each([this](const lock_cell& c, lock_state s) noexcept {
    if (s != lock_state::held || c.kernel_id == 0) return;
    w_.kernel.forget_attributes(c.what.inode);
    answer_error(locks_.reply_id(c), error_code::ok);
    locks_.told(c.lock_id);
  });
}

void front_end::drop_unused_asking() noexcept {
  std::vector<bool> owned(lock_count, false);
  ops_.for_each_live([this, &owned](std::uint32_t i) noexcept {
    const std::optional<lock_call> call = lock_call_of(ops_.cell(i));
    if (call && call->wait != 0 && lock_index(call->lock_id) < lock_count)
      owned[lock_index(call->lock_id)] = true;
  });
  locks_.drop_asking_unless(
      [&owned](std::uint64_t id) noexcept -> bool { return owned[lock_index(id)]; });
}

// The kernel has repeated the requests of those who wait still.
void front_end::settle_waits(const std::vector<bool>& returned,
                             const std::vector<bool>& interrupted) noexcept {
  locks_.for_each([this, &returned, &interrupted](const lock_cell& c, lock_state s) noexcept {
    if (s != lock_state::waiting || c.kernel_id == 0) return;
    if (!returned[c.index]) {
      count(w_.arena.counters.callers_lost);
      return locks_.leave(c.lock_id, true);
    }
    if (interrupted[c.index])
      interrupt_wait(c.lock_id, w_.callers.is_being_killed(c.caller));
  });
}

void front_end::look_after_waits() noexcept {
  if (locks_.waiting_count() == 0) return;
  locks_.for_each([this](const lock_cell& c, lock_state s) noexcept {
    if (s != lock_state::waiting || c.kernel_id == 0 || c.caller == 0) return;
    if ((deaf_ || c.leaving != 0) && w_.callers.is_being_killed(c.caller))
      interrupt_wait(c.lock_id, true);
  });
}

}  // namespace tangelo
