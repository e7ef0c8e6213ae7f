#include "client_core/core.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "protocol/arena.h"
#include "protocol/op_state.h"
#include "protocol/policy.h"
#include "protocol/records.h"

namespace tangelo {

namespace {

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
                           std::string volume) {
  session_options o;
  o.client_id = w.arena.watchdog.client_id;
  o.incarnation = w.arena.watchdog.incarnation;
  o.core_generation = static_cast<std::uint32_t>(w.generation);
  o.volume = std::move(volume);
  o.addresses = std::move(addresses);
  // What the core before this one knew of the server: only so can "forgotten" be told from "new".
  o.last_boot_generation = w.shared.core.boot_generation.load(std::memory_order_relaxed);
  o.last_committed = w.shared.core.last_committed.load(std::memory_order_relaxed);
  o.timings.back_off_max_ns = back_off_max_of(w.arena.watchdog.policy);
  o.seed = w.arena.watchdog.incarnation ^ w.generation;
  return o;
}

}  // namespace

core::core(const wiring& w, std::vector<std::string> addresses, std::string volume)
    : w_(w),
      up_(w_.shared.up),
      down_(w_.shared.down),
      session_(client_session::make(options_of(w, std::move(addresses), std::move(volume)),
                                    w_.fabric, w_.time, *this, *this)),
      running_(op_slot_count, false) {
  up_.attach();
  down_.attach();
  tell_status();
}

bool core::turn() noexcept {
  up_.awake();
  for (std::size_t n = 0; n < upcalls_per_turn; ++n) {
    const std::optional<ring_entry> hint = up_.pop();
    if (!hint) return false;
    take_upcall(*hint);
  }
  return true;
}

void core::beat() noexcept {
  w_.shared.core.beats.fetch_add(1, std::memory_order_release);
  session_->set_back_off_max_ns(back_off_max_of(w_.arena.watchdog.policy));
}

void core::ring_if_needed() noexcept {
  if (down_.take_wake()) w_.ring_front_end();
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
  call.body = {cell.body, cell.body_size};
  if (cell.payload_in.kind != slot_class::none)
    call.payload_in = slot_bytes(w_.shared, cell.payload_in);
  if (cell.payload_out.kind != slot_class::none)
    call.payload_out = slot_bytes(w_.shared, cell.payload_out);
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
  w_.shared.core.last_committed.store(reply.last_committed, std::memory_order_relaxed);
  write_downcall(reply.slot, cell);
}

void core::write_downcall(std::uint32_t index, downcall_cell& cell) noexcept {
  CHECK(index < op_slot_count);
  running_[index] = false;
  cell.index = index;
  cell.generation = w_.generation;
  publish(w_.shared.downcalls[index], cell, static_cast<std::uint8_t>(downcall_state::written),
          static_cast<std::uint32_t>(w_.generation), cell.slot_seq);
  CHECK(down_.push({static_cast<std::uint16_t>(index), cell.slot_seq}));
}

void core::on_import_state(import_state state) noexcept {
  log_info("import: {}", name_of(state));
  tell_status();
  w_.ring_front_end();  // it offers ops only while the path is up
}

// Everything not answered is over: its fate is unknown, the application is told EIO.
void core::on_committed(std::uint64_t) noexcept {}
void core::on_replay_failed(const replay_entry&, error_code) noexcept {}
bool core::settled() const { return true; }

void core::on_evicted(std::uint64_t) noexcept {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < op_slot_count; ++i) {
    if (!running_[i]) continue;
    downcall_cell cell;
    cell.slot_seq = control_of(w_.arena.ops[i]).sequence;
    cell.status = static_cast<std::uint16_t>(error_code::evicted);
    write_downcall(i, cell);
    ++count;
  }
  log_error("evicted by the server: {} operations end with EIO", count);
  w_.time.post([this] { session_->invalidated(); });
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
  page.path_up.store(s.state == import_state::full ? 1 : 0, std::memory_order_release);
}

// commit = sync: an answered mutation is committed, so there is never anything to replay.
bool core::next_replay(std::uint64_t, replay_entry&) { return false; }

bool core::next_open(std::uint64_t after, std::uint64_t& handle, std::uint64_t& inode,
                     std::uint32_t& open_flags) {
  const std::uint32_t end = handles_end();
  for (std::uint64_t i = after == 0 ? 0 : (after & 0xffff) + 1; i < end; ++i) {
    control_word word;
    handle_cell cell;
    if (!copy_record(w_.arena.handles[i], word, cell)) continue;
    if (word.state == static_cast<std::uint8_t>(handle_state::free)) continue;
    if (cell.inode == 0) continue;
    handle = cell.handle;
    inode = cell.inode;
    open_flags = cell.open_flags;
    return true;
  }
  return false;
}

std::uint32_t core::held(std::uint64_t) const {
  const std::uint32_t end = handles_end();
  for (std::uint32_t i = 0; i < end; ++i)
    if (control_of(w_.arena.handles[i]).state == static_cast<std::uint8_t>(handle_state::open))
      return held_state::opens;
  return 0;
}

std::uint32_t core::handles_end() const noexcept {
  return std::min(w_.arena.handles_used_end.load(std::memory_order_acquire), handle_count);
}

}  // namespace tangelo
