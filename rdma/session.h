// client_session: the client's half of a session, over one connection at a time.
//
// Used by client_core (and by tests); loop thread only. It owns the import (import.h: the state
// table), the present channel, and the three lists of the Lustre document: sending (sent, not
// answered), delayed (not to be sent in this state), replay (answered, not committed; read from
// the arena through replay_source). It gives no call up: a call ends by its reply or by eviction.
//
// Invariants:
//   1. A call is sent at most once per connection; on the next one it is sent again with the same
//      slot, sequence and xid, flag RESENT and fresh transfer tags.
//   2. Events of an older epoch are dropped (conn_cnt rule).
//   3. A reply's payload is complete in `payload_out` before on_reply.
//   4. A call's memory is not touched after on_reply or on_evicted.
//   5. What is replayed is replayed in the order of transnos. The cursor, below which every replay
//      is answered, is reset by a change of the server's boot generation and by nothing else.
//   6. last_committed is believed only of the connection, the cookie and the boot it belongs to; it
//      is taken over before the session decides whether it holds anything uncommitted.
//   7. A call that is neither answered nor said to be alive by its deadline ends the connection,
//      never the call.
//   8. A payload that does not fit its trailer is moved again, by the same call with fresh transfer
//      tags, protection_attempts in all, whatever becomes of connections meanwhile. What the server
//      found in its store is not asked for again; of replays the server counts the attempts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/prng.h"
#include "base/secret.h"
#include "protocol/errors.h"
#include "protocol/lock_ops.h"
#include "protocol/protection.h"
#include "protocol/session.h"
#include "protocol/wire.h"
#include "rdma/import.h"
#include "rdma/provider.h"
#include "rdma/service.h"

namespace tangelo {

// One operation to be carried out by the server. The memory behind the spans belongs to the caller
// and stays until on_reply or on_evicted.
struct outbound_call {
  std::uint16_t slot = 0;
  std::uint32_t slot_seq = 0;
  std::uint64_t xid = 0;
  opcode op = opcode::none;
  std::uint16_t attempt = 1;       // > 1: an earlier core may have sent it: RESENT
  std::uint16_t flags = 0;         // message_flag::need_commit, commit_soon
  byte_span body;                  // the encoded call body
  mutable_byte_span payload_in;    // what the server is to read (a write's bytes); not changed
  mutable_byte_span payload_out;   // where the server may write (a read's bytes)
  byte_span protection;            // of a write: the encoded trailer of payload_in; empty: none
  // Of a read: the bytes are to be checked; they are of this inode, from this offset on.
  struct place {
    std::uint64_t inode = 0;
    std::uint64_t offset = 0;
  };
  std::optional<place> check;
};

// An answered mutation that is to be made again, as it was.
struct replay_entry {
  outbound_call call;
  std::uint64_t transno = 0;
  std::int64_t time_ns = 0;  // of the change, by the server's clock
};

// A lock that the client holds, or (call.wait) waits for. `place`: its number among the claims.
struct lock_claim {
  std::uint64_t place = 0;
  lock_call call;
};

struct inbound_reply {
  std::uint16_t slot = 0;
  std::uint32_t slot_seq = 0;
  error_code status = error_code::ok;
  std::uint64_t transno = 0;
  std::uint64_t last_committed = 0;
  byte_span body;                // valid during the call
  std::size_t payload_size = 0;  // bytes in payload_out
  // With status integrity: what did not fit, however often the payload was moved.
  std::optional<protection_fault> fault;
};

class session_events {
 public:
  virtual ~session_events() = default;
  virtual void on_reply(const inbound_reply& reply) noexcept = 0;
  virtual void on_import_state(import_state state) noexcept = 0;
  // Answered changes up to `transno` are durable: they need no replay any more.
  virtual void on_committed(std::uint64_t transno) noexcept = 0;
  // The server has forgotten us (status().last_text says why): every call not answered yet is over,
  // its fate unknown. What was answered with a transno above `kept_through` is lost. The session
  // stays EVICTED until client_session::invalidated() says that nothing of it will be claimed
  // again.
  // `went_back`: the server's store is older than what it had told us, so also what was durable may
  // be lost, of any file.
  virtual void on_evicted(std::uint64_t kept_through, bool went_back) noexcept = 0;
  // The replay of a write was refused: those bytes are lost. The recovery goes on as soon as
  // replay_source::settled() says that this is noted.
  virtual void on_replay_failed(const replay_entry& entry, error_code status) noexcept = 0;
  // The server refuses a handle that next_open() gave, and will answer STALE when it is used.
  virtual void on_claim_refused(std::uint64_t handle, error_code status) noexcept = 0;
  // The server does not give back what next_lock() gave: somebody else has it.
  virtual void on_lock_refused(const lock_claim&, error_code) noexcept {}
  // The wait that is known by this number has ended; ok: the lock is held. Comes again until it is
  // acknowledged.
  virtual void on_lock_notice(std::uint64_t /*lock_id*/, error_code) noexcept {}
};

// Reads the replay records and open handles of the arena; an empty source is a client that answers
// nothing before it is committed and holds nothing.
class replay_source {
 public:
  virtual ~replay_source() = default;
  // False while an answer that was given to the owner may not be in the records yet, or a loss it
  // was told of is not noted. CONNECT and every step of the replay wait for it, asking again every
  // millisecond.
  virtual bool settled() const = 0;
  // The answered mutation with the lowest transno above `after`; false: none left.
  virtual bool next_replay(std::uint64_t after, replay_entry& out) = 0;
  // The open handle with the lowest handle number above `after`; false: none left.
  virtual bool next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                         std::uint32_t& open_flags) = 0;
  // The next lock behind `after` (a lock_claim::place, 0 to begin), first those that are held, then
  // those that are waited for; false: none left.
  virtual bool next_lock(std::uint64_t /*after*/, lock_claim&) { return false; }
  // held_state bits; uncommitted: there is a replay with a transno above `last_committed`.
  virtual std::uint32_t held(std::uint64_t last_committed) const = 0;
};

// Every time the session waits for; tests make them small.
struct session_timings {
  std::uint64_t attempt_first_ns = 2 * ns_per_s;  // an attempt of the first round
  std::uint64_t attempt_ns = 5 * ns_per_s;
  std::uint64_t back_off_min_ns = 200 * ns_per_ms;  // between rounds, doubled, +-25 %
  std::uint64_t back_off_max_ns = 5 * ns_per_s;
  std::uint64_t denied_ns = 5 * ns_per_s;
  std::uint64_t health_ns = 500 * ns_per_ms;   // how often the connection is looked at, at least
  std::uint64_t ping_idle_ns = 5 * ns_per_s;   // silence that asks for a PING, without calls
  std::uint64_t ping_busy_ns = ns_per_s;       // and with calls pending
  std::uint64_t pong_wait_ns = 2500 * ns_per_ms;  // an unanswered PING ends the connection
  std::uint64_t deadline_min_ns = 5 * ns_per_s;   // of a call without payload
  std::uint64_t deadline_max_ns = 600 * ns_per_s;
  std::uint64_t idle_ns = 60 * ns_per_s;       // nothing to do and nothing held: IDLE
  std::uint64_t settle_ns = ns_per_ms;         // between two questions of replay_source::settled()
  std::uint64_t goodbye_ns = 800 * ns_per_ms;  // stop() waits for the server's GOODBYE
};

struct session_options {
  id128 client_id{};
  std::uint64_t incarnation = 0;
  std::uint32_t core_generation = 1;  // upper half of every epoch
  std::string volume;
  std::vector<std::string> addresses;  // "host:port", at least one
  secret shared_secret{};  // not empty: no server is believed that does not know it, too
  std::uint64_t seed = 1;              // of the back-off jitter
  session_timings timings{};
  // What an earlier core of this arena saw of the server; boot generation 0: it never got that far,
  // or was evicted: then nothing is claimed, and the server empties what it still has of us.
  std::uint64_t last_boot_generation = 0;
  std::uint64_t last_committed = 0;
  bool cursor_by_boot = true;  // false, by the verdict alone: a negative control of the tests
};

struct session_status {
  import_state state{};
  std::uint32_t connection_count = 0;
  std::uint64_t boot_generation = 0;
  std::uint64_t last_committed = 0;
  std::string address;       // in use or tried last
  down_reason last_reason{}; // why the last connection ended
  std::string last_text;     // what the server said about it
  std::size_t sending = 0;
  std::size_t delayed = 0;
  std::uint32_t credits = 0;
  std::uint64_t epoch = 0;
  // CLOCK_BOOTTIME: until when the server gives away nothing that we rely on; counted from the
  // sending of the newest call or PING that was answered.
  std::uint64_t lease_until_ns = 0;
  std::uint64_t resent = 0;         // calls sent again on another connection
  std::uint64_t replayed = 0;       // replays that were answered
  std::uint64_t replays_refused = 0;
  std::uint64_t stale_replies = 0;  // replies nobody waited for
  std::uint64_t evictions = 0;
  std::uint64_t mismatches_healed = 0;    // calls whose payload fitted when it was moved again
  std::uint64_t mismatches_reported = 0;  // calls, and replays, that failed for it
  protection_fault last_mismatch;         // kind{}: there was none
  import_machine::history_ring history{};  // the last states, oldest first
};

class client_session {
 public:
  // The references must outlive the session.
  static std::unique_ptr<client_session> make(session_options options, provider& fabric,
                                              scheduler& time, session_events& events,
                                              replay_source& replay);
  virtual ~client_session() = default;
  // Begins to connect; calls may be submitted before.
  virtual void start() = 0;
  virtual void submit(const outbound_call& call) = 0;
  // After on_evicted(): records of the lost session are gone, a new one may begin.
  virtual void invalidated() = 0;
  // The end of a wait is recorded, or (`kept` false) nobody waits any more.
  virtual void acknowledge(std::uint64_t lock_id, bool kept) = 0;
  // Says GOODBYE (the server forgets this client) if connected and ends; `done` within 1 s.
  virtual void stop(std::function<void()> done) = 0;
  virtual session_status status() const = 0;
  // As in status(), for every answer.
  virtual std::uint64_t lease_until_ns() const noexcept = 0;
  // The longest pause between rounds of connecting, from the next pause on.
  virtual void set_back_off_max_ns(std::uint64_t ns) = 0;
};

}  // namespace tangelo
