// What comes from the kernel: requests become ops, interrupts and killed callers are answered.
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fs/claims.h"
#include "fs/front_end.h"
#include "fs/fuse_abi.h"
#include "fs/op_meter.h"
#include "protocol/arena.h"
#include "protocol/kept_trailers.h"

namespace tangelo {

namespace {

constexpr std::size_t requests_per_turn = 64;
constexpr auto write_large = static_cast<std::size_t>(slot_class::write_large);
constexpr auto write_small = static_cast<std::size_t>(slot_class::write_small);

}  // namespace

bool front_end::reserve_receive_slot(std::size_t spare) noexcept {
  const std::size_t free = slots_.free_count(slot_class::write_large) + (receive_slot_ ? 1 : 0);
  if (free <= spare) return false;
  if (receive_slot_) return true;
  receive_slot_ = slots_.take(slot_class::write_large, 0);
  slot_ref whole = *receive_slot_;
  whole.size = slot_shapes[write_large].stride;
  populate(whole);
  return true;
}

// One request from the kernel, into the receive cell and the receive slot.
ssize_t front_end::read_request() noexcept {
  receive_cell& cell = w_.arena.receive;
  cell.head.fill(std::byte{0});
  cell.tail_slot.store(receive_slot_->index, std::memory_order_relaxed);
  std::byte* tail = w_.shared.slots + slot_offset(slot_class::write_large, receive_slot_->index);
  return w_.kernel.read_request(cell.head, {tail, slot_shapes[write_large].stride});
}

// A request that is refused gives its room back at once, so it may use what is kept for others.
bool front_end::has_room_for_request() noexcept {
  if (refuses_new()) return ops_.free_count() > 1 && reserve_receive_slot(sweep_slot_reserve - 1);
  return ops_.free_count() > own_op_reserve && reserve_receive_slot(sweep_slot_reserve);
}

bool front_end::refuses_new() const noexcept {
  return aborting_ || path_.state() == path_state::fail_fast || path_.state() == path_state::lost;
}

bool front_end::read_requests() noexcept {
  all_read_ = false;
  for (std::size_t n = 0; n < requests_per_turn && !unmounted_ && !draining_; ++n) {
    if (!has_room_for_request()) {
      if (!deaf_) count(w_.arena.counters.deaf_periods);
      deaf_ = true;
      return false;
    }
    deaf_ = false;
    if (!held_.empty()) {
      take_held_request();
      continue;
    }
    const ssize_t size = read_request();
    if (size == -EAGAIN) {
      all_read_ = true;
      return false;
    }
    if (size == -EINTR || size == -ENOENT) continue;
    if (size < 0) {
      // Newer kernels say ECONNABORTED for a connection ended while requests were under way.
      if (size != -ENODEV && size != -ECONNABORTED)
        log_error("/dev/fuse: {}", std::strerror(static_cast<int>(-size)));
      unmounted_ = true;
      return false;
    }
    take_request(static_cast<std::size_t>(size));
  }
  return !unmounted_ && !draining_;
}

// The request in the receive cell and slot goes into our own memory, which frees both.
void front_end::hold_request(std::size_t size) noexcept {
  const byte_span head(w_.arena.receive.head);
  const std::size_t head_size = size < receive_head_size ? size : receive_head_size;
  const slot_ref tail{slot_class::write_large, 0, receive_slot_->index,
                      static_cast<std::uint32_t>(size - head_size)};
  held_.add(head.first(head_size), slot_bytes(w_.shared, tail));
  w_.arena.receive.head.fill(std::byte{0});
}

void front_end::take_held_request() noexcept {
  const held_requests::request r = held_.take();
  const std::size_t head_size = copy_bytes(w_.arena.receive.head, r.bytes);
  const byte_span rest = byte_span(r.bytes).subspan(head_size);
  const slot_ref tail{slot_class::write_large, 0, receive_slot_->index,
                      static_cast<std::uint32_t>(rest.size())};
  copy_bytes(slot_bytes(w_.shared, tail), rest);
  take_request(r.bytes.size());
  if (r.interrupted) take_interrupt(r.header.unique);
}

void front_end::take_request(std::size_t size) noexcept {
  count(w_.arena.counters.requests);
  const std::size_t head_size = size < receive_head_size ? size : receive_head_size;
  std::memcpy(request_.data(), w_.arena.receive.head.data(), head_size);
  fuse_in_header header{};
  if (size < sizeof header) return;
  std::memcpy(&header, request_.data(), sizeof header);
  if (header.len != size) {
    answer_error(header.unique, error_code::io);
    return;
  }
  std::size_t whole = head_size;
  const bool has_small_tail = header.opcode != FUSE_WRITE && header.opcode != FUSE_BATCH_FORGET;
  if (has_small_tail && size > head_size && size <= request_.size()) {
    const slot_ref tail{slot_class::write_large, 0, receive_slot_->index,
                        static_cast<std::uint32_t>(size - head_size)};
    std::memcpy(request_.data() + head_size, slot_bytes(w_.shared, tail).data(), tail.size);
    whole = size;
  }
  op_draft draft;
  draft.cell.arrived_ns = w_.time.now_ns();
  switch (decode_request({request_.data(), whole}, draft, &credentials_,
                         answer_.caching())) {
    case request_kind::op: queue_op(draft); break;
    case request_kind::opening:
      if (give_handle(draft)) queue_op(draft);
      break;
    case request_kind::removing:
      if (removed_.has_room())
        if (const auto handle = handles_.open(0, removed_inodes::handle_flags))
          set_new_handle(draft.cell, *handle);
      queue_op(draft);
      break;
    case request_kind::answer: answer_error(header.unique, draft.error); break;
    case request_kind::no_answer: take_forget(header, size); break;
    case request_kind::interrupt: take_interrupt(draft.interrupted); break;
    case request_kind::open_directory: open_directory(draft); break;
    case request_kind::close_directory: answer_error(header.unique, error_code::ok); break;
    case request_kind::flush: answer_flush(draft); break;
    case request_kind::lock: queue_lock(draft); break;
  }
  w_.arena.receive.head.fill(std::byte{0});
}

// Nothing is kept for it: positions in a directory are the server's cookies.
void front_end::open_directory(const op_draft& draft) noexcept {
  answer_.build_body(draft.reply_id, object_bytes(fuse_open_out{}));
  send_answer();
}

// Gives the bytes that go with a call their data slot.
bool front_end::place_payload(op_draft& draft) noexcept {
  const bool is_write = draft.write_size != 0;
  const auto size =
      is_write ? draft.write_size : static_cast<std::uint32_t>(draft.payload.size());
  if (size == 0) return true;
  const slot_ref received{slot_class::write_large, 0, receive_slot_->index, size};
  std::optional<slot_ref> small;
  if (size <= slot_shapes[write_small].size) small = slots_.take(slot_class::write_small, size);
  if (small) {
    const byte_span from = is_write ? byte_span(slot_bytes(w_.shared, received)) : draft.payload;
    copy_bytes(slot_bytes(w_.shared, *small), from);
    draft.cell.payload_in = *small;
  } else {
    if (!is_write) copy_bytes(slot_bytes(w_.shared, received), draft.payload);
    draft.cell.payload_in = received;
    receive_slot_.reset();
  }
  keep_guards(draft.cell);
  return true;
}

// Made from the bytes in their slot, where they stay; where an append goes is not known.
void front_end::keep_guards(const op_cell& op) noexcept {
  const std::optional<write_call> write =
      op.op == opcode::write && answer_.caching().protection
          ? decode<write_call>({op.body, op.body_size})
          : std::nullopt;
  protection_trailer trailer;
  if (write)
    protect(write->inode, (write->flags & write_flag::append) != 0 ? 0 : write->offset,
            slot_bytes(w_.shared, op.payload_in), trailer);
  keep_trailer(w_.arena.trailers, op.payload_in, write ? &trailer : nullptr);
}

// False: there is none, and its caller knows.
bool front_end::give_handle(op_draft& draft) noexcept {
  op_cell& op = draft.cell;
  if (op.op == opcode::open && open_retries_.comes_again(op.pid, op.inode)) set_open_again(op);
  const std::optional<std::uint64_t> handle =
      handles_.open(op.op == opcode::open ? op.inode : 0, op.kernel_flags);
  if (handle)
    set_new_handle(op, *handle);
  else
    answer_error(draft.reply_id, error_code::no_memory);
  return handle.has_value();
}

void front_end::queue_op(op_draft& draft) noexcept {
  op_cell& op = draft.cell;
  if (op.op == opcode::release) handles_.begin_close(op.handle);
  const std::optional<std::uint32_t> index = ops_.take();
  CHECK(index.has_value());  // read_requests() reads only while one is free
  CHECK(place_payload(draft));
  barriers_.add(*index, draft.claims, draft.claim_count);
  ops_.begin(*index, op, draft.reply_id);
  stale_.op_begins(op);
  note_lock_op(op, true);
  if (is_direct(op)) watch_caller(*index);
  if (refuses_new()) refuse_op(*index);
}

std::optional<std::uint32_t> front_end::queue_own(opcode op, byte_span body, std::uint64_t inode,
                                                  std::uint64_t handle) noexcept {
  const std::optional<std::uint32_t> index = ops_.take();
  if (!index) {
    if (op == opcode::release) handles_.close(handle);  // the server closes it with the session
    return std::nullopt;
  }
  if (op == opcode::release) handles_.begin_close(handle);
  op_cell cell;
  cell.op = op;
  cell.inode = inode;
  cell.handle = handle;
  cell.arrived_ns = w_.time.now_ns();
  cell.body_size = static_cast<std::uint16_t>(copy_bytes(cell.body, body));
  claim claims[claim_count_max];
  barriers_.add(*index, claims, claims_of(cell, claims));
  ops_.begin(*index, cell, 0);
  note_lock_op(cell, true);
  return index;
}

void front_end::want_inode_range() noexcept {
  if (range_op_ || !core_attached_ || unmounted_ || !numbers_.wants_range()) return;
  if (w_.time.now_ns() < range_not_before_ns_) return;
  range_not_before_ns_ = 0;
  std::byte body[64];
  const std::optional<std::size_t> size =
      encode(inode_range_call{{}, inode_numbers::range_size}, body);
  range_op_ = queue_own(opcode::inode_range, {body, size.value_or(0)}, 0, 0);
}

void front_end::take_interrupt(std::uint64_t kernel_id) noexcept {
  count(w_.arena.counters.interrupts);
  const std::optional<std::uint32_t> index = ops_.find(kernel_id);
  if (!index) {
    if (const lock_cell* wait = locks_.find_request(kernel_id))
      interrupt_wait(wait->lock_id, w_.callers.is_being_killed(wait->caller));
    else
      (void)held_.interrupt(kernel_id);  // or it was answered meanwhile
    return;
  }
  interrupt_op(*index, w_.callers.is_being_killed(ops_.cell(*index).pid));
}

void front_end::interrupt_op(std::uint32_t index, bool killed) noexcept {
  const op_event event = killed ? op_event::caller_killed : op_event::interrupted;
  const std::uint64_t reply_id = ops_.reply_id(index);
  switch (ops_.apply(index, event, static_cast<std::uint32_t>(generation_))) {
    case op_action::reply_eintr: end_unexecuted(index, error_code::interrupted); return;
    case op_action::abandon:
      note_abandoned(index);
      answer_error(reply_id, error_code::interrupted);
      meter_answered(w_.arena, ops_.cell(index), error_code::interrupted, 0, w_.time.now_ns());
      return;
    case op_action::none:
      if (!killed) watch_caller(index);
      return;
    case op_action::enqueue:
    case op_action::hand_over:
    case op_action::requeue:
    case op_action::reply:
    case op_action::reply_eio:
    case op_action::abandon_eio:
    case op_action::orphan:
    case op_action::forget:
    case op_action::drop:
    case op_action::release:
    case op_action::free_slot:
    case op_action::never: return;
  }
}

// Nobody waits for a release, and the server has to learn of it: it is never refused.
void front_end::refuse_op(std::uint32_t index) noexcept {
  const op_cell& op = ops_.cell(index);
  if (op.kernel_id == 0 || op.op == opcode::release) return;
  const std::uint64_t reply_id = ops_.reply_id(index);
  const op_action action =
      ops_.apply(index, op_event::refused, static_cast<std::uint32_t>(generation_));
  if (action == op_action::none) return;
  count(w_.arena.counters.refused);
  if (action == op_action::reply_eio) {
    // What gives up a lock has to reach the server all the same.
    const std::optional<lock_call> call = lock_call_of(op);
    const bool is_unlock = call && call->what.type == lock_type::unlock;
    end_unexecuted(index, error_code::io);
    return is_unlock ? unlock_without_caller(*call) : void();
  }
  CHECK(action == op_action::abandon_eio);
  note_abandoned(index);
  answer_error(reply_id, error_code::io);
  meter_answered(w_.arena, ops_.cell(index), error_code::io, 0, w_.time.now_ns());
}

// `all`: also what may have been executed and changes something.
void front_end::refuse_callers(bool all) noexcept {
  refuse_waits();
  ops_.for_each_live([this, all](std::uint32_t i) noexcept {
    if (all || ops_.state(i) == op_state::waiting || !is_mutation(ops_.cell(i).op)) refuse_op(i);
  });
}

void front_end::abort_callers() noexcept {
  refuse_callers(true);
  aborting_ = true;
  for (std::size_t n = 0; n < op_slot_count / requests_per_turn && read_requests(); ++n) {
  }
  aborting_ = false;
}

// The mount is gone, and with it all callers: what no server has seen needs none.
void front_end::forget_unexecuted() noexcept {
  ops_.for_each_live([this](std::uint32_t i) noexcept {
    if (ops_.state(i) != op_state::waiting) return;
    if (range_op_ == i) range_op_.reset();
    (void)ops_.apply(i, op_event::caller_lost, static_cast<std::uint32_t>(generation_));
    end_unexecuted(i, std::nullopt);
  });
}

void front_end::note_abandoned(std::uint32_t index) noexcept {
  count(w_.arena.counters.given_up);
  if (is_mutation(ops_.cell(index).op)) ++given_up_mutations_;
  if (notes_[index].interrupted) --interrupted_count_;
  notes_[index].interrupted = false;
}

// The op was never offered. Without an error its caller is not there any more.
void front_end::end_unexecuted(std::uint32_t index, std::optional<error_code> error) noexcept {
  const op_cell& op = ops_.cell(index);
  if (has_new_handle(op)) handles_.close_unconfirmed(op.handle);
  if (const std::optional<lock_call> call = lock_call_of(op); call && call->wait != 0)
    locks_.drop(call->lock_id);
  if (error) {
    answer_error(ops_.reply_id(index), *error);
    meter_answered(w_.arena, op, *error, 0, w_.time.now_ns());
  }
  end_op(index);
}

void front_end::watch_caller(std::uint32_t index) noexcept {
  if (notes_[index].interrupted) return;
  notes_[index].interrupted = true;
  ++interrupted_count_;
}

// A caller that is killed while we are deaf, or after an earlier signal, cannot tell us: the kernel
// speaks of the first signal only, and through the descriptor that we have stopped reading. Of a
// caller of direct I/O it says nothing at all: that one waits for requests in the background.
void front_end::look_after_callers() noexcept {
  constexpr std::uint64_t direct_patience_ns = 20 * ns_per_ms;  // most are answered before
  const std::uint64_t now = w_.time.now_ns();
  ops_.for_each_live([this, now](std::uint32_t i) noexcept {
    const op_cell& op = ops_.cell(i);
    const op_state s = ops_.state(i);
    const bool waits = s == op_state::waiting || s == op_state::in_progress ||
                       s == op_state::purged;
    if (op.kernel_id == 0 || op.pid == 0 || !waits) return;
    if (!deaf_ && !notes_[i].interrupted) return;
    if (is_direct(op) && now < op.arrived_ns + direct_patience_ns) return;
    if (w_.callers.is_being_killed(op.pid)) interrupt_op(i, true);
  });
  look_after_waits();
  held_.drop_if([this](const fuse_in_header& request) noexcept {
    if (request.pid == 0 || !w_.callers.is_being_killed(request.pid)) return false;
    answer_error(request.unique, error_code::interrupted);
    return true;
  });
}

}  // namespace tangelo
