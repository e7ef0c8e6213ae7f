// The front end's own course: attaching and losing cores, taking their downcalls. What comes from
// the kernel is in front_end_requests.cc, what goes to the core in front_end_upcalls.cc.
#include "fs/front_end.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "fs/op_meter.h"
#include "protocol/arena.h"

namespace tangelo {

namespace {

constexpr std::size_t downcalls_per_turn = 256;
constexpr std::uint64_t range_retry_ns = ns_per_s;  // after the server refused one
constexpr std::size_t request_size_max = receive_head_size + (128 << 10);

bool is_lock_change(opcode op) noexcept {
  return op == opcode::set_lock || op == opcode::cancel_lock;
}

std::uint64_t moved_bytes(const op_cell& op, const downcall_cell& d) noexcept {
  if (op.op == opcode::read) return d.payload_size;
  return op.op == opcode::write ? op.payload_in.size : 0;
}

}  // namespace

front_end::front_end(const wiring& w)
    : w_(w),
      ops_(w.arena),
      log_(w.arena, w.shared, slots_),
      handles_(w.arena),
      losses_(w.arena, handles_),
      stale_(w.arena, w.kernel, handles_),
      locks_(w.arena),
      numbers_(w.arena),
      credentials_(w.callers),
      path_(w.arena.pulse, w.arena.watchdog.policy),
      up_(w.shared.up),
      down_(w.shared.down),
      notes_(op_slot_count),
      request_(request_size_max),
      generation_(w.arena.core_generation.load(std::memory_order_relaxed)),
      leaving_busy_(lock_count, false) {
  answer_.allow_direct_maps(w.direct_maps);
  order_.reserve(op_slot_count);
  inodes_.reserve(handle_count);
  for (std::size_t k = 0; k < slot_class_count; ++k) populated_[k].assign(slot_shapes[k].count, 0);
  answer_.set_caching(read_cache_policy(w_.arena.watchdog.policy));
  take_over_log();
  take_over_ops();
  take_over_removed();
}

bool front_end::turn() noexcept {
  // The eviction is looked for first and acted upon last: what was answered before it is in the
  // ring by then.
  const std::optional<eviction_cell> eviction = new_eviction();
  const bool more_downcalls = take_downcalls();
  take_lock_words(false);
  if (eviction && !more_downcalls) lose_session(*eviction);
  end_session();
  look_at_core();
  look_at_path();
  const bool more_requests = read_requests();
  if (unmounted_ && path_.state() != path_state::running) forget_unexecuted();
  want_inode_range();
  send_leavings();
  offer_ops();
  const bool more_caches = drop_caches();
  if (core_attached_ && up_.take_wake()) w_.core_bell.ring();
  return more_downcalls || more_requests || more_caches;
}

std::uint64_t front_end::attach_core() noexcept {
  CHECK(!core_attached_);
  w_.arena.core_generation.store(++generation_, std::memory_order_release);
  up_.reset();
  down_.reset();
  w_.shared.down.produced.store(0, std::memory_order_relaxed);
  w_.shared.down.consumed.store(0, std::memory_order_relaxed);
  w_.shared.core.path_up.store(0, std::memory_order_relaxed);
  core_attached_ = true;
  bad_core_ = false;
  resume();
  w_.arena.core_attached.store(1, std::memory_order_release);
  return generation_;
}

// What the dead core had finished is taken first, then everything else it held is purged.
void front_end::lose_core() noexcept {
  if (!core_attached_) return;
  fs_counters& c = w_.arena.counters;
  const std::size_t waiting = ops_.live_count() - offered_count_;
  const std::uint64_t serviced_before = c.downcalls.load(std::memory_order_relaxed);
  while (!bad_core_ && take_downcalls()) {
  }
  take_lock_words(true);
  core_attached_ = false;
  w_.arena.core_attached.store(0, std::memory_order_release);
  count(c.core_losses);
  if (waiting != 0) count(c.core_losses_waiting);
  if (c.downcalls.load(std::memory_order_relaxed) != serviced_before) count(c.core_losses_serviced);
  if (offered_count_ != 0) count(c.core_losses_in_progress);
  ops_.for_each_live([this, &c](std::uint32_t i) noexcept {
    if (!notes_[i].offered) return;
    notes_[i].offered = false;
    ops_.slot(i).core_losses.fetch_add(1, std::memory_order_relaxed);
    count(c.purged);
    if (ops_.apply(i, op_event::core_lost, static_cast<std::uint32_t>(generation_)) ==
        op_action::requeue)
      ops_.append(i);
  });
  offered_count_ = 0;
  bad_core_ = false;
  relist_by_arrival();
}

void front_end::relist_by_arrival() noexcept {
  order_.clear();
  for (auto i = ops_.first(); i; i = ops_.after(*i)) order_.push_back(*i);
  std::sort(order_.begin(), order_.end(), [this](std::uint32_t a, std::uint32_t b) noexcept {
    return ops_.cell(a).xid < ops_.cell(b).xid;
  });
  for (const std::uint32_t i : order_) {
    ops_.remove(i);
    ops_.append(i);
  }
}

void front_end::set_draining(bool on) noexcept {
  draining_ = on;
  w_.arena.pulse.draining.store(on ? 1 : 0, std::memory_order_relaxed);
}

void front_end::look_at_path() noexcept {
  for (;;) {
    const bool is_up =
        core_attached_ && w_.shared.core.path_up.load(std::memory_order_acquire) == 1;
    switch (path_.look(is_up, w_.time.now_ns())) {
      case path_action::none: return;
      case path_action::start_clock: break;
      case path_action::refuse_unexecuted: refuse_callers(false); break;
      case path_action::refuse_all: refuse_callers(true); break;
    }
  }
}

bool front_end::take_downcalls() noexcept {
  if (!core_attached_ || bad_core_) return false;
  down_.awake();
  for (std::size_t n = 0; n < downcalls_per_turn; ++n) {
    const std::optional<ring_entry> hint = down_.pop();
    if (!hint) {
      if (down_.broken()) {
        log_error("core {}: its position in the down ring makes no sense", generation_);
        bad_core_ = true;
      }
      return false;
    }
    take_downcall(*hint);
    if (bad_core_) return false;
  }
  return true;
}

void front_end::take_downcall(ring_entry hint) noexcept {
  fs_counters& c = w_.arena.counters;
  downcall_cell d;
  control_word word;
  const bool in_table = hint.index < op_slot_count;
  if (!in_table || !copy_record(w_.shared.downcalls[hint.index], word, d)) {
    log_error("core {}: downcall for op {} is damaged", generation_, hint.index);
    count(c.downcalls_damaged);
    bad_core_ = true;
    return;
  }
  const std::uint32_t index = hint.index;
  const bool is_current = d.generation == generation_ && d.index == index &&
                          d.slot_seq == ops_.sequence(index) && notes_[index].offered;
  if (!is_current) {
    count(c.downcalls_dropped);
    return;
  }
  if (!is_sound(index, d)) {
    log_error("core {}: downcall for op {} claims more bytes than it has room for", generation_,
              index);
    count(c.downcalls_damaged);
    bad_core_ = true;
    return;
  }
  if (!can_keep(index, d)) {
    log_error("core {}: op {} is answered before its commit, and the replay log is full",
              generation_, index);
    bad_core_ = true;
    return;
  }
  if (error_of_wire(d.status) == error_code::evicted)
    if (const std::optional<eviction_cell> eviction = new_eviction()) lose_session(*eviction);
  count(c.downcalls);
  notes_[index].offered = false;
  --offered_count_;
  if (ask_again(index, d)) return;
  switch (ops_.apply(index, op_event::downcall, static_cast<std::uint32_t>(generation_))) {
    case op_action::reply: finish_serviced(index, d); return;
    case op_action::release: finish_abandoned(index, d); return;
    case op_action::drop: count(c.downcalls_dropped); return;
    case op_action::none:
    case op_action::enqueue:
    case op_action::hand_over:
    case op_action::requeue:
    case op_action::reply_eintr:
    case op_action::reply_eio:
    case op_action::abandon:
    case op_action::abandon_eio:
    case op_action::orphan:
    case op_action::forget:
    case op_action::free_slot:
    case op_action::never: return;
  }
}

bool front_end::is_sound(std::uint32_t index, const downcall_cell& d) const noexcept {
  return d.payload_size <= ops_.cell(index).payload_out.size;
}

// Calls demand their commit long before it is full, so this means that the server does not heed
// them. The op goes to another core, and is answered when there is room again.
bool front_end::can_keep(std::uint32_t index, const downcall_cell& d) const noexcept {
  return log_.has_room() || !log_.is_wanted(ops_.cell(index), d);
}

answer_facts front_end::build_answer(std::uint32_t index, const downcall_cell& d) noexcept {
  const op_cell& op = ops_.cell(index);
  if (log_.is_wanted(op, d)) log_.keep(op, d);
  answer_.limit_validity(lease_left_ns());
  slot_ref filled = op.payload_out;
  filled.size = d.payload_size;
  if (filled.kind == slot_class::none) return answer_.build(op, d, {}, hints_);
  populate(filled);
  return answer_.build(op, d, slot_bytes(w_.shared, filled), hints_);
}

// The reply is last: what a successor must know of it is in the arena before. (That a directory was
// told of a loss follows from this op, which a successor answers again.)
void front_end::finish_serviced(std::uint32_t index, const downcall_cell& d) noexcept {
  if (is_lock_change(ops_.cell(index).op)) return finish_lock_op(index, d, true);
  const answer_facts facts = build_answer(index, d);
  const op_cell& op = ops_.cell(index);
  note_result(op, facts);
  if (op.op == opcode::lookup) open_retries_.looked_up(op.pid, facts.inode);
  if (op.op == opcode::open && facts.status == error_code::stale)
    open_retries_.refused(op.pid, op.inode);
  const std::uint64_t id = ops_.reply_id(index);
  answer_.address_to(id);
  const bool lost_directory = tell_loss(op, id);
  // Close-to-open: who opens a file sees the attributes of then, however long others are valid.
  if (id != 0 && facts.stale_attributes != 0)
    (void)w_.kernel.forget_attributes(facts.stale_attributes);
  if (id != 0) send_answer();
  if (lost_directory) losses_.directory_told(op.inode);
  meter_answered(w_.arena, op, facts.status, moved_bytes(op, d), w_.time.now_ns());
  end_op(index);
}

// A file that was opened for a caller who has gone is closed again.
void front_end::finish_abandoned(std::uint32_t index, const downcall_cell& d) noexcept {
  if (is_lock_change(ops_.cell(index).op)) return finish_lock_op(index, d, false);
  const answer_facts facts = build_answer(index, d);
  const op_cell& op = ops_.cell(index);
  note_result(op, facts);
  if (may_keep_removed(op.op)) forget_removed(facts.inode);
  if (opens_handle(op.op) && facts.status == error_code::ok) {
    const std::uint64_t file = op.op == opcode::open ? op.inode : facts.inode;
    std::byte body[op_body_size_max];
    const std::optional<std::size_t> size = encode(open_call{{}, file, op.handle, 0}, body);
    queue_own(opcode::release, {body, size.value_or(0)}, file, op.handle);
  }
  if (is_mutation(op.op)) --given_up_mutations_;
  end_op(index);
}

// A slot is populated as far as it is used, once for each process that uses it.
void front_end::populate(const slot_ref& slot) noexcept {
  std::uint32_t& done = populated_[static_cast<std::size_t>(slot.kind)][slot.index];
  if (slot.size <= done) return;
  w_.kernel.populate(slot_bytes(w_.shared, slot).subspan(done));
  done = slot.size;
}

void front_end::note_result(const op_cell& op, const answer_facts& facts) noexcept {
  const bool ok = facts.status == error_code::ok;
  if (facts.status == error_code::evicted || facts.status == error_code::not_reserved)
    numbers_.forget();
  switch (op.op) {
    case opcode::open:
      if (ok)
        handles_.confirm(op.handle);
      else
        handles_.close(op.handle);
      return;
    case opcode::write:
      if (facts.is_elsewhere) stale_.want(op.inode);
      return;
    case opcode::create:
    case opcode::tmpfile:
      if (ok) {
        handles_.set_inode(op.handle, facts.inode);
        handles_.confirm(op.handle);
      } else {
        handles_.close(op.handle);
      }
      return;
    case opcode::unlink:
    case opcode::rmdir:
    case opcode::rename: note_removed(op, facts); return;
    case opcode::release:
      locks_.drop_handle(op.inode, op.handle);
      handles_.close(op.handle);
      return;
    case opcode::inode_range:
      range_op_.reset();
      if (ok && facts.range_count != 0)
        numbers_.add_range(facts.range_first, facts.range_count);
      else
        range_not_before_ns_ = w_.time.now_ns() + range_retry_ns;
      return;
    case opcode::none:
    case opcode::lookup:
    case opcode::getattr:
    case opcode::setattr:
    case opcode::readlink:
    case opcode::symlink:
    case opcode::mknod:
    case opcode::mkdir:
    case opcode::link:
    case opcode::read:
    case opcode::fsync:
    case opcode::readdir:
    case opcode::statfs:
    case opcode::setxattr:
    case opcode::getxattr:
    case opcode::listxattr:
    case opcode::removexattr:
    case opcode::fallocate:
    case opcode::seek:
    case opcode::copy_range:
    case opcode::get_lock:
    case opcode::set_lock:
    case opcode::cancel_lock:
    case opcode::reclaim_lock:
    case opcode::reclaim_open: return;
  }
}

// Behind the reply: nothing may touch the op any more, so its slots and barrier are free.
void front_end::end_op(std::uint32_t index) noexcept {
  const op_cell& op = ops_.cell(index);
  if (!log_.has_slot_of(op)) slots_.give_back(op.payload_in);
  if (ops_.slot(index).prepared.load(std::memory_order_relaxed) != 0)
    slots_.give_back(op.payload_out);
  stale_.op_ends(op);
  note_lock_op(op, false);
  if (notes_[index].interrupted) --interrupted_count_;
  notes_[index] = {};
  const op_action action =
      ops_.apply(index, op_event::ended, static_cast<std::uint32_t>(generation_));
  CHECK(action == op_action::free_slot);
  barriers_.remove(index, [this, index](std::uint32_t other) noexcept {
    if (other != index && !notes_[other].offered) ops_.append(other);
  });
}

void front_end::send_answer() noexcept {
  const int rc = w_.kernel.write_reply(answer_.parts(), answer_.part_count());
  count(w_.arena.counters.replies);
  if (rc != 0 && rc != -ENOENT && rc != -ENODEV && rc != -ECONNABORTED)
    log_error("the kernel refused an answer: {}", std::strerror(-rc));
}

void front_end::answer_error(std::uint64_t kernel_id, error_code error) noexcept {
  answer_.build_error(kernel_id, error);
  send_answer();
}

}  // namespace tangelo
