#include "rdma/tcp/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

#include "base/check.h"

namespace tangelo {

namespace {

void set_option(int fd, int level, int name, int value) noexcept {
  // Best effort: a socket without one of these is slower or notices a dead peer later.
  (void)::setsockopt(fd, level, name, &value, sizeof value);
}

void set_options(int fd) noexcept {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 3);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace

down_reason reason_of_errno(int errno_value) noexcept {
  switch (errno_value) {
    case ECONNREFUSED: return down_reason::refused;
    case ETIMEDOUT: return down_reason::timeout;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL: return down_reason::unreachable;
    case ECONNRESET:
    case EPIPE: return down_reason::peer_closed;
    case ENETDOWN:
    case ENODEV: return down_reason::device_removed;
    default: return down_reason::local_error;
  }
}

tcp_connection::tcp_connection(loop& l, unique_fd fd, std::string peer) noexcept
    : loop_(l), fd_(std::move(fd)), peer_(std::move(peer)), accepted_(static_cast<bool>(fd_)) {}

tcp_connection::~tcp_connection() { CHECK(ops_ == 0); }

void tcp_connection::later(void (tcp_connection::*step)()) {
  ++ops_;
  loop_.post([this, step] {
    op_ended();
    (this->*step)();
  });
}

void tcp_connection::start(endpoint_events& events) {
  CHECK(events_ == nullptr);
  events_ = &events;
  if (accepted_) {
    phase_ = phase::connecting;
    later(&tcp_connection::came_up);
  }
}

void tcp_connection::lookup_began() noexcept { ++ops_; }

void tcp_connection::lookup_ended(std::vector<socket_address> found) noexcept {
  op_ended();
  if (phase_ == phase::closing) {
    try_flush();
    return;
  }
  phase_ = phase::connecting;
  addresses_ = std::move(found);
  if (addresses_.empty()) return fail(down_reason::unreachable);
  connect_to_next();
}

void tcp_connection::connect_to_next() {
  socket_address& to = addresses_[tried_++];
  fd_.reset(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd_) {
    if (tried_ < addresses_.size()) return connect_to_next();
    return fail(reason_of_errno(errno));
  }
  io_uring_sqe* sqe = loop_.entry(&connected_);
  io_uring_prep_connect(sqe, fd_.get(), to.raw(), to.size);
  io_uring_sqe_set_data(sqe, &connected_);
  ++ops_;
}

void tcp_connection::on_connected(int res, std::uint32_t) noexcept {
  op_ended();
  if (phase_ == phase::closing) return try_flush();
  if (res == 0) return came_up();
  if (tried_ < addresses_.size()) return connect_to_next();
  fail(reason_of_errno(-res));
}

void tcp_connection::came_up() {
  if (phase_ != phase::connecting) {
    try_flush();
    return;
  }
  set_options(fd_.get());
  phase_ = phase::up;
  if (events_ != nullptr) events_->on_up();
  arm_receive();
}

void tcp_connection::orphan() noexcept {
  events_ = nullptr;
  orphaned_ = true;
  if (phase_ == phase::flushed) {
    delete this;
    return;
  }
  close(down_reason::admin);
}

void tcp_connection::close(down_reason reason) noexcept {
  if (phase_ == phase::closing || phase_ == phase::flushed) return;
  phase_ = phase::closing;
  reason_ = reason;
  if (fd_) {
    // In this order: what was prepared to be sent goes out, then the end, then the cancel.
    io_uring_sqe* sqe = loop_.entry(&ended_);
    io_uring_prep_shutdown(sqe, fd_.get(), SHUT_RDWR);
    io_uring_sqe_set_data(sqe, &ended_);
    sqe = loop_.entry(&ended_);
    io_uring_prep_cancel_fd(sqe, fd_.get(), IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data(sqe, &ended_);
    ops_ += 2;
  }
  later(&tcp_connection::say_down);
}

void tcp_connection::on_ended(int, std::uint32_t) noexcept {
  op_ended();
  try_flush();
}

void tcp_connection::say_down() {
  down_said_ = true;
  if (events_ != nullptr) events_->on_down(reason_);
  try_flush();
}

void tcp_connection::try_flush() noexcept {
  if (phase_ != phase::closing || ops_ != 0 || !down_said_) return;
  phase_ = phase::flushed;
  fd_.reset();
  if (orphaned_) {
    delete this;
    return;
  }
  if (events_ != nullptr) events_->on_flushed();  // last: the owner may destroy us
}

bool tcp_connection::has_room(std::size_t frames) const noexcept {
  return queue_.has_room(frames * frame_header_size, frames);
}

send_status tcp_connection::send(byte_span message) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (message.size() > wire_message_size_max ||
      message.size() < wire_header_size + wire_extension_size)
    return send_status::io_error;
  const std::size_t eager = placement_.eager_count();
  if (!queue_.has_room(message.size() + eager * frame_header_size, 1 + eager)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  queue_.push(message, {}, {});
  ++stats_.messages_sent;
  for (std::size_t i = 0; i < eager; ++i) {
    exposed_memory* e = placement_.eager(i);
    if (e == nullptr) continue;
    e->sent = true;
    push_bulk(message_type::data, e->what, e->memory.first(e->what.size),
              {sent_kind::pulled, e->what.transfer_tag});
  }
  placement_.clear_eager();
  kick();
  return send_status::sent;
}

void tcp_connection::push_bulk(message_type type, const chunk& c, byte_span payload,
                               sent_item what) {
  chunk sent = c;
  sent.argument = 0;
  queue_.push(build_frame(type, sent), payload, what);
}

void tcp_connection::expose(const chunk& c, mutable_byte_span memory, bool eager) {
  CHECK(memory.size() >= c.size);
  placement_.expose(c, memory, eager);
}

void tcp_connection::retract(std::uint64_t tag) {
  // Its bytes may be part of a sendmsg that goes on with later ones; the peer has answered, so it
  // has them, so the kernel is done with this memory.
  placement_.retract(tag);
  if (placing_ && placing_tag_ == tag) close(down_reason::protocol);
}

send_status tcp_connection::write_remote(const chunk& c, byte_span from, std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (from.size() > c.size || from.empty()) return send_status::io_error;
  if (!has_room(1)) {
    refused_ = true;
    return send_status::no_buffers;
  }
  chunk part = c;
  part.size = static_cast<std::uint32_t>(from.size());
  push_bulk(message_type::data, part, from, {sent_kind::written, cookie});
  kick();
  return send_status::sent;
}

bool tcp_connection::send_is_unsubmitted() const noexcept {
  return static_cast<int>(send_position_ - loop_.ring()->sq.sqe_head) >= 0;
}

void tcp_connection::kick() noexcept {
  if (reaping_ || phase_ != phase::up) return;
  if (sending_) {
    if (send_is_unsubmitted()) send_header_.msg_iovlen = queue_.gather();
    return;
  }
  if (queue_.empty()) return;
  send_header_.msg_iovlen = queue_.gather();
  send_header_.msg_iov = queue_.entries();
  io_uring_sqe* sqe = loop_.entry(&sent_);
  io_uring_prep_sendmsg(sqe, fd_.get(), &send_header_, MSG_NOSIGNAL | MSG_WAITALL);
  io_uring_sqe_set_data(sqe, &sent_);
  send_position_ = loop_.ring()->sq.sqe_tail - 1;
  sending_ = true;
  ++ops_;
}

void tcp_connection::on_sent(int res, std::uint32_t) noexcept {
  op_ended();
  sending_ = false;
  if (phase_ == phase::closing) {
    try_flush();
    return;
  }
  if (res < 0 && res != -EAGAIN && res != -EINTR) {
    fail(reason_of_errno(-res));
    return;
  }
  const std::size_t taken = res > 0 ? static_cast<std::size_t>(res) : 0;
  stats_.bytes_sent += taken;
  reaping_ = true;
  queue_.advance(taken);
  sent_item done;
  while (queue_.pop_done(done)) {
    if (done.kind == sent_kind::written && events_ != nullptr && phase_ == phase::up)
      events_->on_done(done.id, true);
  }
  reaping_ = false;
  if (refused_ && phase_ == phase::up) say_sendable();
  kick();
}

void tcp_connection::say_sendable() {
  refused_ = false;
  if (events_ != nullptr) events_->on_sendable();
}

}  // namespace tangelo
