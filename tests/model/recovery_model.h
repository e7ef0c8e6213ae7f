// recovery_model: the recovery protocol as a model: two clients, one server, one WAL.
//
// Numbers in brackets: sections and invariants of shared/reference/recovery.md; A: of
// design/ARCHITECTURE.md. The table of rules below says where each rule stands.
//
// What is modelled. Clients run short programs of operations on keys, with slots and sequences;
// answers to changes come before they are durable [7.6 ASYNC_META, A6], are kept in the replay
// list, trimmed by last_committed, replayed pipelined in transno order [7.7], then locks and opens
// are claimed again, then "replay completed", then everything unanswered is sent again. The server
// has one log whose volatile end a crash takes away, reply records in the same transaction, exports
// with epochs, durable client records (known, awaited, tombstone), the recovery window with soft
// expiry, leases and eviction, commit-on-share, fsync, and orphans of open-unlinked files.
// The adversary: server crashes, lost connections (with lost answers and one late copy of a call),
// cores that die (the cursor is forgotten, the lists are not), silent clients, dead clients.
//
// What is not: data in flight (DMA, credits), failed operations, negative answers, back-pressure,
// locks that queue with callbacks, several servers and failover, time itself (a lease is a bit that
// runs out at the client first), stores restored from old copies (I15), batches of commits (the
// whole log is committed at any moment, which covers each prefix), transnos (only their order).
//
// What it found, beyond the text; each is a rule below, and dropping it breaks a promise:
//   F1. last_committed is not raised by replays inside the window: what B replayed and the server
//       committed may lie above what A has still to replay. (Or: replay in one order over all
//       clients.) This low-water mark is durable: a second crash inside the window asks for it. A
//       replay above it is judged by its own client's highest executed transno.
//   F2. A replay is judged before asking whether the window is open: a client that has said
//       "completed" and then loses its core replays again, while the window may close. 7.5 answers
//       STALE_REPLAY before looking at the transno, Lustre evicts.
//   F3. A CONNECT that claims nothing (no cookie) empties whatever export, record, lock or
//       tombstone is there, and ends the window's waiting for this client: the client may have
//       given its session up by itself (dev_loss_tmo), or its first CONNECT_ACK was lost. 7.7 has
//       no line for it; "RESUMED" leaves locks that nobody will ever give back.
//   F4. "awaited" is durable before the first early answer or grant, and is cleared only when
//       nothing of that client is uncommitted. Since it is cleared before the client knows of the
//       commit, "holds nothing" must be decided after trimming by the last_committed of
//       CONNECT_ACK: by the client, or by the server from the lowest transno that CONNECT can
//       replay, not from a "held" bit.
//   F5. Eviction by command: the client is fenced at once, but its locks are nobody's until its
//       lease would have ended, or it has come and learned.
//   F6. RESUMED with a boot generation that the client has not acted upon is no contradiction:
//       its first CONNECT_ACK of this boot was lost. If it holds nothing it goes on, as with
//       RESUMED_NEW_BOOT. 7.7 would evict it.
//   F7. The late answer to a change that was given up goes into the replay list like any other:
//       only its caller is gone. A later change under the same name stands on it and would be
//       replayed without it. "A late downcall is dropped" (A3) is true for the reply alone.
//   F8. F5 across a crash: the tombstone says durably "may still trust until ...", and after a boot
//       nothing is granted before that is over.
//   F9. The end of a session (eviction, F3) commits what that session did: nobody will replay it,
//       and the same client's next session builds upon it without sharing anything. With one WAL
//       this comes by itself, if tombstone and client record are written there and waited for.
//
// A state is 80 bytes. Operations are numbered 0-3 (client 0) and 4-7 (client 1).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tangelo::model {

inline constexpr std::size_t client_count = 2;
inline constexpr std::size_t op_count_max = 4;  // of one client
inline constexpr std::size_t log_size_max = client_count * op_count_max;

// Each rule can be dropped, and then a test shows what breaks.
struct rules {
  bool reply_records = true;            // the record is in the transaction of its effect [I3, A2.5]
  bool slot_sequences = true;           // [7.5 slots, I2]
  bool epoch_fence = true;              // [I1, A2.6]
  bool overlap_rule = true;             // [7.5 (e), A2.11]
  bool cursor_by_boot = true;           // else by the verdict alone [I13]
  bool replay_in_order = true;          // [I6]
  bool transno_before_sequence = true;  // for a REPLAY [A2.4]
  bool judge_before_window = true;      // F2
  bool low_water = true;                // [I5] F1
  bool commit_on_share = true;          // [I14, A6]
  bool barrier_kept = true;             // by an operation given up, until its fate is known [A2.11]
  bool given_up_replayed = true;        // F7
  bool durable_tombstones = true;       // [7.7 window]
  bool window_waits_for_all = true;     // [7.7 window]
  bool quiet_window = true;             // [I7]
  bool session_end_commits = true;      // F9
  bool lease_nests = true;              // [I16, 7.8]
  bool evicted_lock_waits = true;       // evicted by command: for the end of the lease. F5
  bool lease_outlives_crash = true;     // of a client evicted by command. F8
  bool awaited_first = true;            // [7.7 awaited] F4
  bool awaited_while_volatile = true;   // F4
  bool trims_first = true;              // then says what it holds. F4
  bool unknown_boot_forgiven = true;    // F6
  bool claimless_starts_afresh = true;  // F3
  bool evicted_forgets = true;          // [7.10 EVICTED 2, 4, 5]
  bool locks_reclaimed = true;          // [7.7 stage 2]
  bool fsync_commits = true;            // [A2.10]
  bool losses_reported = true;          // by the next fsync [I9, A6]
  bool orphans_kept = true;             // through the window [7.7 finish]
  bool removal_after_commit = true;     // [A7]
};

enum class op_kind : std::uint8_t {
  none,
  change,       // answered before it is durable
  sync_change,  // answered when durable (O_SYNC)
  unlink,       // a change, of the one file that can be open
  look,         // reads what the key holds
  fsync,        // waits for all earlier operations, then for their commit
  lock,         // of the one lock; waits for all earlier operations, as do the rest
  unlock,
  open,         // the one file
  close,
};

struct op_spec {
  op_kind kind = op_kind::none;
  std::uint8_t key = 0;
  std::uint8_t slot = 0;
};

struct bounds {
  std::uint8_t crashes = 0;
  std::uint8_t breaks = 0;
  std::uint8_t cores = 0;
  std::uint8_t evictions = 0;  // of living clients
  std::uint8_t lates = 0;
  std::uint8_t deaths = 0;
  std::uint8_t give_ups = 0;  // callers killed while their operation is on its way
};

struct scenario {
  std::string_view name;
  std::array<std::array<op_spec, op_count_max>, client_count> programs;
  bounds limit;
};

enum class promise : std::uint8_t {
  none,
  once,
  synced_kept,
  losses_told,
  acknowledged_kept,
  order_kept,
  foundation_kept,
  seen_kept,
  old_claims_dead,
  one_holder,
  lock_kept,
  cause_for_eviction,
  open_file_kept,
  linked_file_kept,
};

constexpr std::string_view name_of(promise p) noexcept {
  switch (p) {
    using enum promise;
    case none: return "";
    case once: return "no effect twice";
    case synced_kept: return "nothing acknowledged and synced is lost";
    case losses_told: return "what is lost is told at the next fsync";
    case acknowledged_kept: return "nothing acknowledged to a client in good standing is lost";
    case order_kept: return "conflicting effects keep the order of their transnos";
    case foundation_kept: return "an effect outlives none that it stands on";
    case seen_kept: return "nobody sees what a crash takes back";
    case old_claims_dead: return "old claims of an evicted client have no effect";
    case one_holder: return "a lock has one holder";
    case lock_kept: return "a living client keeps its lock";
    case cause_for_eviction: return "nobody is evicted without cause";
    case open_file_kept: return "an open file keeps its bytes";
    case linked_file_kept: return "a file with a name keeps its bytes";
  }
  return {};
}

enum class op_phase : std::uint8_t {
  idle,
  sending,   // unanswered
  given_up,  // its caller is gone; its fate is not known
  answered,
  failed,    // without a word to the application, or with an error
};
enum class import_phase : std::uint8_t { discon, connecting, replay, wait, full };
// What the server has of a client in this boot: nothing, an export whose connection is gone, or
// one of the present epoch.
enum class export_phase : std::uint8_t { none, old, current };
enum class connect_answer : std::uint8_t {
  none, fresh, resumed, new_boot, joined, rejoined, evicted,
};

struct op_state {
  op_phase phase;
  std::uint8_t transno;  // its rank among all that count; 0: none
  std::uint8_t stands_on;  // which of the 8 were there under its key when it took effect
  // The client's, in the arena.
  bool listed : 1;   // in the replay list
  bool covered : 1;  // behind the replay cursor
  bool lost : 1;     // acknowledged, lost by eviction, reported as an error
  bool synced : 1;   // a later fsync said that it is safe
  bool old_claim : 1;  // open when its client was evicted: must not take effect any more
  bool late : 1;       // a copy of the call from an older epoch is still on its way
  bool told : 1;       // the loss was, by an fsync
  bool spare_b : 1;
  // On the present connection.
  bool call : 1;
  bool reply : 1;
  bool replay : 1;
  bool replayed : 1;
  bool spare_c : 1;
  bool spare_d : 1;
  bool spare_e : 1;
  bool spare_f : 1;
};

struct client_state {
  import_phase import;
  export_phase exported;
  connect_answer answer;  // on its way
  std::uint8_t seen;      // operations of the other client whose effect an answer showed
  std::uint8_t shown;     // the same, in the answer to a look that is on its way
  // The client's.
  bool holds : 1;
  bool opened : 1;
  bool trusts : 1;      // its lease has not run out
  bool dead : 1;
  bool claims : 1;      // has a session
  bool knows_boot : 1;  // has acted upon the present boot generation
  bool evicted : 1;     // by the server, for a cause; the client does not know yet
  bool spare_a : 1;
  // The server's: durable, then volatile.
  bool awaited : 1;
  bool tombstone : 1;
  bool awaited_soon : 1;  // to be durable with the next commit (rule awaited_first dropped)
  bool expected : 1;      // by the window
  bool finished : 1;      // said "replay completed"
  bool owner : 1;         // of the lock
  bool opens : 1;         // the file
  bool lingers : 1;       // durable: evicted by command, perhaps still trusting in its lock
  // On the present connection.
  bool reclaim : 1;
  bool done : 1;
  bool done_answer : 1;
  bool spare_c : 1;
  bool spare_d : 1;
  bool spare_e : 1;
  bool spare_f : 1;
  bool spare_g : 1;
};

struct recovery_state {
  std::array<op_state, client_count * op_count_max> ops;
  std::array<client_state, client_count> clients;
  std::array<std::uint8_t, log_size_max> log;  // operations in the order of their effects
  std::uint8_t count;      // of the log
  std::uint8_t durable;    // the first so many of it survive a crash
  std::uint8_t boot_base;  // those before it were there when the server started
  std::uint8_t low_water;  // last_committed: the rank of a transno
  bounds used;
  std::uint8_t recovering;
  std::uint8_t gone;  // the file's bytes are removed
  promise broken;     // by the last step
  std::uint8_t spare[2];
};
static_assert(sizeof(op_state) == 5 && sizeof(client_state) == 8);

enum class step_kind : std::uint8_t {
  issue, call, reply, late, connect, connect_answer, reclaim, replay, replayed, done, done_answer,
  learn_committed, commit, close_window, lease_ends, evict, evict_by_command, release_lock,
  expire, forget, clear_awaited, remove_file,
  crash, lose_connection, lose_connection_late, core_dies, client_dies, give_up,
};

// What is said behind the name of the client, or alone if the server does it.
std::string_view name_of(step_kind k) noexcept;

struct recovery_step {
  step_kind kind;
  std::uint8_t client;
  std::uint8_t op;  // 0-7
};

// Owned by a test; const after construction, so that any thread may use it.
class recovery_model {
 public:
  using state = recovery_state;
  using step = recovery_step;
  struct move {
    step did;
    state next;
    bool natural;
  };

  recovery_model(const scenario& s, rules r);

  state initial() const;
  template <class F>
  void each_step(const state& from, F&& f) const {
    thread_local std::vector<move> moves;
    moves.clear();
    list_steps(from, moves);
    for (const move& m : moves) f(m.did, m.next, m.natural);
  }
  std::string_view broken(const state& w) const;
  bool finished(const state& w) const;
  state canonical(const state& w) const;
  std::string name(const step& did) const;

 private:
  void list_steps(const state& from, std::vector<move>& out) const;

  scenario scenario_;
  rules rules_;
  bool symmetric_;  // both clients run the same program
};

}  // namespace tangelo::model
