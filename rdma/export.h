// export_host: the server's half of all sessions of one process.
//
// Takes accepted endpoints, speaks HELLO and CONNECT, keeps one export per client (slots,
// sequences, cached replies, epoch), decides by recovery.md §7.5 what to do with each call, and
// hands those to be executed to the service of their volume. Loop thread only.
//
// Invariants:
//   1. I1 epoch fence: a call runs only if cookie and epoch are the export's current ones.
//   2. I2 at most once: a (client_id, incarnation, slot, sequence) mutation executes at most once,
//      also across restarts of the server, by the durable reply records that the service loads.
//   3. A call that is executing when its connection ends goes on; its reply is kept in the slot
//      (or, for a read, dropped) and sent when it is asked for again.
//   4. Nothing from a peer is trusted: lengths, slots, sequences and opcodes are checked first; a
//      breach closes the connection with ERROR.
//   5. Before the first open or early answer of a client, its record says durably that a recovery
//      window has to wait for it; and as long as it holds anything.
//   6. A client that is written off is fenced at once, and let in again only after its tombstone is
//      durable; a recovery window does not close before that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/problem.h"
#include "base/secret.h"
#include "rdma/provider.h"
#include "rdma/service.h"

namespace tangelo {

struct op_metrics;

struct export_options {
  secret shared_secret{};  // not empty: who does not know it, too, is told nothing
  std::uint32_t slot_count = 16384;
  std::uint16_t credits = 1024;                 // calls in flight per connection
  std::uint32_t eager_payload_max = 1 << 20;    // larger payloads wait for pull_request
  std::size_t buffer_count_max = 64;            // 1 MiB buffers of the whole process
  provider* fabric = nullptr;  // registers the buffers; nullptr: they need no registration
  std::uint32_t lease_ms = 30'000;
  // A client that holds something is evicted after such a silence, if another one is heard.
  std::uint32_t evict_ms = 150'000;
  std::uint32_t window_soft_ms = 45'000;
  std::uint32_t window_hard_ms = 120'000;
  bool fence_epochs = true;  // false: a negative control of the tests
  op_metrics* meter = nullptr;  // protocol/op_metrics.h: calls are counted there as they execute
};

// Where a client stands; see the table at the head of rdma/export_connect.cc.
enum class client_phase : std::uint8_t {
  recorded,     // known from the store, not seen since the server's start
  remembering,  // fresh; its record is being made durable
  recovering,   // joined in the recovery window, replays and claims
  active,
  leaving,      // being forgotten or written off
  tombstone,    // written off; it may come back without claims
};

constexpr std::string_view name_of(client_phase p) noexcept {
  switch (p) {
    using enum client_phase;
    case recorded: return "recorded";
    case remembering: return "remembering";
    case recovering: return "recovering";
    case active: return "active";
    case leaving: return "leaving";
    case tombstone: return "tombstone";
  }
  return {};
}

struct export_status {
  client_key client;
  std::string volume;
  std::string address;  // empty while disconnected
  client_phase phase = client_phase::recorded;
  std::uint64_t epoch = 0;
  std::uint64_t silent_ms = 0;      // since it was heard last, or since the server's start
  std::uint64_t lease_left_ms = 0;
  bool awaited = false;             // a recovery window would wait for it
  bool has_opens = false;
  bool uncommitted = false;         // it has answers that are not durable yet
  std::uint64_t highest_transno = 0;
  std::size_t running = 0;
  std::uint64_t calls = 0;
  std::uint64_t resent = 0;
  std::uint64_t answered_from_record = 0;
};

// A client's id as it is shown and asked for: 32 hexadecimal digits.
std::string hex_of(const id128& id);

class export_host {
 public:
  static std::unique_ptr<export_host> make(export_options options, scheduler& time);
  virtual ~export_host() = default;
  // Serves `volume` (the path part of a mount source, "name") with `s`, which must outlive this.
  // Clients that wait for it as a standby are told.
  virtual void add_volume(std::string volume, service& s) = 0;
  // Announces a volume that another process serves still: who connects is told to wait, until
  // add_volume() comes with the same name.
  virtual void add_standby(std::string volume, const id128& target_id) = 0;
  // The acceptor for a listener.
  virtual void accept(std::unique_ptr<endpoint> peer) = 0;
  // Sends GOODBYE and closes every connection; `done` when no call is running any more.
  virtual void stop(std::function<void()> done) = 0;
  virtual std::vector<export_status> status() const = 0;
  // Writes a client off: `who` is its id (hex_of) or the address that status() shows. It is cut
  // off when this returns; status() shows a tombstone when that is durable. `reason` is for people:
  // the journal and the client's. Fails if there is no such client.
  virtual outcome<client_key> evict(std::string_view volume, std::string_view who,
                                    std::string_view reason) = 0;
  virtual bool recovering() const = 0;
};

}  // namespace tangelo
