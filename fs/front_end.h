// front_end: the kernel-side role in user space. Takes requests from the kernel, keeps each as an
// op in the arena until its answer is written, and hands ops to whatever core is attached.
//
// One object per mount, one thread: the loop's. turn() does a bounded amount of everything there is
// to do; the process around it (fs/process.h) or the simulator calls it whenever the kernel or the
// core's bell rings. Nothing here waits, and nothing of ours is allocated after start().
//
// A front end that dies is replaced by another one on the same arena: the constructor takes over
// what its predecessor knew, start() learns from the kernel which callers still wait.
//
// Invariants:
//   1. A request taken from the kernel is answered exactly once (op_transitions.h).
//   2. An op is in a core's hands only after its record says so; a lost core's ops go, with the
//      same tag, to the next one.
//   3. Data slots, barrier and handle of an op are given back after the reply, never before.
//   4. What a core writes is copied, checked, and only then used. A core that breaks the protocol
//      is reported through bad_core(); nothing of ours depends on its memory.
//   5. Ops are offered only while the core says that its server is there, so an op that waits for
//      the server was not executed, and may be answered EIO truthfully.
//   6. The replay record of a change is written before its answer (replay_log.h). When the server
//      has forgotten the mount, losses are noted before the core hears that it may go on.
//   7. Two large write slots stay free, for the requests that only a successor's sweep brings to
//      light. What it has no room for it holds in its own memory: recorded, it would leave less
//      room to the next one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "fs/answer.h"
#include "fs/barriers.h"
#include "fs/cache_hints.h"
#include "fs/credentials.h"
#include "fs/handle_table.h"
#include "fs/held_requests.h"
#include "fs/inode_numbers.h"
#include "fs/kernel_port.h"
#include "fs/lock_records.h"
#include "fs/losses.h"
#include "fs/op_table.h"
#include "fs/open_retries.h"
#include "fs/path_state.h"
#include "fs/removed_inodes.h"
#include "fs/replay_log.h"
#include "fs/request.h"
#include "fs/slot_pool.h"
#include "fs/stale_caches.h"
#include "protocol/device.h"
#include "protocol/ring.h"

namespace tangelo {

// Adds one to a counter of the arena.
inline void count(atomic_u64& counter) noexcept {
  counter.fetch_add(1, std::memory_order_relaxed);
}

// Wakes the other side of a ring.
class bell {
 public:
  virtual ~bell() = default;
  virtual void ring() noexcept = 0;
};

class front_end {
 public:
  struct wiring {
    kernel_port& kernel;
    caller_inspector& callers;
    clock& time;
    bell& core_bell;
    fs_arena& arena;
    shared_arena& shared;
    bool kernel_resends = true;  // FUSE_NOTIFY_RESEND was agreed on
    bool overlap_rule = true;    // false: a negative control of the tests
    bool direct_maps = true;     // a file that goes past the kernel's pages can be mapped
  };
  explicit front_end(const wiring& w);

  // Once, before the first turn().
  void start() noexcept;
  // One round of work; true: there is more, call again without sleeping.
  bool turn() noexcept;
  // Tells the core to ring us; false: something came in meanwhile, do not sleep.
  bool prepare_sleep() noexcept { return down_.prepare_sleep(); }

  // A core takes its place; its generation. The one before must have been lost.
  std::uint64_t attach_core() noexcept;
  // It ended or is not to be believed any more.
  void lose_core() noexcept;
  bool has_core() const noexcept { return core_attached_; }
  // The attached core broke the device protocol; the process has it killed. Cleared by lose_core.
  bool bad_core() const noexcept { return bad_core_; }

  // While draining nothing is read and nothing offered, so that a process can be replaced at rest.
  void drain() noexcept { set_draining(true); }
  void resume() noexcept { set_draining(false); }
  bool drained() const noexcept { return draining_ && offered_count_ == 0; }

  // Answers everybody who waits now EIO, those included whose requests were not read yet.
  void abort_callers() noexcept;
  // When turn() wants to be called by itself: a time of the mount's policy or the lease runs out.
  std::uint64_t wake_at_ns() const noexcept;

  // The kernel has let go of the mount: no request will come any more.
  bool unmounted() const noexcept { return unmounted_; }
  // Ops whose fate is not known yet.
  std::size_t pending_count() const noexcept { return ops_.live_count(); }
  // Answered changes that are not known to be durable.
  std::size_t uncommitted_count() const noexcept { return log_.count(); }
  // For the end of a mount: names them in the log, file by file.
  void log_unsafe_changes() noexcept;
  // While true, look_after_callers() wants to be called every 50 ms, and a turn behind it: a
  // refused range of numbers is asked for again then.
  bool wants_caller_checks() const noexcept {
    return deaf_ || interrupted_count_ != 0 || locks_.leaving_count() != 0 ||
           (core_attached_ && range_not_before_ns_ != 0);
  }
  // Answers the callers that are being killed and could not tell us.
  void look_after_callers() noexcept;

 private:
  // Op slots that requests leave free: creating ops wait for numbers that an own op has to bring.
  static constexpr std::size_t own_op_reserve = 16;
  // Large write slots that stay free for a successor: one for a request that only the kernel and
  // the receive cell know of, one to read the next into.
  static constexpr std::size_t sweep_slot_reserve = 2;
  struct op_notes {
    bool interrupted = false;  // a SIGKILL is not told: a signal came before, or it is direct I/O
    bool offered = false;      // counted in offered_count_
    bool asked_again = false;  // its caller had changed: not another time
  };

  // taking over from a predecessor
  void take_over_log() noexcept;
  void take_over_ops() noexcept;
  void give_answers() noexcept;
  void sweep() noexcept;
  struct swept {  // by slot, of ops and of waits for locks
    std::vector<bool> ops, ops_interrupted, waits, waits_interrupted;
  };
  bool sweep_one(swept& s) noexcept;
  void settle(const std::vector<bool>& returned, std::uint64_t last_xid) noexcept;
  void settle_op(std::uint32_t index, bool returned) noexcept;
  void settle_unanswered(std::uint32_t index, bool returned) noexcept;
  void revive_all() noexcept;
  void revive_op(std::uint32_t index) noexcept;
  void close_unused_handles() noexcept;
  std::optional<downcall_cell> downcall_of(std::uint32_t index) const noexcept;

  // what is not durable, and what is lost
  bool wants_commit(const op_cell& op) const noexcept;
  std::uint16_t call_flags_of(const op_cell& op) const noexcept;
  void look_at_core() noexcept;
  std::optional<eviction_cell> new_eviction() noexcept;
  void take_over_losses() noexcept;
  void lose_session(const eviction_cell& e) noexcept;
  void end_session() noexcept;
  void disown_ops() noexcept;
  void take_replay_failure() noexcept;
  bool tell_loss(const op_cell& op, std::uint64_t reply_id) noexcept;
  std::uint64_t lease_left_ns() const noexcept;
  void look_at_lease() noexcept;
  bool drop_caches() noexcept;

  // front_end_locks.cc
  bool has_room_for_lock() const noexcept;
  void queue_lock(op_draft& draft) noexcept;
  void answer_flush(op_draft& draft) noexcept;
  void unlock_without_caller(const lock_call& call) noexcept;
  void finish_lock_op(std::uint32_t index, const downcall_cell& d, bool has_caller) noexcept;
  void note_lock_result(const lock_call& call, error_code status, bool abandoned) noexcept;
  void begin_wait(std::uint32_t index, const lock_call& call, bool has_caller) noexcept;
  void end_wait(std::uint64_t lock_id, error_code status) noexcept;
  bool take_lock_word(std::uint64_t lock_id) noexcept;
  void take_lock_words(bool all) noexcept;
  void interrupt_wait(std::uint64_t lock_id, bool killed) noexcept;
  void refuse_wait(std::uint64_t lock_id, error_code error) noexcept;
  void refuse_waits() noexcept;
  void send_leavings() noexcept;
  void note_lock_op(const op_cell& op, bool begins) noexcept;
  void lose_locks() noexcept;
  void give_lock_answers() noexcept;
  void drop_unused_asking() noexcept;
  void settle_waits(const std::vector<bool>& returned,
                    const std::vector<bool>& interrupted) noexcept;
  void look_after_waits() noexcept;

  // requests
  bool read_requests() noexcept;
  bool reserve_receive_slot(std::size_t spare) noexcept;
  ssize_t read_request() noexcept;
  void take_request(std::size_t size) noexcept;
  void hold_request(std::size_t size) noexcept;
  void take_held_request() noexcept;
  bool give_handle(op_draft& draft) noexcept;
  void queue_op(op_draft& draft) noexcept;
  bool place_payload(op_draft& draft) noexcept;
  void keep_guards(const op_cell& op) noexcept;
  void take_interrupt(std::uint64_t kernel_id) noexcept;
  void interrupt_op(std::uint32_t index, bool killed) noexcept;
  void refuse_op(std::uint32_t index) noexcept;
  void refuse_callers(bool all) noexcept;
  bool refuses_new() const noexcept;
  bool has_room_for_request() noexcept;
  void forget_unexecuted() noexcept;
  void note_abandoned(std::uint32_t index) noexcept;
  void watch_caller(std::uint32_t index) noexcept;
  void end_unexecuted(std::uint32_t index, std::optional<error_code> error) noexcept;
  void open_directory(const op_draft& draft) noexcept;
  std::optional<std::uint32_t> queue_own(opcode op, byte_span body, std::uint64_t inode,
                                         std::uint64_t handle) noexcept;
  void want_inode_range() noexcept;

  // removed directories
  void note_removed(const op_cell& op, const answer_facts& facts) noexcept;
  void take_over_removed() noexcept;
  void forget_unknown() noexcept;
  void forget_removed(std::uint64_t inode) noexcept;
  void take_forget(const fuse_in_header& header, std::size_t size) noexcept;

  // upcalls
  void look_at_path() noexcept;
  void set_draining(bool on) noexcept;
  void offer_ops() noexcept;
  bool may_offer(std::uint32_t index) noexcept;
  bool prepare(std::uint32_t index) noexcept;
  void hand_over(std::uint32_t index) noexcept;
  bool ask_again(std::uint32_t index, const downcall_cell& d) noexcept;

  // downcalls
  bool take_downcalls() noexcept;
  void take_downcall(ring_entry hint) noexcept;
  bool is_sound(std::uint32_t index, const downcall_cell& d) const noexcept;
  void finish_serviced(std::uint32_t index, const downcall_cell& d) noexcept;
  void finish_abandoned(std::uint32_t index, const downcall_cell& d) noexcept;
  bool can_keep(std::uint32_t index, const downcall_cell& d) const noexcept;
  answer_facts build_answer(std::uint32_t index, const downcall_cell& d) noexcept;
  void note_result(const op_cell& op, const answer_facts& facts) noexcept;
  void end_op(std::uint32_t index) noexcept;
  void send_answer() noexcept;
  void answer_error(std::uint64_t kernel_id, error_code error) noexcept;
  void populate(const slot_ref& slot) noexcept;
  void relist_by_arrival() noexcept;

  wiring w_;
  op_table ops_;
  slot_pool slots_;
  replay_log log_;
  barriers barriers_;
  handle_table handles_;
  removed_inodes removed_;
  open_retries open_retries_;
  losses losses_;
  stale_caches stale_;
  lock_records locks_;
  inode_numbers numbers_;
  cache_hints hints_;
  answer_builder answer_;
  credentials credentials_;
  path_watch path_;
  ring_producer up_;
  ring_consumer down_;

  std::vector<op_notes> notes_;
  std::vector<std::uint32_t> order_;  // scratch of relist_by_arrival()
  std::array<std::vector<std::uint32_t>, slot_class_count> populated_;  // bytes of each slot
  std::vector<std::byte> request_;    // scratch: a request that is not a WRITE, in one piece
  held_requests held_;
  std::vector<std::uint64_t> inodes_;  // scratch of log_unsafe_changes()
  std::optional<slot_ref> receive_slot_;
  std::uint64_t generation_ = 0;
  std::size_t offered_count_ = 0;
  std::size_t interrupted_count_ = 0;
  std::size_t given_up_mutations_ = 0;
  std::optional<std::uint32_t> range_op_;  // brings the next range of inode numbers
  std::uint64_t range_not_before_ns_ = 0;
  std::size_t lock_ops_ = 0;           // set_lock ops under way
  std::size_t leaving_ops_ = 0;        // those of our own that end what nobody wants
  std::vector<bool> leaving_busy_;     // by lock record
  std::uint64_t lock_news_seen_ = 0;
  std::uint64_t eviction_seen_ = 0;  // control words of what the core told and we have read
  std::uint64_t failure_seen_ = 0;
  std::uint64_t evicting_ = 0;  // an eviction whose losses are noted, and that the core waits for
  bool all_read_ = false;       // the kernel has no request that we have not read
  bool lease_lapsed_ = false;
  bool core_attached_ = false;
  bool bad_core_ = false;
  bool unmounted_ = false;
  bool deaf_ = false;
  bool draining_ = false;
  bool aborting_ = false;
};

}  // namespace tangelo
