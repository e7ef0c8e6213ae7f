#include "rdma/loop/loop_network.h"

#include "base/check.h"
#include "rdma/loop/loop_side.h"

namespace tangelo {

namespace {

class loop_endpoint final : public endpoint {
 public:
  explicit loop_endpoint(std::shared_ptr<loop_side> side) : side_(std::move(side)) {}
  ~loop_endpoint() override { side_->orphan(); }
  void start(endpoint_events& events) override { side_->start(events); }
  send_status send(byte_span message) override { return side_->send(message); }
  void expose(const chunk& c, mutable_byte_span memory, bool eager) override {
    side_->expose(c, memory, eager);
  }
  void retract(std::uint64_t tag) override { side_->retract(tag); }
  send_status read_remote(const chunk& c, mutable_byte_span into, std::uint64_t cookie) override {
    return side_->read_remote(c, into, cookie);
  }
  send_status write_remote(const chunk& c, byte_span from, std::uint64_t cookie) override {
    return side_->write_remote(c, from, cookie);
  }
  void close(down_reason reason) noexcept override { side_->close(reason); }
  endpoint_stats stats() const noexcept override { return side_->stats(); }
  std::string peer_name() const override { return side_->peer_name(); }

 private:
  std::shared_ptr<loop_side> side_;
};

}  // namespace

class loop_listener final : public listener {
 public:
  loop_listener(loop_network& network, std::string address, acceptor a)
      : network_(network), address_(std::move(address)), accept_(std::move(a)) {
    network_.listeners_.emplace(address_, this);
  }
  ~loop_listener() override { network_.listeners_.erase(address_); }
  std::string address() const override { return address_; }
  void take(std::shared_ptr<loop_side> side) {
    accept_(std::make_unique<loop_endpoint>(std::move(side)));
  }

 private:
  loop_network& network_;
  std::string address_;
  acceptor accept_;
};

loop_network::loop_network(scheduler& time, loop_options options)
    : time_(time), options_(options), random_(options.seed) {}

loop_network::~loop_network() { CHECK(listeners_.empty()); }

std::unique_ptr<endpoint> loop_network::connect(std::string_view address) {
  auto side = std::make_shared<loop_side>(*this, std::string(address));
  side->set_address(std::string(address));
  std::erase_if(sides_, [](const std::weak_ptr<loop_side>& s) { return s.expired(); });
  sides_.push_back(side);
  return std::make_unique<loop_endpoint>(std::move(side));
}

outcome<std::unique_ptr<listener>> loop_network::listen(std::string_view address, acceptor a) {
  if (listeners_.find(address) != listeners_.end())
    return failure{problem{exit_code::failed, "listen: address in use", ""}};
  return std::unique_ptr<listener>(
      std::make_unique<loop_listener>(*this, std::string(address), std::move(a)));
}

loop_network::fate loop_network::next_fate() {
  const std::uint64_t n = ++delivered_;
  if (cuts_.erase(n) != 0) return fate::cut;
  return losses_.erase(n) != 0 || swallow_all_ ? fate::lose : fate::deliver;
}

std::uint64_t loop_network::delay_ns() noexcept {
  const std::uint64_t spread = options_.delay_max_ns - options_.delay_min_ns;
  return options_.delay_min_ns + random_.below(spread + 1);
}

void loop_network::cut_all() {
  const std::vector<std::weak_ptr<loop_side>> sides = sides_;
  for (const std::weak_ptr<loop_side>& weak : sides)
    if (const std::shared_ptr<loop_side> side = weak.lock()) side->cut();
}

void loop_side::find_listener() {
  if (phase_ != phase::connecting) return;
  const auto found = network_.listeners_.find(address_);
  if (found == network_.listeners_.end()) return close(down_reason::refused);
  auto other = std::make_shared<loop_side>(
      network_, "loop:" + std::to_string(++network_.connection_count_));
  other->peer_ = weak_from_this();
  peer_ = other;
  network_.sides_.push_back(other);
  network_.time_.call_after(network_.delay_ns(), [self = shared_from_this()] { self->came_up(); });
  found->second->take(std::move(other));
}

}  // namespace tangelo
