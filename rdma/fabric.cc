#include "rdma/fabric.h"

#include <map>

#include "base/check.h"
#include "base/log.h"
#include "rdma/tcp/tcp_provider.h"

namespace tangelo {

namespace {

constexpr std::uint64_t verbs_wait_ns = 3 * ns_per_s;   // for a connection to come up
constexpr std::uint64_t tcp_only_ns = 60 * ns_per_s;    // after an attempt that failed

class auto_provider;

// Over verbs as long as that may come up, then over tcp.
class auto_endpoint final : public endpoint, private endpoint_events {
 public:
  auto_endpoint(auto_provider& home, std::string address);
  ~auto_endpoint() override;
  void start(endpoint_events& events) override;
  send_status send(byte_span message) override { return wire_->send(message); }
  void expose(const chunk& c, mutable_byte_span memory, bool eager) override {
    wire_->expose(c, memory, eager);
  }
  void retract(std::uint64_t tag) override { wire_->retract(tag); }
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) override {
    return wire_->read_remote(c, into, cookie);
  }
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie) override {
    return wire_->write_remote(c, from, cookie);
  }
  void close(down_reason reason) noexcept override {
    closed_ = true;
    wire_->close(reason);
  }
  endpoint_stats stats() const noexcept override { return wire_->stats(); }
  std::string peer_name() const override { return address_; }
  bool is_eager() const noexcept override { return wire_->is_eager(); }

 private:
  void on_up() noexcept override {
    up_ = true;
    events_->on_up();
  }
  void on_message(byte_span message) noexcept override { events_->on_message(message); }
  void on_done(std::uint64_t cookie, bool ok) noexcept override { events_->on_done(cookie, ok); }
  void on_sendable() noexcept override { events_->on_sendable(); }
  void on_down(down_reason reason) noexcept override;
  void on_flushed() noexcept override;
  void go_on_over_tcp();

  auto_provider& home_;
  std::string address_;
  std::unique_ptr<endpoint> wire_;
  endpoint_events* events_ = nullptr;
  bool over_tcp_ = false;
  bool up_ = false;
  bool closed_ = false;  // by its owner
  bool down_said_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

class auto_provider final : public provider {
 public:
  auto_provider(scheduler& time, std::unique_ptr<provider> tcp, std::unique_ptr<provider> verbs)
      : time_(time), tcp_(std::move(tcp)), verbs_(std::move(verbs)) {}
  std::unique_ptr<endpoint> connect(std::string_view address) override {
    const auto it = tcp_until_.find(address);
    if (it != tcp_until_.end() && time_.now_ns() < it->second) return tcp_->connect(address);
    return std::make_unique<auto_endpoint>(*this, std::string(address));
  }
  outcome<std::unique_ptr<listener>> listen(std::string_view address, acceptor a) override {
    return tcp_->listen(address, std::move(a));  // nobody listens with it: a server has both
  }
  void register_memory(mutable_byte_span memory, memory_use use) override {
    verbs_->register_memory(memory, use);
  }
  void forget_memory(mutable_byte_span memory) override { verbs_->forget_memory(memory); }

 private:
  friend class auto_endpoint;
  scheduler& time_;
  std::unique_ptr<provider> tcp_;
  std::unique_ptr<provider> verbs_;
  std::map<std::string, std::uint64_t, std::less<>> tcp_until_;
};

auto_endpoint::auto_endpoint(auto_provider& home, std::string address)
    : home_(home), address_(std::move(address)), wire_(home.verbs_->connect(address_)) {}

auto_endpoint::~auto_endpoint() = default;

void auto_endpoint::start(endpoint_events& events) {
  events_ = &events;
  wire_->start(*this);
  (void)home_.time_.call_after(verbs_wait_ns, [this, weak = std::weak_ptr(alive_)] {
    if (!weak.expired() && !up_ && !over_tcp_) wire_->close(down_reason::timeout);
  });
}

void auto_endpoint::on_down(down_reason reason) noexcept {
  if (over_tcp_ || up_ || closed_) {
    down_said_ = true;
    return events_->on_down(reason);
  }
  log_notice("{}: not over verbs ({}), over tcp", address_, name_of(reason));
  home_.tcp_until_[address_] = home_.time_.now_ns() + tcp_only_ns;
}

void auto_endpoint::on_flushed() noexcept {
  if (down_said_) return events_->on_flushed();
  // The endpoint that says so may not be destroyed from inside.
  home_.time_.post([this, weak = std::weak_ptr(alive_)] {
    if (!weak.expired()) go_on_over_tcp();
  });
}

void auto_endpoint::go_on_over_tcp() {
  over_tcp_ = true;
  wire_ = home_.tcp_->connect(address_);
  wire_->start(*this);
  if (closed_) wire_->close(down_reason::admin);
}

}  // namespace

std::optional<fabric_choice> fabric_named(std::string_view name) noexcept {
  for (const fabric_choice f : {fabric_choice::automatic, fabric_choice::verbs, fabric_choice::tcp})
    if (name_of(f) == name) return f;
  return std::nullopt;
}

outcome<std::unique_ptr<provider>> make_fabric(loop& l, fabric_choice choice, rdma_needed when) {
  if (choice == fabric_choice::tcp)
    return std::unique_ptr<provider>(std::make_unique<tcp_provider>(l));
  outcome<std::unique_ptr<provider>> verbs = make_verbs(l, rdma_needed::now);
  if (choice == fabric_choice::verbs && !verbs && when == rdma_needed::later) {
    log_notice("{}: waiting for it", verbs.error().text);
    return make_verbs(l, when);
  }
  if (choice == fabric_choice::verbs) return verbs;
  if (!verbs) {
    log_info("{}: tcp", verbs.error().text);
    return std::unique_ptr<provider>(std::make_unique<tcp_provider>(l));
  }
  return make_auto(l, std::make_unique<tcp_provider>(l), std::move(*verbs));
}

std::unique_ptr<provider> make_auto(scheduler& time, std::unique_ptr<provider> tcp,
                                    std::unique_ptr<provider> verbs) {
  return std::make_unique<auto_provider>(time, std::move(tcp), std::move(verbs));
}

}  // namespace tangelo
