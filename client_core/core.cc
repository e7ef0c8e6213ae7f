#include "client_core/core.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "protocol/arena.h"
#include "protocol/core_metrics.h"
#include "protocol/kept_trailers.h"
#include "protocol/op_state.h"
#include "protocol/policy.h"
#include "protocol/records.h"

namespace tangelo {

namespace {

static_assert(static_cast<std::uint32_t>(down_reason::auth) == refused_by_server);

constexpr std::size_t upcalls_per_turn = 256;

std::uint64_t back_off_max_of(const policy_record& record) noexcept {
  const std::uint32_t seconds = read_policy(record).reconnect_delay;
  return seconds == policy_off ? session_timings{}.back_off_max_ns : seconds * ns_per_s;
}

template <std::size_t N>
void store_text(std::array<atomic_u64, N>& to, std::string_view text) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    std::uint64_t word = 0;
    const std::size_t at = i * sizeof word;
    if (at < text.size())
      std::memcpy(&word, text.data() + at, std::min(sizeof word, text.size() - at));
    to[i].store(word, std::memory_order_relaxed);
  }
}

session_options options_of(const core::wiring& w, std::vector<std::string> addresses,
                           std::string volume, bool evicted) {
  session_options o;
  o.client_id = w.arena.watchdog.client_id;
  o.incarnation = w.arena.watchdog.incarnation;
  o.core_generation = static_cast<std::uint32_t>(w.generation);
  o.volume = std::move(volume);
  o.addresses = std::move(addresses);
  // What the core before this one knew of the server: only so can "forgotten" be told from "new".
  // After an eviction nobody knows anything.
  if (!evicted) {
    o.last_boot_generation = w.shared.core.boot_generation.load(std::memory_order_relaxed);
    o.last_committed = w.shared.core.last_committed.load(std::memory_order_relaxed);
  }
  o.timings.back_off_max_ns = back_off_max_of(w.arena.watchdog.policy);
  o.shared_secret = w.shared_secret;
  o.cursor_by_boot = w.cursor_by_boot;
  o.seed = w.arena.watchdog.incarnation ^ w.generation;
  return o;
}

// The sequence of the record that a core published last, 0 if none or damaged.
template <class Slot, class Cell>
std::uint64_t sequence_of(const Slot& slot, Cell cell) noexcept {
  control_word word;
  return copy_record(slot, word, cell) && word.state != 0 ? cell.sequence : 0;
}

}  // namespace

core::core(const wiring& w, std::vector<std::string> addresses, std::string volume)
    : w_(w),
      protected_(read_cache_policy(w.arena.watchdog.policy).protection),
      up_(w_.shared.up), down_(w_.shared.down), running_(op_slot_count, false) {
  up_.attach();
  down_.attach();
  const core_page& page = w_.shared.core;
  const std::uint64_t evicted = sequence_of(page.eviction, eviction_cell{});
  if (evicted > w_.arena.evictions_done.load(std::memory_order_acquire)) eviction_ = evicted;
  const std::uint64_t lost = sequence_of(page.replay_failure, replay_failure_cell{});
  if (lost > w_.arena.replay_failures_done.load(std::memory_order_acquire)) loss_ = lost;
  session_ = client_session::make(
      options_of(w_, std::move(addresses), std::move(volume), eviction_ != 0), w_.fabric, w_.time,
      *this, *this);
  tell_status();
}

void core::start() {
  start_waits_ = eviction_ != 0;
  if (!start_waits_) session_->start();
}

bool core::turn() noexcept {
  up_.awake();
  look_at_front_end();
  for (std::size_t n = 0; n < upcalls_per_turn; ++n) {
    const std::optional<ring_entry> hint = up_.pop();
    if (!hint) return false;
    take_upcall(*hint);
  }
  return true;
}

void core::beat() noexcept {
  w_.shared.core.beats.fetch_add(1, std::memory_order_release);
  w_.shared.core.lease_until_ns.store(session_->lease_until_ns(), std::memory_order_relaxed);
  session_->set_back_off_max_ns(back_off_max_of(w_.arena.watchdog.policy));
  obey_log_policy(w_.arena.watchdog.policy);
  tell_metrics(session_->status());
  look_at_front_end();
}

void core::ring_if_needed() noexcept {
  if (down_.take_wake() || news_) w_.ring_front_end();
  news_ = false;
}

bool core::is_mine(std::uint32_t index, std::uint32_t sequence) const noexcept {
  const control_word word = control_of(w_.arena.ops[index]);
  const auto state = static_cast<op_state>(word.state);
  return (state == op_state::in_progress || state == op_state::given_up) &&
         word.generation == (w_.generation & 0xffffff) && word.sequence == sequence;
}

// The record is read-only for us and does not change while it is offered, so its body is sent from
// where it is.
void core::take_upcall(ring_entry hint) noexcept {
  const std::uint32_t index = hint.index;
  if (index >= op_slot_count || !is_mine(index, hint.sequence) || running_[index]) return;
  if (eviction_ != 0) return end_evicted(index);
  const op_slot& slot = w_.arena.ops[index];
  const op_cell& cell = slot.cells[control_of(slot).cell];
  CHECK(has_sane_size(cell) && crc32c(covered_bytes(cell)) == cell.crc);
  CHECK(is_valid(cell.payload_in) && is_valid(cell.payload_out));
  outbound_call call;
  call.slot = hint.index;
  call.slot_seq = cell.slot_seq;
  call.xid = cell.xid;
  call.op = cell.op;
  const std::uint32_t attempts = slot.attempts.load(std::memory_order_relaxed);
  call.attempt = static_cast<std::uint16_t>(attempts < 0xffff ? attempts : 0xffff);
  call.flags = cell.call_flags;
  call.body = {cell.body, cell.body_size};
  if (cell.payload_in.kind != slot_class::none)
    call.payload_in = slot_bytes(w_.shared, cell.payload_in);
  if (cell.payload_out.kind != slot_class::none)
    call.payload_out = slot_bytes(w_.shared, cell.payload_out);
  if (protected_ && cell.op == opcode::write)
    call.protection = trailer_of(w_.arena.trailers, cell.payload_in);
  if (protected_ && cell.op == opcode::read) call.check = {cell.inode, cell.offset};
  running_[index] = true;
  session_->submit(call);
}

void core::on_reply(const inbound_reply& reply) noexcept {
  downcall_cell cell;
  cell.slot_seq = reply.slot_seq;
  cell.status = static_cast<std::uint16_t>(reply.status);
  cell.transno = reply.transno;
  cell.last_committed = reply.last_committed;
  cell.payload_size = static_cast<std::uint32_t>(reply.payload_size);
  if (reply.body.size() <= answer_size_max) {
    cell.body_size = static_cast<std::uint16_t>(copy_bytes(cell.body, reply.body));
  } else {
    log_error("op {}: the server's answer has {} bytes, {} is the most", reply.slot,
              reply.body.size(), answer_size_max);
    cell.status = static_cast<std::uint16_t>(error_code::io);
  }
  w_.shared.core.lease_until_ns.store(session_->lease_until_ns(), std::memory_order_relaxed);
  if (reply.fault) tell_metrics(session_->status());
  write_downcall(reply.slot, cell);
}

void core::write_downcall(std::uint32_t index, downcall_cell& cell) noexcept {
  CHECK(index < op_slot_count);
  running_[index] = false;
  answers_taken_ = false;
  news_ = false;
  cell.index = index;
  cell.generation = w_.generation;
  publish(w_.shared.downcalls[index], cell, static_cast<std::uint8_t>(downcall_state::written),
          static_cast<std::uint32_t>(w_.generation), cell.slot_seq);
  CHECK(down_.push({static_cast<std::uint16_t>(index), cell.slot_seq}));
}

void core::on_import_state(import_state state) noexcept {
  log_info("import: {}", name_of(state));
  places_known_ = false;
  tell_status();
  w_.ring_front_end();  // it offers ops only while the path is up
}

void core::on_committed(std::uint64_t transno) noexcept {
  w_.shared.core.last_committed.store(transno, std::memory_order_release);
  news_ = true;
}

void core::tell_status() noexcept {
  const session_status s = session_->status();
  core_page& page = w_.shared.core;
  page.import_state.store(static_cast<std::uint32_t>(s.state), std::memory_order_relaxed);
  page.connection_count.store(s.connection_count, std::memory_order_relaxed);
  page.boot_generation.store(s.boot_generation, std::memory_order_relaxed);
  page.last_committed.store(s.last_committed, std::memory_order_relaxed);
  page.sending.store(static_cast<std::uint32_t>(s.sending), std::memory_order_relaxed);
  page.delayed.store(static_cast<std::uint32_t>(s.delayed), std::memory_order_relaxed);
  page.last_down_reason.store(static_cast<std::uint32_t>(s.last_reason),
                              std::memory_order_relaxed);
  store_text(page.address, s.address);
  store_text(page.last_text, s.last_text);
  page.lease_until_ns.store(s.lease_until_ns, std::memory_order_relaxed);
  // An op ends the idling.
  const bool up = s.state == import_state::full || s.state == import_state::idle;
  page.path_up.store(up ? 1 : 0, std::memory_order_release);
  tell_metrics(s);
}

void core::tell_metrics(const session_status& s) noexcept {
  core_metrics& m = metrics_of(w_.shared);
  const auto grown = [](atomic_u64& total, std::uint64_t& told, std::uint64_t now) noexcept {
    total.store(total.load(std::memory_order_relaxed) + now - told, std::memory_order_relaxed);
    told = now;
  };
  grown(m.calls_resent, told_.resent, s.resent);
  grown(m.replays, told_.replayed, s.replayed);
  grown(m.replays_refused, told_.replays_refused, s.replays_refused);
  grown(m.stale_replies, told_.stale_replies, s.stale_replies);
  grown(m.log_lines_dropped, told_.log_lines_dropped, log_dropped_count());
  grown(m.mismatches_healed, told_.mismatches_healed, s.mismatches_healed);
  grown(m.mismatches_reported, told_.mismatches_reported, s.mismatches_reported);
  tell_mismatch(s.last_mismatch);
  const bool up = s.state == import_state::full;
  const bool ends = s.state == import_state::idle || s.state == import_state::closed;
  const bool lost = told_.up && !up && !ends;
  std::uint64_t before = 0;
  grown(m.connections_lost, before, lost ? 1 : 0);
  told_.up = up;
}

// The last one stays, also of a core that is gone.
void core::tell_mismatch(const protection_fault& fault) noexcept {
  if (fault.kind == protection_kind{} || fault == told_.mismatch) return;
  told_.mismatch = fault;
  mismatch_cell cell;
  cell.kind = static_cast<std::uint32_t>(fault.kind);
  cell.hop = static_cast<std::uint32_t>(fault.hop);
  cell.expected = fault.expected;
  cell.found = fault.found;
  cell.inode = fault.inode;
  cell.block = fault.block;
  publish(w_.shared.core.mismatch, cell, 1, static_cast<std::uint32_t>(w_.generation), 0);
}

}  // namespace tangelo
