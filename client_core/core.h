// core: what a client core does, as an object: takes upcalls from the arena, has the session call
// the server, writes downcalls. It owns nothing that would have to be saved: killing it at any
// instruction loses nothing, the next one is handed the same ops by the front end.
//
// One thread, that of the scheduler. turn() is called whenever the up ring may have something.
//
// Invariants:
//   1. An op is looked at only while its record says "offered to my generation".
//   2. A downcall record is complete before its hint is on the down ring; after that the core
//      touches neither the op nor its data slots.
//   3. Replay records are read only after everything this core has answered is in them (settled()).
//   4. After an eviction nothing of the lost session is claimed, and nothing is called, before the
//      front end has acted upon it, however many cores end meanwhile. It is published before the
//      downcalls that say `evicted`, so that an fsync among them tells the loss; what has none
//      when a core ends, the front end does not offer again.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "protocol/device.h"
#include "protocol/ring.h"
#include "rdma/session.h"

namespace tangelo {

class core final : public session_events, public replay_source {
 public:
  struct wiring {
    const fs_arena& arena;
    shared_arena& shared;
    std::uint64_t generation;
    provider& fabric;
    scheduler& time;
    std::function<void()> ring_front_end;
    secret shared_secret{};      // for the server; may be empty
    bool cursor_by_boot = true;  // false: a negative control of the tests (rdma/session.h)
  };
  // `addresses`: of the server, "host:port"; `volume`: its name there.
  core(const wiring& w, std::vector<std::string> addresses, std::string volume);

  // Begins to connect; after an eviction that the front end has still to act upon, when it has.
  void start();
  // Takes upcalls and submits them; true: there is more, call again without sleeping.
  bool turn() noexcept;
  bool prepare_sleep() noexcept { return up_.prepare_sleep(); }
  // Every beat_period_ns: shows that the loop turns, and takes over a changed policy.
  void beat() noexcept;
  // Rings the front end if it sleeps and there is something for it.
  void ring_if_needed() noexcept;
  // The front end makes no sense to us: stop and let the watchdog start another core.
  bool broken() const noexcept { return up_.broken(); }
  // The mount has ended: take leave of the server; `done` within 1 s.
  void leave(std::function<void()> done) { session_->stop(std::move(done)); }

  void on_reply(const inbound_reply& reply) noexcept override;
  void on_import_state(import_state state) noexcept override;
  void on_committed(std::uint64_t transno) noexcept override;
  void on_evicted(std::uint64_t kept_through, bool went_back) noexcept override;
  void on_replay_failed(const replay_entry& entry, error_code status) noexcept override;
  void on_claim_refused(std::uint64_t handle, error_code status) noexcept override;
  void on_lock_refused(const lock_claim& claim, error_code status) noexcept override;
  void on_lock_notice(std::uint64_t lock_id, error_code status) noexcept override;

  bool settled() const override;
  bool next_replay(std::uint64_t after, replay_entry& out) override;
  bool next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                 std::uint32_t& open_flags) override;
  bool next_lock(std::uint64_t after, lock_claim& out) override;
  std::uint32_t held(std::uint64_t last_committed) const override;

 private:
  struct replay_loss {
    std::uint64_t transno = 0;
    std::uint64_t inode = 0;
    error_code status = error_code::ok;
  };
  struct replay_place {
    std::uint64_t transno = 0;
    std::uint32_t index = 0;
  };
  struct lock_told {
    std::uint64_t lock_id = 0;
    lock_event event = lock_event::none;
  };
  // core.cc
  bool is_mine(std::uint32_t index, std::uint32_t sequence) const noexcept;
  void take_upcall(ring_entry hint) noexcept;
  void write_downcall(std::uint32_t index, downcall_cell& cell) noexcept;
  void tell_status() noexcept;
  void tell_metrics(const session_status& s) noexcept;
  void tell_mismatch(const protection_fault& fault) noexcept;
  // core_recovery.cc
  void end_evicted(std::uint32_t index) noexcept;
  void publish_eviction(std::uint64_t kept_through, bool went_back) noexcept;
  void look_at_front_end() noexcept;
  void tell_loss() noexcept;
  bool is_answered(std::uint32_t index) const noexcept;
  const std::vector<replay_place>& places() const;
  bool read_replay(const replay_place& place, replay_cell& out) const noexcept;
  std::uint32_t handles_end() const noexcept;
  // core_locks.cc
  void tell_lock(std::uint64_t lock_id, lock_event event, error_code status) noexcept;
  bool is_acted_upon(const lock_told& told) const noexcept;
  void look_at_locks() noexcept;
  void list_lock_ops();
  lock_type at_least(const lock_what& held) const noexcept;
  bool has_locks() const noexcept;
  std::uint32_t locks_end() const noexcept;

  // What of this core is in the arena's metrics already.
  struct told_metrics {
    std::uint64_t resent = 0;
    std::uint64_t replayed = 0;
    std::uint64_t replays_refused = 0;
    std::uint64_t stale_replies = 0;
    std::uint64_t log_lines_dropped = 0;
    std::uint64_t mismatches_healed = 0;
    std::uint64_t mismatches_reported = 0;
    protection_fault mismatch;
    bool up = false;
  };

  wiring w_;
  bool protected_;  // by the mount's option
  told_metrics told_;
  ring_consumer up_;
  ring_producer down_;
  std::vector<bool> running_;  // ops submitted and not answered, by slot
  // Sequence of an eviction that the front end has not acted upon yet; 0: none.
  std::uint64_t eviction_ = 0;
  bool start_waits_ = false;
  bool news_ = false;  // the page says something new, and no downcall makes the front end look
  std::vector<lock_told> locks_told_;  // and not yet acted upon by the front end
  std::vector<lock_what> lock_ops_;    // that may have been executed: scratch of next_lock()
  std::deque<replay_loss> losses_;  // not published yet
  std::uint64_t loss_ = 0;          // sequence of the one that the front end has to note; 0: none
  mutable bool answers_taken_ = true;  // what we have answered is in the front end's records
  mutable bool places_known_ = false;
  mutable std::vector<replay_place> places_;  // of the replay records, by transno
  std::unique_ptr<client_session> session_;
};

}  // namespace tangelo
