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
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "rdma/provider.h"
#include "rdma/service.h"

namespace tangelo {

struct export_options {
  std::uint32_t slot_count = 16384;
  std::uint16_t credits = 1024;                 // calls in flight per connection
  std::uint32_t eager_payload_max = 1 << 20;    // larger payloads wait for pull_request
  std::size_t buffer_count_max = 64;            // 1 MiB buffers of the whole process
  std::uint32_t lease_ms = 30'000;
  std::uint32_t window_soft_ms = 45'000;
  std::uint32_t window_hard_ms = 120'000;
};

struct export_status {
  client_key client;
  std::string volume;
  std::string address;  // empty while disconnected
  std::uint64_t epoch = 0;
  std::size_t running = 0;
  std::uint64_t calls = 0;
  std::uint64_t resent = 0;
  std::uint64_t answered_from_record = 0;
};

class export_host {
 public:
  static std::unique_ptr<export_host> make(export_options options, scheduler& time);
  virtual ~export_host() = default;
  // Serves `volume` (the path part of a mount source, "name") with `s`, which must outlive this.
  virtual void add_volume(std::string volume, service& s) = 0;
  // The acceptor for a listener.
  virtual void accept(std::unique_ptr<endpoint> peer) = 0;
  // Sends GOODBYE and closes every connection; `done` when no call is running any more.
  virtual void stop(std::function<void()> done) = 0;
  virtual std::vector<export_status> status() const = 0;
  virtual bool recovering() const = 0;
};

}  // namespace tangelo
