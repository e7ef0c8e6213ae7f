#include "rdma/tcp/tcp_provider.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "rdma/tcp/connection.h"

namespace tangelo {

namespace {

class tcp_endpoint final : public endpoint {
 public:
  explicit tcp_endpoint(tcp_connection* body) : body_(body) {}
  ~tcp_endpoint() override { body_->orphan(); }
  void start(endpoint_events& events) override { body_->start(events); }
  send_status send(byte_span message) override { return body_->send(message); }
  void expose(const chunk& c, mutable_byte_span memory, bool eager) override {
    body_->expose(c, memory, eager);
  }
  void retract(std::uint64_t tag) override { body_->retract(tag); }
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) override {
    return body_->read_remote(c, into, cookie);
  }
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie) override {
    return body_->write_remote(c, from, cookie);
  }
  void close(down_reason reason) noexcept override { body_->close(reason); }
  endpoint_stats stats() const noexcept override { return body_->stats(); }
  std::string peer_name() const override { return body_->peer(); }

 private:
  tcp_connection* body_;  // deletes itself after orphan()
};

std::string name_of_peer(int fd) {
  socket_address a;
  a.size = sizeof a.storage;
  if (::getpeername(fd, a.raw(), &a.size) != 0) return "?";
  return text_of_address(a);
}

// Accepts for ever; deletes itself when its owner is gone and the kernel has let go.
class accept_loop {
 public:
  accept_loop(loop& l, unique_fd fd, acceptor a)
      : loop_(l), fd_(std::move(fd)), accept_(std::move(a)) {
    arm();
  }
  void stop() {
    stopped_ = true;
    if (!armed_) {
      delete this;
      return;
    }
    io_uring_sqe* sqe = loop_.entry(nullptr);
    io_uring_prep_cancel64(sqe, reinterpret_cast<std::uintptr_t>(&accepted_), 0);
    io_uring_sqe_set_data(sqe, nullptr);
  }

 private:
  void arm() {
    io_uring_sqe* sqe = loop_.entry(&accepted_);
    io_uring_prep_multishot_accept(sqe, fd_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &accepted_);
    armed_ = true;
  }
  void on_accepted(int res, std::uint32_t flags) noexcept {
    armed_ = (flags & IORING_CQE_F_MORE) != 0;
    if (res >= 0) {
      unique_fd fd(res);
      std::string peer = name_of_peer(res);
      if (!stopped_)
        accept_(std::make_unique<tcp_endpoint>(
            new tcp_connection(loop_, std::move(fd), std::move(peer))));
    }
    if (armed_) return;
    if (stopped_) {
      delete this;
    } else if (res >= 0) {
      arm();
    } else {
      // Out of descriptors or memory: try again a little later instead of spinning.
      (void)loop_.call_after(100 * ns_per_ms, [this] { stopped_ ? delete this : arm(); });
      armed_ = true;
    }
  }

  loop& loop_;
  unique_fd fd_;
  acceptor accept_;
  bool armed_ = false;
  bool stopped_ = false;
  member_completion<accept_loop, &accept_loop::on_accepted> accepted_{*this};
};

class tcp_listener final : public listener {
 public:
  tcp_listener(loop& l, unique_fd fd, acceptor a, std::string address)
      : body_(new accept_loop(l, std::move(fd), std::move(a))), address_(std::move(address)) {}
  ~tcp_listener() override { body_->stop(); }
  std::string address() const override { return address_; }

 private:
  accept_loop* body_;  // deletes itself after stop()
  std::string address_;
};

failure<problem> cannot_listen(std::string_view address, const char* why) {
  return failure{problem{exit_code::failed, "listen on " + std::string(address) + ": " + why,
                         "is another server running, or the address not of this host?"}};
}

}  // namespace

std::unique_ptr<endpoint> tcp_provider::connect(std::string_view address) {
  auto* body = new tcp_connection(loop_, unique_fd(), std::string(address));
  body->lookup_began();
  names_.find(address, [body](std::vector<socket_address> found) {
    body->lookup_ended(std::move(found));
  });
  return std::make_unique<tcp_endpoint>(body);
}

outcome<std::unique_ptr<listener>> tcp_provider::listen(std::string_view address, acceptor a) {
  const std::optional<socket_address> at = address_to_listen(address);
  if (!at) return cannot_listen(address, "not an address of the form host:port");
  unique_fd fd(::socket(at->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return cannot_listen(address, std::strerror(errno));
  const int one = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd.get(), at->raw(), at->size) != 0 ||
      ::listen(fd.get(), 256) != 0)
    return cannot_listen(address, std::strerror(errno));
  return listen_at(std::move(fd), std::move(a));
}

outcome<std::unique_ptr<listener>> tcp_provider::listen_at(unique_fd fd, acceptor a) {
  outcome<std::string> address = listening_address(fd.get());
  if (!address) return failure{address.error()};
  return std::unique_ptr<listener>(std::make_unique<tcp_listener>(
      loop_, std::move(fd), std::move(a), *std::move(address)));
}

outcome<std::string> listening_address(int fd) {
  socket_address bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, bound.raw(), &bound.size) != 0)
    return cannot_listen("a socket", std::strerror(errno));
  return text_of_address(bound);
}

}  // namespace tangelo
