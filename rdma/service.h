// The seam between the server's sessions (rdma/export.h) and its filesystem (server/volume.h).
//
// The export decides whether a call is to be executed at all (session slot, sequence, epoch, reply
// cache); the service executes it, writes effect and reply record in one transaction, and
// completes it exactly once. Everything is on the server's loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "protocol/errors.h"
#include "protocol/protection.h"
#include "protocol/session.h"
#include "protocol/wire.h"

namespace tangelo {

// One client of one volume, for as long as its arena lives.
struct client_key {
  id128 client_id{};
  std::uint64_t incarnation = 0;
  bool operator==(const client_key&) const = default;
};

// The durable memory of one executed mutation: what to answer when it is asked for again.
// Format final: saved by the store, keyed by (client_id, slot).
struct reply_record {
  std::uint64_t incarnation = 0;
  std::uint16_t slot = 0;
  std::uint32_t slot_seq = 0;
  std::uint64_t xid = 0;
  opcode op = opcode::none;
  error_code status = error_code::ok;
  std::uint64_t transno = 0;
  std::vector<std::byte> body;  // the encoded answer, at most answer_size_max bytes
};

// What is durable about one client.
struct client_record {
  client_key key;
  bool awaited = false;  // held opens, locks or uncommitted answers: a recovery window waits for it
  // Written off: it may come back only without claims. `highest_transno` of its changes are kept.
  bool tombstone = false;
  std::uint64_t highest_transno = 0;  // of all its changes that are in the store
  std::vector<reply_record> replies;
};

struct call_result {
  error_code status = error_code::ok;
  std::uint64_t transno = 0;     // 0 when nothing was changed
  byte_span body;                // the encoded answer; valid during complete()
  std::size_t payload_size = 0;  // bytes put into inbound_call::payload_out
  // Of those bytes, when it was asked for; valid during complete().
  const protection_trailer* protection = nullptr;
};

// One call being executed. Owned by the export; the service holds it until it calls complete().
class inbound_call {
 public:
  virtual ~inbound_call() = default;
  client_key client;
  std::uint16_t slot = 0;
  std::uint32_t slot_seq = 0;
  std::uint64_t xid = 0;
  opcode op = opcode::none;
  std::uint16_t flags = 0;        // message_flag bits of the call
  std::uint64_t transno = 0;      // of a replay: the one it was first answered with
  std::int64_t replay_time_ns = 0;  // of a replay: the time it was first made at
  // A change may be completed as soon as it is written, before it is durable. Else after commit.
  bool early_answer = false;
  byte_span body;                 // valid until complete(); without its trailer
  // Of a WRITE: that it came with, whose guards fit payload_in; nothing: it came without.
  std::optional<protection_trailer> protection;
  bool wants_protection = false;  // of a READ: the answer is to have a trailer
  mutable_byte_span payload_in;   // page-aligned, complete; valid until complete()
  mutable_byte_span payload_out;  // page-aligned room for the answer's payload; until complete()
  // Ends the call; the object may be gone afterwards.
  virtual void complete(const call_result& r) = 0;
};

// The end of a wait for a lock: granted (ok), or refused.
struct lock_notice {
  std::uint64_t lock_id = 0;
  error_code status = error_code::ok;
};

class service {
 public:
  virtual ~service() = default;
  virtual id128 target_id() const = 0;
  // Whether a client at this address may use it.
  virtual bool admits(std::string_view) const { return true; }
  virtual std::uint64_t boot_generation() const = 0;
  // The low-water mark: every change answered with a transno up to it is durable. It stands still
  // while the recovery window is open: replays of one client may lie above what another has still
  // to replay. After it has moved, and it moves within 50 ms of an early answer, the watcher is
  // called (never from inside execute()).
  virtual std::uint64_t last_committed() const = 0;
  virtual void watch_commits(std::function<void()> watcher) = 0;
  // Executes a call. A replay (message_flag::replay) is executed under its old transno, with its
  // old time, and opens no handle: opens are claimed afterwards. Its transno is above all of this
  // client's that were executed before. Whatever is uncommitted of other clients and shows in an
  // answer is committed before complete().
  virtual void execute(inbound_call& call) = 0;
  // `call` was answered from its reply record, with `answer`: what it did to volatile state (create
  // opens a handle) may have been forgotten in a restart and is done again.
  virtual void answered_again(const inbound_call& call, byte_span answer) = 0;
  // All durable client records, read once at start.
  virtual std::vector<client_record> load_clients() = 0;
  // Makes the client known durably, before its first mutation is executed; `done` after commit.
  // Older incarnations of the same client_id are forgotten with it: records, opens, claims.
  virtual void remember_client(const client_key& key, std::function<void(error_code)> done) = 0;
  // Forgets it durably: its handles are released, its reply records removed, and what it changed is
  // committed (`done` comes after that). With `tombstone` the store remembers that it was written
  // off, and up to where its changes are kept, until remember_client() or the next forget_client().
  virtual void forget_client(const client_key& key, bool tombstone,
                             std::function<void(error_code)> done) = 0;
  // Durably: may it hold anything that a recovery window has to wait for? Set before the first open
  // or early answer, cleared when it holds nothing and nothing of it is uncommitted.
  virtual void set_awaited(const client_key& key, bool awaited,
                           std::function<void(error_code)> done) = 0;
  // Has it files open here, or locks?
  virtual bool has_opens(const client_key& key) const = 0;
  // ---- locks; a service without them keeps these
  // `watcher(client)` is called, never from inside execute(), when notices_of() it has grown.
  virtual void watch_locks(std::function<void(const client_key&)>) {}
  // Waits of this client that have ended, until it has said that it knows (protocol/lock_ops.h).
  virtual std::vector<lock_notice> notices_of(const client_key&) const { return {}; }
  virtual void noticed(const client_key&, std::uint64_t /*lock_id*/, bool /*kept*/) {}
  // Does another client wait for a lock of this one?
  virtual bool is_waited_for(const client_key&) const { return false; }
  // The recovery window has closed: last_committed passes all transnos of earlier boots (durably
  // with the next commit), and orphans that nobody re-claimed may be removed.
  virtual void recovery_ended() = 0;
};

}  // namespace tangelo
