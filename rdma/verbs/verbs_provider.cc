#include "rdma/verbs/verbs_provider.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace tangelo {

namespace {

class verbs_endpoint final : public endpoint {
 public:
  explicit verbs_endpoint(std::shared_ptr<verbs_connection> body) : body_(std::move(body)) {}
  ~verbs_endpoint() override { body_->orphan(); }
  void start(endpoint_events& events) override { body_->start(events); }
  send_status send(byte_span message) override { return body_->send(message); }
  void expose(const chunk& c, mutable_byte_span memory, bool) override {
    body_->expose(c, memory);
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
  bool is_eager() const noexcept override { return false; }

 private:
  std::shared_ptr<verbs_connection> body_;
};

socket_address copy_of(const sockaddr* a) {
  socket_address out;
  out.size = a->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  std::memcpy(&out.storage, a, out.size);
  return out;
}

failure<problem> cannot_listen(std::string_view address) {
  return failure{problem{exit_code::failed,
                         "listen with verbs on " + std::string(address) + ": " +
                             std::strerror(errno),
                         "is there an RDMA device with this address? `tangelo fabric` says"}};
}

constexpr std::uint64_t again_ns = ns_per_s;
constexpr int backlog = 128;
constexpr std::size_t private_data_max = 64;

}  // namespace

class verbs_listener final : public listener, private cm_listener {
 public:
  verbs_listener(verbs_provider& home, acceptor a) : home_(home), accept_(std::move(a)) {}
  ~verbs_listener() override {
    home_.loop_.cancel(again_timer_);
    if (id_ != nullptr) (void)rdma_destroy_id(id_);
    for (const auto& c : home_.connections_)
      if (c->listening == this) c->listening = nullptr;
  }
  bool open(socket_address at) {
    if (rdma_create_id(home_.events_, &id_, static_cast<cm_listener*>(this), RDMA_PS_TCP) != 0)
      return false;
    int one = 1;
    (void)rdma_set_option(id_, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &one, sizeof one);
    if (rdma_bind_addr(id_, at.raw()) != 0 || rdma_listen(id_, backlog) != 0) return false;
    bound_ = copy_of(rdma_get_local_addr(id_));
    address_ = text_of_address(port_beside(bound_, -verbs_port_distance).value_or(bound_));
    return true;
  }
  std::string address() const override { return address_; }
  void accept(std::shared_ptr<verbs_connection> c) {
    accept_(std::make_unique<verbs_endpoint>(std::move(c)));
  }

 private:
  void on_cm_event(const cm_event& event) noexcept override {
    if (event.type == RDMA_CM_EVENT_DEVICE_REMOVAL) return open_again();
    if (event.type != RDMA_CM_EVENT_CONNECT_REQUEST) return;
    const std::string peer = text_of_address(copy_of(rdma_get_peer_addr(event.fresh)));
    const std::shared_ptr<verbs_connection> c = home_.make_connection(peer);
    c->listening = this;
    c->take_request(event);
  }

  // The device has gone: waits for one that has the address again.
  void open_again() noexcept {
    if (id_ != nullptr) (void)rdma_destroy_id(std::exchange(id_, nullptr));
    again_timer_ = home_.loop_.call_after(again_ns, [this] {
      open(bound_) ? log_notice("verbs: listening on {} again", address_) : open_again();
    });
  }

  verbs_provider& home_;
  acceptor accept_;
  timer_id again_timer_ = 0;
  socket_address bound_;
  rdma_cm_id* id_ = nullptr;
  std::string address_;
};

verbs_provider::verbs_provider(loop& l) : loop_(l), names_(l) {}

// The library says on stderr what it misses: it is asked when there is something to ask for.
outcome<void> verbs_provider::begin() {
  if (events_ != nullptr) return {};
  errno = ENODEV;
  if (::access("/sys/class/misc/rdma_cm", F_OK) == 0) events_ = rdma_create_event_channel();
  if (events_ == nullptr)
    return failure{problem{exit_code::failed,
                           std::string("no RDMA here: rdma_cm: ") + std::strerror(errno),
                           "is the module rdma_ucm loaded?"}};
  const int flags = ::fcntl(events_->fd, F_GETFL);
  (void)::fcntl(events_->fd, F_SETFL, flags | O_NONBLOCK);
  poller_ = std::make_unique<poller>(loop_, events_->fd, [this] { take_cm_events(); });
  return {};
}

verbs_provider::~verbs_provider() {
  for (const auto& c : connections_) c->abandon();
  connections_.clear();
  devices_.clear();
  retired_.clear();
  if (events_ != nullptr) rdma_destroy_event_channel(events_);
}

std::shared_ptr<verbs_connection> verbs_provider::make_connection(std::string peer) {
  verbs_home& home = *this;
  auto c = std::make_shared<verbs_connection>(loop_, home, std::move(peer));
  connections_.insert(c);
  return c;
}

std::unique_ptr<endpoint> verbs_provider::connect(std::string_view address) {
  const std::shared_ptr<verbs_connection> c = make_connection(std::string(address));
  const bool may = begin().has_value();
  names_.find(address, [weak = std::weak_ptr(c), may](const std::vector<socket_address>& found) {
    if (const std::shared_ptr<verbs_connection> body = weak.lock())
      body->lookup_ended(found.empty() || !may ? nullptr : &found.front());
  });
  return std::make_unique<verbs_endpoint>(c);
}

outcome<std::unique_ptr<listener>> verbs_provider::listen(std::string_view address, acceptor a) {
  if (const outcome<void> begun = begin(); !begun) return failure{begun.error()};
  std::optional<socket_address> at = address_to_listen(address);
  if (at) at = port_beside(*at, verbs_port_distance);
  auto l = std::make_unique<verbs_listener>(*this, std::move(a));
  errno = EINVAL;
  if (!at || !l->open(*at)) return cannot_listen(address);
  return std::unique_ptr<listener>(std::move(l));
}

void verbs_provider::register_memory(mutable_byte_span memory, memory_use use) {
  regions_[memory.data()] = {memory.size(), use};
  for (const auto& d : devices_)
    if (!d->removed()) d->add_region(memory, use);
}

void verbs_provider::forget_memory(mutable_byte_span memory) {
  regions_.erase(memory.data());
  for (const auto& d : devices_) d->remove_region(memory);
  for (const auto& d : retired_) d->remove_region(memory);
}

verbs_device* verbs_provider::device_of(rdma_cm_id* id) noexcept {
  for (const auto& d : devices_)
    if (d->context() == id->verbs && !d->removed()) return d.get();
  std::unique_ptr<verbs_device> fresh = verbs_device::open(loop_, events_, id, counts_);
  if (fresh == nullptr) return nullptr;
  for (const auto& [begin, r] : regions_) fresh->add_region({begin, r.size}, r.use);
  devices_.push_back(std::move(fresh));
  return devices_.back().get();
}

void verbs_provider::take_cm_events() noexcept {
  rdma_cm_event* event = nullptr;
  while (rdma_get_cm_event(events_, &event) == 0) {
    std::array<std::byte, private_data_max> data{};
    cm_event out;
    out.type = event->event;
    out.status = event->status;
    const rdma_conn_param& p = event->param.conn;
    if (p.private_data != nullptr)
      out.private_data = byte_span(data).first(
          copy_bytes(data, {static_cast<const std::byte*>(p.private_data), p.private_data_len}));
    out.initiator_depth = p.initiator_depth;
    out.responder_resources = p.responder_resources;
    const bool asks = event->event == RDMA_CM_EVENT_CONNECT_REQUEST;
    rdma_cm_id* to = asks ? event->listen_id : event->id;
    out.fresh = asks ? event->id : nullptr;
    auto* listener = static_cast<cm_listener*>(to->context);
    (void)rdma_ack_cm_event(event);  // before the id can be destroyed
    listener->on_cm_event(out);
  }
  sweep();
}

void verbs_provider::arrived(verbs_connection& c) noexcept {
  if (c.listening == nullptr) return c.close(down_reason::refused);
  static_cast<verbs_listener*>(c.listening)->accept(c.shared_from_this());
}

void verbs_provider::flushed(verbs_connection& c) noexcept {
  connections_.erase(c.shared_from_this());
  sweep();
}

// Lets go of devices that have gone, once nothing of ours is on them.
void verbs_provider::sweep() {
  const auto gone = [](const auto& d) { return d->removed() && !d->used(); };
  const auto it = std::stable_partition(devices_.begin(), devices_.end(),
                                        [&](const auto& d) { return !gone(d); });
  if (it == devices_.end()) return;
  for (auto i = it; i != devices_.end(); ++i) {
    (*i)->retire();
    retired_.push_back(std::move(*i));
  }
  devices_.erase(it, devices_.end());
  wait_for_idle();
}

void verbs_provider::wait_for_idle() {
  std::erase_if(retired_, [](const auto& d) { return d->is_idle(); });
  if (retired_.empty()) return;
  (void)loop_.call_after(ns_per_ms, [this, weak = std::weak_ptr(alive_)] {
    if (!weak.expired()) wait_for_idle();
  });
}

}  // namespace tangelo
