#include "rdma/loop/loop_side.h"

#include "base/check.h"

namespace tangelo {

loop_side::loop_side(loop_network& network, std::string peer)
    : network_(network), peer_name_(std::move(peer)) {}

void loop_side::later(void (loop_side::*step)()) {
  network_.time_.post([self = shared_from_this(), step] { ((*self).*step)(); });
}

void loop_side::start(endpoint_events& events) {
  CHECK(events_ == nullptr);
  events_ = &events;
  if (phase_ != phase::idle) return;
  phase_ = phase::connecting;
  if (address_.empty()) {
    later(&loop_side::came_up);
  } else {
    network_.time_.call_after(network_.delay_ns(),
                              [self = shared_from_this()] { self->find_listener(); });
  }
}

void loop_side::came_up() {
  if (phase_ != phase::connecting) return;
  phase_ = phase::up;
  if (events_ != nullptr) events_->on_up();
  drain();
}

bool loop_side::room(std::size_t frames) const noexcept {
  return in_flight_ + frames <= network_.options_.frames_in_flight_max;
}

void loop_side::put(loop_frame frame) {
  const std::shared_ptr<loop_side> peer = peer_.lock();
  if (peer == nullptr) return;
  ++in_flight_;
  stats_.bytes_sent += frame.bytes.size();
  const std::uint64_t soonest = network_.time_.now_ns() + network_.delay_ns();
  if (soonest > peer->last_arrival_ns_) peer->last_arrival_ns_ = soonest;
  const auto carried = std::make_shared<loop_frame>(std::move(frame));
  network_.time_.call_at(peer->last_arrival_ns_,
                         [peer, carried] { peer->arrive(std::move(*carried)); });
}

send_status loop_side::send(byte_span message) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (message.size() > wire_message_size_max ||
      message.size() < wire_header_size + wire_extension_size)
    return send_status::io_error;
  const std::size_t eager = placement_.eager_count();
  if (!room(1 + eager)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  ++stats_.messages_sent;
  put({loop_frame::kind::message, {}, {message.begin(), message.end()}});
  for (std::size_t i = 0; i < eager; ++i)
    if (exposed_memory* e = placement_.eager(i)) put_bulk(*e);
  placement_.clear_eager();
  return send_status::sent;
}

void loop_side::put_bulk(exposed_memory& e) {
  e.sent = true;
  const byte_span bytes = e.memory.first(e.what.size);
  chunk c = e.what;
  c.argument = 0;
  put({loop_frame::kind::data, c, {bytes.begin(), bytes.end()}});
}

void loop_side::expose(const chunk& c, mutable_byte_span memory, bool eager) {
  CHECK(memory.size() >= c.size);
  placement_.expose(c, memory, eager);
}

void loop_side::retract(std::uint64_t tag) { placement_.retract(tag); }

send_status loop_side::write_remote(const chunk& c, byte_span from, std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (from.size() > c.size || from.empty()) return send_status::io_error;
  if (!room(1)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  chunk part = c;
  part.size = static_cast<std::uint32_t>(from.size());
  part.argument = 0;
  put({loop_frame::kind::data, part, {from.begin(), from.end()}});
  network_.time_.post([self = shared_from_this(), cookie] {
    if (self->phase_ == phase::up && self->events_ != nullptr) self->events_->on_done(cookie, true);
  });
  return send_status::sent;
}

send_status loop_side::read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (!room(1)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  switch (placement_.begin_read(c, into, cookie)) {
    using enum placement::read_step;
    case refused: return send_status::io_error;
    case await_bytes:
      if (held_) {
        held_ = false;
        later(&loop_side::drain);
      }
      return send_status::sent;
    case ask_peer: put({loop_frame::kind::pull, c, {}}); return send_status::sent;
    case nothing_to_do:
      network_.time_.post([self = shared_from_this(), cookie] {
        if (self->phase_ == phase::up && self->events_ != nullptr)
          self->events_->on_done(cookie, true);
      });
      return send_status::sent;
  }
  return send_status::io_error;
}

void loop_side::close(down_reason reason) {
  if (phase_ == phase::closing || phase_ == phase::flushed) return;
  if (phase_ == phase::up || phase_ == phase::connecting) put({loop_frame::kind::end, {}, {}});
  phase_ = phase::closing;
  reason_ = reason;
  inbox_.clear();
  later(&loop_side::say_down);
}

void loop_side::cut() {
  if (phase_ != phase::up) return;
  if (const std::shared_ptr<loop_side> peer = peer_.lock()) peer->close(down_reason::peer_closed);
  close(down_reason::peer_closed);
}

void loop_side::orphan() {
  events_ = nullptr;
  close(down_reason::admin);
}

void loop_side::say_down() {
  if (events_ != nullptr) events_->on_down(reason_);
  later(&loop_side::say_flushed);
}

void loop_side::say_flushed() {
  phase_ = phase::flushed;
  if (events_ != nullptr) events_->on_flushed();
}

void loop_side::arrive(loop_frame frame) {
  inbox_.push_back(std::move(frame));
  drain();
}

void loop_side::drain() {
  if (draining_) return;
  const std::shared_ptr<loop_side> self = shared_from_this();
  draining_ = true;
  while (phase_ == phase::up && !held_ && !inbox_.empty()) {
    loop_frame frame = std::move(inbox_.front());
    inbox_.pop_front();
    take(frame);
    // A frame that waits for its read_remote goes back; it was counted already.
    if (held_ && phase_ == phase::up) inbox_.push_front(std::move(frame));
  }
  draining_ = false;
}

void loop_side::frame_taken() {
  const std::shared_ptr<loop_side> peer = peer_.lock();
  if (peer == nullptr || peer->in_flight_ == 0) return;
  --peer->in_flight_;
  if (peer->refused_) peer->later(&loop_side::say_sendable);
}

void loop_side::say_sendable() {
  if (!refused_ || phase_ != phase::up) return;
  refused_ = false;
  if (events_ != nullptr) events_->on_sendable();
}

void loop_side::take(const loop_frame& frame) {
  using kind = loop_frame::kind;
  if (frame.what == kind::end) return close(down_reason::peer_closed);
  if (frame.what == kind::data && placement_.awaits_read(frame.target)) {
    held_ = true;
    return;
  }
  frame_taken();
  switch (network_.next_fate()) {
    case loop_network::fate::deliver: break;
    case loop_network::fate::lose:
      // Bulk is never lost within a living connection: an answer would vouch for it.
      return frame.what == kind::data ? cut() : void();
    case loop_network::fate::cut: return cut();
  }
  stats_.bytes_received += frame.bytes.size();
  switch (frame.what) {
    case kind::message: return take_message(frame);
    case kind::data:
      if (!take_data(frame)) close(down_reason::protocol);
      return;
    case kind::pull: return take_pull(frame);
    case kind::end: return;
  }
}

void loop_side::take_message(const loop_frame& frame) {
  std::uint32_t size = 0;
  const bool whole = peek_size(frame.bytes, size) == parse_fault::none &&
                     size == frame.bytes.size() && placement_.announce(frame.bytes);
  if (!whole) return close(down_reason::protocol);
  ++stats_.messages_received;
  if (events_ != nullptr) events_->on_message(frame.bytes);
}

bool loop_side::take_data(const loop_frame& frame) {
  const placement_target t = placement_.find_target(frame.target);
  if (t.how == placement_target::kind::refused || t.how == placement_target::kind::wait)
    return false;
  if (frame.bytes.size() != frame.target.size) return false;
  if (t.how == placement_target::kind::place) copy_bytes(t.memory, frame.bytes);
  if (!t.is_read) return true;
  const std::uint64_t cookie = placement_.end_read(frame.target.transfer_tag);
  if (events_ != nullptr) events_->on_done(cookie, true);
  return true;
}

void loop_side::take_pull(const loop_frame& frame) {
  exposed_memory* e = placement_.pulled(frame.target);
  if (e == nullptr) return close(down_reason::protocol);
  put_bulk(*e);
}

}  // namespace tangelo
