// The receiving half of tcp_connection. Bytes are staged until a whole message is there; behind a
// DATA frame the bulk follows, of which the staged part is copied and the rest received in place.
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "rdma/tcp/connection.h"

namespace tangelo {

namespace {

constexpr std::size_t peek_byte_size = 16;
constexpr std::size_t type_offset = 5;

// A DATA or PULL_REQUEST frame has exactly one chunk and no body.
bool take_frame(byte_span message, chunk& out) noexcept {
  message_view view;
  if (parse_message(message, view) != parse_fault::none) return false;
  if (view.chunk_count != 1 || message.size() != frame_header_size) return false;
  out = view.chunks[0];
  return out.size != 0;
}

}  // namespace

void tcp_connection::arm_receive() {
  if (phase_ != phase::up || receiving_ || held_) return;
  if (staging_ == nullptr) staging_.reset(new std::byte[staging_size]);
  io_uring_sqe* sqe = loop_.entry(&received_);
  if (placing_ && !placing_into_.empty()) {
    io_uring_prep_recv(sqe, fd_.get(), placing_into_.data(), placing_into_.size(), MSG_WAITALL);
  } else {
    if (staged_begin_ != 0) {
      std::memmove(staging_.get(), staging_.get() + staged_begin_, staged_end_ - staged_begin_);
      staged_end_ -= staged_begin_;
      staged_begin_ = 0;
    }
    io_uring_prep_recv(sqe, fd_.get(), staging_.get() + staged_end_, staging_size - staged_end_, 0);
  }
  io_uring_sqe_set_data(sqe, &received_);
  receiving_ = true;
  ++ops_;
}

void tcp_connection::on_received(int res, std::uint32_t) noexcept {
  op_ended();
  receiving_ = false;
  if (phase_ == phase::closing) {
    try_flush();
    return;
  }
  if (res <= 0 && res != -EAGAIN && res != -EINTR) {
    fail(res == 0 ? down_reason::peer_closed : reason_of_errno(-res));
    return;
  }
  const std::size_t got = res > 0 ? static_cast<std::size_t>(res) : 0;
  stats_.bytes_received += got;
  if (placing_ && !placing_into_.empty()) {
    placing_into_ = placing_into_.subspan(got);
    placing_left_ -= got;
    if (placing_left_ == 0) end_placing();
  } else {
    staged_end_ += got;
  }
  parse();
  arm_receive();
}

void tcp_connection::parse() {
  while (phase_ == phase::up && !held_ && parse_one()) {
  }
  if (staged_begin_ == staged_end_) staged_begin_ = staged_end_ = 0;
}

bool tcp_connection::parse_one() {
  if (placing_) {
    place_staged();
    return !placing_;
  }
  const byte_span staged{staging_.get() + staged_begin_, staged_end_ - staged_begin_};
  if (staged.size() < peek_byte_size) return false;
  std::uint32_t size = 0;
  if (peek_size(staged, size) != parse_fault::none) {
    fail(down_reason::protocol);
    return false;
  }
  if (staged.size() < size) return false;
  const byte_span message = staged.first(size);
  staged_begin_ += size;
  const auto type = static_cast<message_type>(message[type_offset]);
  if (type == message_type::data) {
    take_data(message);
  } else if (type == message_type::pull_request) {
    take_pull_request(message);
  } else if (!placement_.announce(message)) {
    fail(down_reason::protocol);
  } else {
    ++stats_.messages_received;
    if (events_ != nullptr) events_->on_message(message);
  }
  return true;
}

void tcp_connection::take_data(byte_span message) {
  chunk c;
  if (!take_frame(message, c) || !begin_placing(c)) fail(down_reason::protocol);
}

bool tcp_connection::begin_placing(const chunk& c) {
  const placement_target t = placement_.find_target(c);
  switch (t.how) {
    using enum placement_target::kind;
    case refused: return false;
    case wait:
      held_ = true;
      held_chunk_ = c;
      return true;
    case place:
    case drop:
      placing_ = true;
      placing_is_read_ = t.is_read;
      placing_tag_ = c.transfer_tag;
      placing_into_ = t.memory;
      placing_left_ = c.size;
      return true;
  }
  return false;
}

void tcp_connection::place_staged() {
  const std::size_t staged = staged_end_ - staged_begin_;
  const std::size_t n = staged < placing_left_ ? staged : placing_left_;
  if (!placing_into_.empty()) {
    copy_bytes(placing_into_, {staging_.get() + staged_begin_, n});
    placing_into_ = placing_into_.subspan(n);
  }
  staged_begin_ += n;
  placing_left_ -= n;
  if (staged_begin_ == staged_end_) staged_begin_ = staged_end_ = 0;
  if (placing_left_ == 0) end_placing();
}

void tcp_connection::end_placing() {
  placing_ = false;
  if (!placing_is_read_) return;
  const std::uint64_t cookie = placement_.end_read(placing_tag_);
  if (events_ != nullptr) events_->on_done(cookie, true);
}

void tcp_connection::take_pull_request(byte_span message) {
  chunk c;
  exposed_memory* e = take_frame(message, c) ? placement_.pulled(c) : nullptr;
  if (e == nullptr || !has_room(1)) {
    fail(down_reason::protocol);
    return;
  }
  e->sent = true;
  push_bulk(message_type::data, e->what, e->memory.first(e->what.size),
            {sent_kind::pulled, e->what.transfer_tag});
  kick();
}

send_status tcp_connection::read_remote(const chunk& c, mutable_byte_span into,
                                        std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (!has_room(1)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  switch (placement_.begin_read(c, into, cookie)) {
    using enum placement::read_step;
    case refused: return send_status::io_error;
    case await_bytes:
      if (held_ && held_chunk_.transfer_tag == c.transfer_tag) later(&tcp_connection::resume);
      return send_status::sent;
    case ask_peer:
      push_bulk(message_type::pull_request, c, {}, {});
      kick();
      return send_status::sent;
    case nothing_to_do:
      ++ops_;
      loop_.post([this, cookie] {
        op_ended();
        if (phase_ == phase::up && events_ != nullptr) events_->on_done(cookie, true);
        try_flush();
      });
      return send_status::sent;
  }
  return send_status::io_error;
}

void tcp_connection::resume() {
  if (phase_ == phase::up && held_) {
    held_ = false;
    if (!begin_placing(held_chunk_)) fail(down_reason::protocol);
    parse();
    arm_receive();
  }
  try_flush();
}

}  // namespace tangelo
