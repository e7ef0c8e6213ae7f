// export_core: export_host's one implementation. Included by rdma/export*.cc only: export.cc
// (connections, life), export_volume.cc (volumes, status, commands), export_connect.cc (HELLO,
// CONNECT), export_window.cc (recovery window), export_client.cc (lease, marks, forgetting),
// export_call.cc (from CALL to execution), export_replay.cc (the order of replays),
// export_reply.cc (slots and answers), export_ping.cc (PING), export_notice.cc and export_locks.cc
// (what is said unasked).
//
// Who owns what: the host owns connections (peer_link) and jobs; clients are shared by whoever
// still has to do with them. A job belongs to the connection whose peer waits for its answer, or
// to none while it is executed for a peer that has gone.
//
// Invariants, besides those of export.h:
//   1. A job's buffers are given back only when no transfer into or out of them is under way.
//   2. A client is forgotten only when none of its calls is being executed.
//   3. The replays of a client are judged in the order of their arrival, one at a time; those of a
//      connection that has ended are out of the line.
//   4. A standby volume has no service and no clients.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rdma/buffer_pool.h"
#include "rdma/channel.h"
#include "rdma/export.h"
#include "rdma/service_times.h"

namespace tangelo {

class export_core;
class peer_link;
class call_job;
struct export_volume;

// What a session slot remembers (recovery.md §7.5).
struct slot_memory {
  enum class phase : std::uint8_t { empty, running, done };
  phase where = phase::empty;
  opcode op = opcode::none;
  error_code status = error_code::ok;
  std::uint32_t seq = 0;
  std::uint64_t xid = 0;
  std::uint64_t transno = 0;
  call_job* job = nullptr;  // while running
  std::vector<std::byte> body;
};

// A replay that the service refused: it is refused again, whatever was executed after it.
struct refused_replay {
  std::uint64_t transno = 0;
  error_code status = error_code::ok;
};

struct export_client {
  // Does its record say that a recovery window waits for it?
  enum class mark : std::uint8_t { no, asked, yes };
  client_key key;
  export_volume* volume = nullptr;
  client_phase where = client_phase::recorded;
  mark awaited = mark::no;
  bool replay_done = false;
  bool progress = false;    // since the window was last looked at
  bool written_off = false;  // leaves a tombstone
  bool forgetting = false;  // the service has been asked
  std::string reason;       // why it was written off
  std::uint64_t cookie = 0;
  std::uint64_t epoch = 0;
  peer_link* link = nullptr;
  std::uint64_t heard_ns = 0;
  std::uint64_t held_ns = 0;  // when it was last seen to hold something
  std::uint64_t highest_transno = 0;  // of all its changes that were executed
  std::uint64_t judged_transno = 0;   // of its replays that were answered in this boot
  std::size_t running = 0;
  std::vector<slot_memory> slots;
  std::deque<call_job*> replays;  // in the order they came, also those whose payload is awaited
  bool replay_running = false;
  bool judging = false;
  unsigned damaged_replays = 0;  // connections ended because the next one's payload did not fit
  std::vector<refused_replay> refused;
  std::deque<call_job*> unmarked;  // wait until its record says "awaited"
  std::uint64_t calls = 0;
  std::uint64_t resent = 0;
  std::uint64_t from_record = 0;
  std::uint64_t dropped = 0;
};
using client_ref = std::shared_ptr<export_client>;

struct export_volume {
  std::string name;
  id128 target_id{};
  service* fs = nullptr;  // null: a standby
  std::vector<client_ref> clients;
  bool window_open = false;
  std::uint64_t window_soft_ns = 0;
  std::uint64_t window_hard_ns = 0;
  timer_id window_timer = 0;
  timer_id note_timer = 0;
  timer_id callback_timer = 0;
  std::deque<call_job*> held;  // calls that wait for the window's end
  service_times reads;
  service_times changes;
};

// One call on its way through the server.
class call_job final : public inbound_call {
 public:
  enum class phase : std::uint8_t {
    starved,   // no buffer yet
    reading,   // its payload is on the way
    held,      // by the recovery window
    unmarked,  // until its client's record says "awaited"
    replaying, // complete, and not yet its turn
    running,
    writing,
  };
  explicit call_job(export_core& host) : host_(host) {}
  void complete(const call_result& r) override;
  bool is_replay() const noexcept { return (flags & message_flag::replay) != 0; }

  peer_link* link = nullptr;
  client_ref owner;
  phase where = phase::starved;
  bool dropped = false;   // its payload was not wanted: a repetition
  bool in_line = false;   // among its client's replays
  bool may_be_early = false;
  bool has_pull = false;
  bool has_push = false;
  bool unknown_op = false;
  chunk pull;
  chunk push;
  std::optional<protection_fault> damage;  // of its payload
  std::uint64_t previous = 0;    // of a replay: transno of the one before it
  std::uint32_t deadline_ms = 0;  // from deadline_from_ns; 0: none
  std::uint64_t deadline_from_ns = 0;
  std::uint64_t began_ns = 0;    // its execution; 0: not executed
  mutable_byte_span in_buffer;   // of the pool
  mutable_byte_span out_buffer;
  std::vector<std::byte> bytes;  // body, then inline payload
  std::size_t body_size = 0;
  slot_memory::phase phase_before = slot_memory::phase::empty;
  std::uint32_t seq_before = 0;

 private:
  export_core& host_;
};

// A PING whose payload is on its way.
struct moving_ping {
  std::uint64_t number = 0;  // the cookie of its transfers
  std::uint64_t xid = 0;
  std::size_t transfers = 0;
};

// One connection from a client.
class peer_link final : public channel_events {
 public:
  enum class stage : std::uint8_t { hello, auth, connect, active, closing };
  peer_link(export_core& host, std::unique_ptr<endpoint> e)
      : host_(host), wire(std::move(e), *this, 0) {}

 private:
  void on_channel_up() noexcept override;
  void on_channel_message(const message_view& message) noexcept override;
  void on_channel_done(std::uint64_t cookie, bool ok) noexcept override;
  void on_channel_down(down_reason reason) noexcept override;
  void on_channel_flushed() noexcept override;
  export_core& host_;

 public:
  channel wire;
  stage where = stage::hello;
  export_volume* volume = nullptr;
  mac256 proof_wanted{};  // of AUTH
  client_ref client;
  std::uint64_t epoch = 0;
  std::uint64_t features = 0;
  bool waits = false;      // for a standby to take over
  bool said_done = false;  // REPLAY_DONE came on this connection
  std::uint64_t told_committed = 0;  // the highest last_committed sent here
  std::uint64_t noted_ns = 0;        // when the last COMMIT_NOTE was
  std::uint64_t challenged_ns = 0;  // a PING was sent to see whether it still lives; 0: no
  timer_id handshake_timer = 0;
  std::size_t pulls = 0;            // reads that the peer was asked for
  std::vector<call_job*> jobs;
  std::vector<moving_ping> pings;
};

class export_core final : public export_host {
 public:
  export_core(export_options options, scheduler& time);
  ~export_core() override;
  void add_volume(std::string volume, service& s) override;
  void accept(std::unique_ptr<endpoint> peer) override;
  void stop(std::function<void()> done) override;
  void add_standby(std::string volume, const id128& target_id) override;
  std::vector<export_status> status() const override;
  outcome<client_key> evict(std::string_view volume, std::string_view who,
                            std::string_view reason) override;
  bool recovering() const override;

 private:
  friend class peer_link;
  friend class call_job;
  static constexpr std::uint16_t unslotted = 0xffff;
  static constexpr std::uint64_t handshake_ns = 10 * ns_per_s;
  static constexpr std::uint64_t standby_wait_ns = 60 * ns_per_s;
  static constexpr std::uint64_t standby_retry_ms = 1000;
  static constexpr std::uint64_t challenge_ns = 2 * ns_per_s;
  static constexpr std::uint64_t trim_ns = ns_per_s;
  static constexpr std::uint64_t again_later_ms = 20;
  static constexpr std::uint64_t leaving_ms = 100;  // until a session has probably been forgotten
  static constexpr std::uint64_t note_ns = 20 * ns_per_ms;
  static constexpr std::uint64_t callback_ns = ns_per_s;
  static constexpr std::uint64_t deadline_look_ns = 250 * ns_per_ms;
  static constexpr std::size_t pings_max = 8;  // of one connection, that move a payload
  static constexpr std::uint64_t unmark_ns = 60 * ns_per_s;

  // export.cc
  void link_message(peer_link& link, const message_view& message);
  void link_done(peer_link& link, std::uint64_t cookie);
  void link_down(peer_link& link);
  void link_flushed(peer_link& link);
  void reap();
  void close_link(peer_link& link, down_reason reason);
  void drop_jobs(peer_link& link);
  void breach(peer_link& link, error_code code, std::string_view text,
              down_reason reason = down_reason::protocol);
  void send_control(peer_link& link, message_type type, byte_span body, std::uint64_t xid);
  void send_status(peer_link& link, message_type type, error_code status);
  std::uint64_t tell_committed(peer_link& link);
  void check_stopped();
  void schedule_trim();

  // export_volume.cc
  export_volume* volume_named(std::string_view name) const;
  client_ref loaded_client(export_volume& v, client_record& r);
  void advise(export_volume& v);
  export_status status_of(const export_client& c) const;

  // export_connect.cc
  void take_hello(peer_link& link, const message_view& message);
  void take_auth(peer_link& link, const message_view& message);
  void take_connect(peer_link& link, const message_view& message);
  bool refused_at_once(peer_link& link, const client_ref& c, const connect_body& body);
  bool went_back(peer_link& link, const connect_body& body);
  void connect_afresh(peer_link& link, const client_ref& c);
  void connect_known(peer_link& link, const client_ref& c, const connect_body& body);
  void connect_unknown(peer_link& link, const connect_body& body);
  void challenge(peer_link& link, const client_ref& old);
  void attach(peer_link& link, const client_ref& c);
  void say_verdict(peer_link& link, connect_verdict verdict);
  void say_evicted(peer_link& link, std::uint64_t kept_through, std::string_view text);
  void say_standby(peer_link& link);
  void say_later(peer_link& link, connect_verdict verdict, std::uint64_t retry_ms,
                 std::string_view text);
  void send_ack(peer_link& link, const connect_ack_body& ack);
  void remembered(const client_ref& c, error_code status);
  void take_goodbye(peer_link& link, const message_view& message);

  // export_window.cc
  void open_window(export_volume& v);
  void window_expired(export_volume& v);
  void check_window(export_volume& v);
  void end_window(export_volume& v);
  void take_replay_done(peer_link& link);
  std::uint64_t window_left_ms(const export_volume& v) const;

  // export_client.cc
  void heard(peer_link& link) noexcept;
  void schedule_look();
  void look_after(const client_ref& c);
  bool holds_something(const export_client& c) const;
  bool another_is_heard(const export_client& c) const;
  bool needs_mark(const call_job& job) const;
  void await_mark(call_job& job);
  void marked(const client_ref& c, error_code status);
  void write_off(const client_ref& c, std::string_view reason);
  void leave(const client_ref& c);
  void check_leaving(const client_ref& c);
  void forgotten(const client_ref& c, error_code status);

  // export_call.cc
  void take_call(peer_link& link, const message_view& message);
  std::string_view refuse_call(const peer_link& link, const message_view& message) const;
  void fill_job(call_job& job, peer_link& link, const message_view& message);
  bool is_repetition(const call_job& job) const;
  bool give_buffers(call_job& job);
  void begin(call_job& job);
  void serve_starved();
  void ready(call_job& job);
  void take_mutation(call_job& job);
  void hold(call_job& job);
  void execute(call_job& job);
  call_job& new_job();
  void release(call_job& job);
  void detach(call_job& job);
  void attach_job(call_job& job, peer_link& link);

  // export_replay.cc
  void line_up(call_job& job);
  void leave_line(call_job& job);
  std::uint64_t executed_through(const export_client& c) const;
  void next_replay(const client_ref& c);
  void judge_damaged(call_job& job);
  void judge_replay(call_job& job);
  void replay_ended(call_job& job, const call_result& r);

  // export_reply.cc
  slot_memory& slot_of(export_client& c, std::uint16_t slot);
  void repeat_answer(call_job& job, const slot_memory& s);
  void finish(call_job& job, const call_result& r);
  void record(call_job& job, const call_result& r);
  void answer(call_job& job, const call_result& r);
  bool take_protection(call_job& job, const message_view& message);
  void check_payload(call_job& job);
  void answer_damage(call_job& job);
  void answer_status(call_job& job, error_code status, std::uint64_t transno);
  std::uint32_t estimate_ms(const call_job& job) const;

  // export_locks.cc
  void lock_news(export_volume& v, const client_key& key);
  void send_callbacks(export_client& c);
  void repeat_callbacks(export_volume& v);
  void take_callback_ack(peer_link& link, const message_view& message);

  // export_ping.cc
  void take_ping(peer_link& link, const message_view& message);
  bool ping_moved(peer_link& link, std::uint64_t cookie);
  void forget_pings(peer_link& link);
  void give_back_ping_memory();

  // export_notice.cc
  void take_extension(call_job& job, const message_view& message);
  void look_at_deadlines();
  bool deadline_near(const call_job& job) const;
  void send_early_reply(call_job& job);
  void send_notes(export_volume& v);

  export_options options_;
  scheduler& time_;
  std::vector<std::unique_ptr<export_volume>> volumes_;
  std::vector<std::unique_ptr<peer_link>> links_;
  std::vector<std::unique_ptr<call_job>> jobs_;
  std::vector<call_job*> free_jobs_;
  buffer_pool buffers_;
  std::deque<call_job*> starved_;
  mutable_byte_span ping_sink_;    // of the pool, while the payload of a PING is moved
  mutable_byte_span ping_source_;  // likewise; zeros
  std::size_t moving_pings_ = 0;
  std::uint64_t next_ping_ = 1;
  std::size_t running_ = 0;
  timer_id trim_timer_ = 0;
  timer_id look_timer_ = 0;      // after the clients
  timer_id deadline_timer_ = 0;  // while calls with a deadline are here
  bool stopping_ = false;
  std::function<void()> stop_done_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // posted calls look at it
};

}  // namespace tangelo
