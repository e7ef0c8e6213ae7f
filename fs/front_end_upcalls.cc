// What goes to the core: ops are prepared, in the order of their arrival, and offered.
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fs/front_end.h"

namespace tangelo {

namespace {

constexpr std::size_t skips_per_turn = 256;

}  // namespace

void front_end::offer_ops() noexcept {
  if (path_.state() != path_state::running || draining_) return;
  if (evicting_ != 0 || new_eviction()) return;
  // First, whatever its place: those before it may all be waiting for the numbers it brings.
  if (range_op_ && ops_.is_listed(*range_op_)) hand_over(*range_op_);
  std::size_t skipped = 0;
  std::optional<std::uint32_t> next = ops_.first();
  while (next && offered_count_ < op_offered_count_max &&
         skipped < skips_per_turn) {
    const std::uint32_t index = *next;
    next = ops_.after(index);
    if (w_.overlap_rule && !barriers_.may_go(index))
      ops_.remove(index);  // back on the list when the op in its way ends
    else if (may_offer(index))
      hand_over(index);
    else
      ++skipped;
  }
}

bool front_end::may_offer(std::uint32_t index) noexcept {
  // The victim of a rmdir is not named in the request, so it cannot claim the names in it: it waits
  // until no op without a caller can still change names. The kernel's locks keep all others away.
  if (ops_.cell(index).op == opcode::rmdir && given_up_mutations_ != 0 &&
      ops_.state(index) != op_state::given_up)
    return false;
  return ops_.slot(index).prepared.load(std::memory_order_relaxed) != 0 || prepare(index);
}

bool front_end::prepare(std::uint32_t index) noexcept {
  const op_cell& now = ops_.cell(index);
  if (const std::optional<lock_call> call = lock_call_of(now))
    if (call->what.kind == lock_kind::flock) locks_.give_back_flock(call->what);
  const bool wants_number = is_creating(now.op);
  const std::uint16_t flags = call_flags_of(now);
  const bool is_demanded = flags == (message_flag::need_commit | message_flag::commit_soon);
  atomic_u32& prepared = ops_.slot(index).prepared;
  if (!wants_number && now.payload_out.kind == slot_class::none && flags == now.call_flags) {
    prepared.store(1, std::memory_order_relaxed);
    return true;
  }
  op_cell cell;
  std::memcpy(static_cast<void*>(&cell), &now, used_size(now));
  cell.call_flags = flags;
  if (now.payload_out.kind != slot_class::none) {
    const std::optional<slot_ref> slot = slots_.take(now.payload_out.kind, now.payload_out.size);
    if (!slot) return false;
    cell.payload_out = *slot;
  }
  if (wants_number) {
    const std::optional<std::uint64_t> number = numbers_.take();
    if (!number) return false;
    set_new_inode(cell, *number);
    // Should the server restart before we hear its answer, the core claims the handle with it.
    if (opens_new_file(cell.op)) handles_.set_inode(cell.handle, *number);
  }
  if (is_demanded && !wants_commit(cell)) count(w_.arena.counters.commits_demanded);
  ops_.rewrite(index, cell);
  prepared.store(1, std::memory_order_release);
  return true;
}

void front_end::hand_over(std::uint32_t index) noexcept {
  op_slot& slot = ops_.slot(index);
  ops_.remove(index);
  if (slot.attempts.fetch_add(1, std::memory_order_relaxed) == 0)
    slot.offered_ns.store(w_.time.now_ns(), std::memory_order_relaxed);
  const op_action action =
      ops_.apply(index, op_event::offered, static_cast<std::uint32_t>(generation_));
  CHECK(action == op_action::hand_over);
  notes_[index].offered = true;
  ++offered_count_;
  fs_counters& c = w_.arena.counters;
  count(c.upcalls);
  if (offered_count_ > c.in_progress_max.load(std::memory_order_relaxed))
    c.in_progress_max.store(offered_count_, std::memory_order_relaxed);
  if (!up_.push({static_cast<std::uint16_t>(index), ops_.sequence(index)})) {
    log_error("core {}: its position in the up ring makes no sense", generation_);
    bad_core_ = true;
  }
}

// What is known of a caller may be a second old, and the kernel has let him pass by what he is now.
// The server has refused, so nothing was done: it is asked once more, as by a new op.
bool front_end::ask_again(std::uint32_t index, const downcall_cell& d) noexcept {
  const op_cell& op = ops_.cell(index);
  const error_code status = error_of_wire(d.status);
  const bool is_refused =
      status == error_code::access_denied || status == error_code::not_permitted;
  if (!is_refused || notes_[index].asked_again || refuses_new()) return false;
  if (ops_.state(index) != op_state::in_progress || !wants_groups(op.kernel_opcode)) return false;
  std::optional<credential> who = decode<credential>({op.body, op.body_size});
  if (!who || !credentials_.renew(op.pid, *who, op.arrived_ns, w_.time.now_ns())) return false;
  op_cell cell;
  std::memcpy(static_cast<void*>(&cell), &op, used_size(op));
  if (!set_caller(cell, *who)) return false;
  notes_[index].asked_again = true;
  ops_.begin_again(index, cell);
  return true;
}

}  // namespace tangelo
