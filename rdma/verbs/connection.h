// verbs_connection: one reliable connected queue pair as an endpoint.
//
// What is to be sent stands in one queue, in order: frames (frame.h) in slots of registered memory,
// and RDMA Reads and Writes. It is posted as far as the peer's credits and the send queue allow, in
// batches of which each transfer and the last work complete with a signal; the frames before that
// are then known to be sent, too. Such completions wake us only while somebody waits for one;
// otherwise they are looked at when something comes in. Received frames lie in receives of
// registered memory; a receive is posted again when its frame was delivered, and the peer learns of
// that with our next frame.
//
// Life: connecting (client) or accepted (server, until READY) -> up -> closing -> flushed. Closing
// lets what is posted arrive, for a moment, then puts the queue pair into the error state, waits
// for the completions of what was posted, for a moment again, and destroys the queue pair: from
// then on the device touches no memory for it. If the device refuses even that, on_flushed never
// comes: who waits for it keeps the memory.
//
// Shared by its handle (verbs_endpoint) and the provider; loop thread only.
//
// Invariants:
//   1. Frames in flight never exceed the receives of the peer; the last one is for CREDITS.
//   2. on_flushed only after the queue pair is destroyed.
//   3. Events only from completions, rdma_cm events and posted calls.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "rdma/address.h"
#include "rdma/tag_map.h"
#include "rdma/verbs/device.h"
#include "rdma/verbs/frame.h"

namespace tangelo {

// Addresses name the port of TCP. Over verbs it is the one behind that, since the ports of iWARP
// are those of TCP.
inline constexpr int verbs_port_distance = 1;

class verbs_connection;

// What a connection needs of its provider.
class verbs_home {
 public:
  virtual ~verbs_home() = default;
  // The device that `id` leads over, with our memory registered; nullptr: it cannot be used.
  virtual verbs_device* device_of(rdma_cm_id* id) noexcept = 0;
  virtual verbs_counts& counts() noexcept = 0;
  virtual rdma_event_channel* cm_events() noexcept = 0;
  // A server's connection has come up: it goes to the acceptor.
  virtual void arrived(verbs_connection& c) noexcept = 0;
  virtual void flushed(verbs_connection& c) noexcept = 0;  // forgets it; may destroy it
};

class verbs_connection final : public std::enable_shared_from_this<verbs_connection>,
                               private cm_listener,
                               private queue_listener {
 public:
  verbs_connection(loop& l, verbs_home& home, std::string peer);
  ~verbs_connection() override;

  void start(endpoint_events& events);
  send_status send(byte_span message);
  void expose(const chunk& c, mutable_byte_span memory);
  void retract(std::uint64_t tag);
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie);
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie);
  void close(down_reason reason) noexcept;
  const endpoint_stats& stats() const noexcept { return stats_; }
  const std::string& peer() const noexcept { return peer_; }
  void orphan() noexcept;    // the handle is gone
  void abandon() noexcept;   // the provider goes: everything ends now, without events

  void lookup_ended(const socket_address* found) noexcept;
  // The server's side of a connect request; refuses it when it is not ours.
  void take_request(const cm_event& request) noexcept;
  void* listening = nullptr;  // of the provider: who accepts it

 private:
  enum class phase : std::uint8_t { idle, connecting, accepted, up, closing, flushed };
  enum class work_kind : std::uint8_t { frame, read, write };
  struct work {
    work_kind kind{};
    std::uint16_t slot = 0;  // frame
    std::uint32_t size = 0;
    bool placed = true;  // transfer: the peer's address is known
    bool eager = false;  // read: deliveries wait for it
    std::uint64_t tag = 0;
    std::uint64_t address = 0;
    std::uint32_t remote_key = 0;
    std::byte* local = nullptr;
    std::uint64_t cookie = 0;
    ibv_mr* single = nullptr;  // the registration for this transfer alone
    bool ended = false;        // posted: it has completed
  };
  struct exposure {
    chunk what;
    mutable_byte_span memory;
  };
  // Memory that is no region's. What is only read is copied: a mapping that may not be written is
  // registered by newer kernels only, and for a payload that is no region's the copy is cheap.
  struct single_exposure {
    ibv_mr* registered = nullptr;
    std::vector<std::byte> copy;
  };
  struct announced_chunk {
    chunk what;
    bool eager = false;
  };
  struct received {
    std::uint16_t receive = 0;
    std::uint32_t size = 0;
  };

  // connection.cc: life
  void on_cm_event(const cm_event& event) noexcept override;
  void on_trouble(down_reason reason) noexcept override { close(reason); }
  bool set_up() noexcept;
  bool make_queues() noexcept;
  void connect_now() noexcept;
  void take_answer(const cm_event& event) noexcept;
  void accept_now(const cm_event& request) noexcept;
  void came_up();
  void later(void (verbs_connection::*step)(), std::uint64_t after_ns = 0);
  void say_down();
  void cut() noexcept;
  void end_drain();
  void try_flush() noexcept;
  bool tear_down() noexcept;
  void drop_registrations() noexcept;

  // send.cc
  bool has_room() const noexcept;
  std::byte* slot_at(std::size_t i) noexcept { return memory_.data() + i * slot_size; }
  void queue_frame(frame_type type, byte_span body);
  void pump() noexcept;
  bool post(std::size_t count) noexcept;
  void fill_frame(const work& w, ibv_send_wr& request) noexcept;
  bool fill_transfer(const work& w, ibv_send_wr& request) noexcept;
  void post_credits() noexcept;
  send_status queue_transfer(work w, const chunk& c);
  void offer_memory(const ask_frame& ask);
  void take_offer(const offer_frame& offer);
  const ibv_mr* key_of(exposure& e);
  bool place_chunks(mutable_byte_span message) noexcept;
  void sent(const ibv_wc& wc) noexcept;
  void end_work(std::size_t at, ibv_wc_status status) noexcept;
  void say_sendable();
  send_status no_buffers() noexcept;
  send_status no_memory();

  // receive.cc
  void on_completions() noexcept override;
  bool take_completions() noexcept override;
  void poll() noexcept { (void)take_completions(); }
  int take_from(ibv_cq* queue) noexcept;
  bool awaits_sends() const noexcept;
  void arm_sends() noexcept;
  void wait_for_sends() noexcept;
  void take_frame(std::uint16_t receive, std::uint32_t size);
  bool post_receive(std::uint16_t receive) noexcept;
  void give_back(std::uint16_t receive);
  void deliver();
  bool announce(byte_span message);

  static constexpr std::uint16_t receive_count = 64;
  static constexpr std::uint16_t send_count = 64;
  static constexpr std::size_t posted_max = 128;
  static constexpr std::size_t batch_max = 16;
  static constexpr std::size_t queued_max = 256;
  static constexpr std::size_t slot_size = (verbs_frame_size_max + 63) / 64 * 64;

  loop& loop_;
  verbs_home& home_;
  std::string peer_;
  endpoint_events* events_ = nullptr;
  phase phase_ = phase::idle;
  down_reason reason_ = down_reason::none;
  bool is_server_ = false;
  bool ready_ = false;     // server: READY has come
  bool down_said_ = false;
  bool cut_ = false;       // the queue pair is in the error state
  bool drained_ = false;   // no more waiting for completions
  bool refused_ = false;   // no_buffers was said: on_sendable is owed
  bool delivering_ = false;
  timer_id attempt_timer_ = 0;

  rdma_cm_id* id_ = nullptr;
  verbs_device* device_ = nullptr;
  ibv_qp* pair_ = nullptr;
  ibv_cq* receives_ = nullptr;  // completions of receives
  ibv_cq* sends_ = nullptr;     // and of everything else
  bool sends_armed_ = false;    // they wake us
  ibv_mr* registered_ = nullptr;  // memory_
  mutable_byte_span memory_;      // send slots, then receives
  unsigned inline_max_ = 0;

  std::uint32_t credits_ = 0;       // frames the peer has room for
  std::uint32_t credits_max_ = 0;   // as it said first
  std::uint16_t owed_ = 0;          // receives posted again, not told yet
  std::vector<std::uint16_t> free_slots_;
  std::deque<work> queue_;
  std::deque<work> posted_;         // from the first that has not ended
  std::uint64_t posted_first_ = 0;  // the wr_id of posted_.front(); the others count on
  std::size_t transfers_posted_ = 0;
  std::deque<received> inbox_;
  std::size_t eager_waiting_ = 0;  // eager chunks that are not read yet: nothing is delivered

  tag_map<exposure> exposed_;
  std::map<std::uint64_t, single_exposure> exposed_singly_;
  tag_map<announced_chunk> announced_;
  endpoint_stats stats_;
};

}  // namespace tangelo
