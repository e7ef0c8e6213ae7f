// session_core: client_session's one implementation. Included by rdma/session*.cc only:
// session.cc (life), session_health.cc (pings, deadlines, lease, idling), session_connect.cc (HELLO
// to verdict), session_calls.cc (sending and delayed list), session_protection.cc (trailers),
// session_replay.cc (replay, claims).
//
// Invariants, besides those of session.h:
//   1. At most one link is current; the others are dying, and only their on_flushed counts.
//   2. No new attempt, no eviction and no end of stop() while a link is dying: its connection
//      could still place bytes in the memory of calls.
//   3. In DISCON the current link is one on which the server said `wait`: it listens for ADVICE.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "protocol/ops.h"
#include "rdma/channel.h"
#include "rdma/session.h"

namespace tangelo {

class session_core;

// One connection of the session, with the epoch that it was made for.
class session_link final : public channel_events {
 public:
  session_link(session_core& owner, std::unique_ptr<endpoint> e, std::uint64_t epoch)
      : owner_(owner), epoch_(epoch), channel_(std::move(e), *this, epoch) {}
  channel& wire() noexcept { return channel_; }
  std::uint64_t epoch() const noexcept { return epoch_; }

 private:
  void on_channel_up() noexcept override;
  void on_channel_message(const message_view& message) noexcept override;
  void on_channel_done(std::uint64_t, bool) noexcept override {}
  void on_channel_down(down_reason reason) noexcept override;
  void on_channel_flushed() noexcept override;

  session_core& owner_;
  std::uint64_t epoch_;
  channel channel_;
};

class session_core final : public client_session {
 public:
  session_core(session_options options, provider& fabric, scheduler& time, session_events& events,
               replay_source& replay);
  ~session_core() override;

  void start() override;
  void submit(const outbound_call& call) override;
  void invalidated() override;
  void acknowledge(std::uint64_t lock_id, bool kept) override;
  void stop(std::function<void()> done) override;
  session_status status() const override;
  std::uint64_t lease_until_ns() const noexcept override { return lease_until_ns_; }
  void set_back_off_max_ns(std::uint64_t ns) override { options_.timings.back_off_max_ns = ns; }

 private:
  friend class session_link;

  static constexpr std::uint32_t no_slot = 0xffffffff;
  static constexpr std::uint16_t unslotted = 0xffff;
  static constexpr std::size_t window_size = 16;  // replays and claims in flight
  static constexpr std::uint64_t claim_xid_bit = std::uint64_t{1} << 63;

  struct pending_call {
    enum class phase : std::uint8_t { free, queued, parked, sent };
    outbound_call call;
    phase where = phase::free;
    bool sent_before = false;
    call_tags tags;
    std::uint64_t sent_at_ns = 0;
    std::uint64_t deadline_ns = 0;
    unsigned mismatches = 0;           // of its payload and its trailer
    std::uint32_t previous = no_slot;  // in the list of sent ones, oldest first
    std::uint32_t next = no_slot;
  };
  struct replay_in_flight {
    replay_entry entry;
    call_tags tags;
    bool answered = false;
    std::uint64_t sent_at_ns = 0;
    std::uint64_t deadline_ns = 0;
  };
  struct claim_in_flight {
    std::uint64_t xid = 0;
    std::uint64_t handle = 0;  // 0: of a lock
    lock_claim lock;
    std::uint64_t sent_at_ns = 0;
    std::uint64_t deadline_ns = 0;
  };
  struct server_address {
    std::string text;
    std::uint64_t last_tried = 0;
  };
  enum class flush_wish : std::uint8_t { nothing, attempt, evict, end };

  // session.cc
  void step(import_event event);
  void perform(import_action action);
  void link_up(session_link& link);
  void link_down(session_link& link, down_reason reason);
  void link_flushed(session_link& link);
  void link_message(session_link& link, const message_view& message);
  void lose_link(down_reason reason);
  void drop_link(down_reason reason);
  void reap();
  void when_flushed(flush_wish wish);
  void fulfil(flush_wish wish);
  void send_control(message_type type, byte_span body, std::uint64_t xid);
  void take_error(const message_view& message);
  void note_refusal(std::string_view text);
  void take_advice(const message_view& message);
  void send_goodbye(bool resume_ok);
  void end_session();
  bool attached() const noexcept;

  // session_health.cc
  void watch_health();
  void check_health();
  bool is_overdue(std::uint64_t now) const noexcept;
  bool is_idle(std::uint64_t now) const;
  bool is_ping_due(std::uint64_t now) const noexcept;
  std::uint64_t allowed_ns(const outbound_call& call) const noexcept;
  void take_pong(const message_view& message);
  void take_early_reply(const message_view& message);
  void take_commit_note(const message_view& message);
  bool is_ours(const message_view& message) const;
  void note_committed(std::uint64_t transno);
  void renew_lease(std::uint64_t sent_at_ns) noexcept;
  void connection_works() noexcept;

  // session_connect.cc
  void begin_attempt();
  std::size_t choose_address();
  void retry_later();
  std::uint64_t retry_delay_ns();
  std::uint64_t pause_max_ns() const noexcept;
  void send_hello();
  void take_hello_ack(const message_view& message);
  bool take_proof(const hello_ack_body& ack);
  void send_connect();
  void take_connect_ack(const message_view& message);
  import_event judge(const connect_ack_body& ack);
  import_event judge_later(const connect_ack_body& ack);
  bool contradicts(const connect_ack_body& ack);
  bool mutation_was_sent() const noexcept;
  void accept_session(const connect_ack_body& ack);
  void ask_again_when_settled();
  std::uint32_t held(std::uint64_t committed) const {
    return forget_held_ ? 0 : replay_.held(committed);
  }

  // session_calls.cc
  wire_header call_header(const outbound_call& call) const;
  call_extension call_extension_of(const outbound_call& call) const;
  void transmit(std::uint16_t slot);
  void pump();
  void requeue_sent();
  void take_reply(const message_view& message);
  void take_call_reply(const message_view& message, const reply_extension& ext);
  bool payload_arrived(const message_view& message, const reply_extension& ext,
                       const pending_call& p);
  bool session_status_handled(error_code status, const reply_extension& ext, pending_call& p);
  void park(pending_call& p, std::uint32_t delay_ms);
  void list_add(std::uint32_t slot);
  void list_remove(std::uint32_t slot);
  void drop_everything();

  // session_protection.cc
  byte_span with_trailer(const outbound_call& call, call_extension& e);
  void check_reply(const message_view& message, const outbound_call& call, inbound_reply& reply);
  bool moves_again(const outbound_call& call, const protection_fault& fault, unsigned& mismatches);
  void note_mismatch(const outbound_call& call, const protection_fault& fault, bool again);
  void note_bad_replay(const outbound_call& call, byte_span answer);

  // session_replay.cc
  void fill_replays();
  void send_replay(replay_in_flight r);
  bool replay_went_on(const replay_entry& entry, error_code status);
  void take_replay_reply(const message_view& message, const reply_extension& ext);
  void fill_claims();
  bool claim_next();
  template <class Body>
  void send_claim(opcode op, const Body& body, claim_in_flight claim);
  void take_callback(const message_view& message);
  void take_claim_reply(const message_view& message, const reply_extension& ext);
  void take_replay_done_ack(const message_view& message);

  session_options options_;
  provider& fabric_;
  scheduler& time_;
  session_events& events_;
  replay_source& replay_;
  prng random_;
  import_machine machine_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // posted calls look at it

  std::unique_ptr<session_link> current_;
  std::vector<std::unique_ptr<session_link>> dying_;
  flush_wish wish_ = flush_wish::nothing;
  std::uint32_t connection_count_ = 0;
  timer_id attempt_timer_ = 0;
  timer_id retry_timer_ = 0;
  timer_id health_timer_ = 0;
  timer_id settle_timer_ = 0;
  timer_id stop_timer_ = 0;
  std::function<void()> stop_done_;

  std::vector<server_address> addresses_;
  std::size_t address_index_ = 0;
  std::uint64_t try_count_ = 0;
  std::size_t tried_in_round_ = 0;
  unsigned rounds_failed_ = 0;
  bool same_address_ = false;
  std::uint64_t retry_hint_ns_ = 0;

  std::uint64_t cookie_ = 0;
  std::uint64_t boot_generation_ = 0;
  std::uint64_t last_committed_ = 0;
  std::uint64_t features_ = 0;
  std::uint32_t eager_max_ = 0;
  id128 target_id_{};
  bool target_changed_ = false;
  std::vector<std::byte> hello_;  // as sent on this connection
  bool server_proved_ = false;    // that it knows the secret, or there is none
  bool forget_held_ = false;  // claims nothing: new or evicted, and not yet FULL
  std::uint64_t kept_through_ = 0;  // of the eviction
  bool went_back_ = false;          // and the store is not the one that we knew
  down_reason last_reason_ = down_reason::none;
  std::string last_text_;

  std::uint64_t last_heard_ns_ = 0;
  std::uint64_t ping_sent_ns_ = 0;
  std::uint64_t ping_count_ = 0;
  bool ping_pending_ = false;
  std::uint64_t connect_sent_ns_ = 0;
  std::uint64_t lease_ns_ = 0;
  std::uint64_t lease_until_ns_ = 0;
  std::uint64_t last_work_ns_ = 0;  // when a call was submitted or answered
  std::array<std::uint32_t, 2> estimate_ms_{};  // the server's, of reads and of changes
  std::uint64_t payload_in_flight_ = 0;         // bytes of the sending list
  unsigned patience_ = 1;  // doubled by each such end of a connection; 1: nothing in flight

  std::vector<pending_call> calls_;  // by slot
  std::deque<std::uint16_t> queue_;  // to be sent: first those to be sent again, then new ones
  std::uint32_t sent_first_ = no_slot;
  std::uint32_t sent_last_ = no_slot;
  std::size_t call_count_ = 0;
  std::size_t sent_before_count_ = 0;
  std::uint64_t resent_ = 0;
  std::uint64_t stale_replies_ = 0;
  std::uint64_t evictions_ = 0;
  std::array<std::byte, op_body_size_max + trailer_size_max> body_;  // of the call being sent
  std::uint64_t mismatches_healed_ = 0;
  std::uint64_t mismatches_reported_ = 0;
  protection_fault last_mismatch_;

  std::deque<replay_in_flight> replays_;
  std::uint64_t replay_cursor_ = 0;  // every replay up to it is answered, in this boot
  std::uint64_t replay_sent_ = 0;    // the last one sent in this pass, or where it began
  std::uint64_t replay_before_ = 0;  // the last one sent in this pass
  bool replay_resumed_ = false;      // this pass may repeat what an earlier connection sent
  std::uint64_t replayed_ = 0;
  std::uint64_t replays_refused_ = 0;
  std::vector<claim_in_flight> claims_;
  std::uint64_t claim_sent_ = 0;  // the last handle
  bool opens_claimed_ = false;    // and their claims answered: the locks are next
  std::uint64_t lock_sent_ = 0;   // the last lock_claim::place
  std::uint64_t claim_xid_ = 0;
};

}  // namespace tangelo
