// The life of a verbs connection, from address to queue pair and back.
#include "rdma/verbs/connection.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/check.h"
#include "base/log.h"

namespace tangelo {

namespace {

constexpr int resolve_ms = 2000;
constexpr std::uint64_t attempt_ns = 10 * ns_per_s;
constexpr std::uint64_t linger_ns = 250 * ns_per_ms;
constexpr std::uint64_t drain_ns = ns_per_s;
constexpr int rejected_by_consumer = 28;  // IB_CM_REJ_CONSUMER_DEFINED

verbs_hello our_hello(std::uint16_t receives) noexcept {
  verbs_hello h;
  h.receive_count = receives;
  h.message_size_max = wire_message_size_max;
  h.inline_payload_max = wire_inline_payload_max;
  return h;
}

// Of a connection that does not come up; iWARP devices tell the error of their TCP.
down_reason reason_of_error(int error) noexcept {
  if (error == ECONNREFUSED || error == ECONNRESET) return down_reason::refused;
  return error == ETIMEDOUT ? down_reason::timeout : down_reason::unreachable;
}

// Reasons after which nothing that was sent could arrive.
bool is_hopeless(down_reason reason) noexcept {
  return reason == down_reason::timeout || reason == down_reason::device_removed ||
         reason == down_reason::address_change || reason == down_reason::unreachable ||
         reason == down_reason::peer_closed;
}

}  // namespace

verbs_connection::verbs_connection(loop& l, verbs_home& home, std::string peer)
    : loop_(l), home_(home), peer_(std::move(peer)) {}

verbs_connection::~verbs_connection() { CHECK(id_ == nullptr || phase_ == phase::closing); }

void verbs_connection::later(void (verbs_connection::*step)(), std::uint64_t after_ns) {
  (void)loop_.call_after(after_ns, [weak = weak_from_this(), step] {
    if (const std::shared_ptr<verbs_connection> self = weak.lock()) ((*self).*step)();
  });
}

void verbs_connection::start(endpoint_events& events) {
  CHECK(events_ == nullptr);
  events_ = &events;
}

void verbs_connection::lookup_ended(const socket_address* found) noexcept {
  if (phase_ != phase::idle) return;
  std::optional<socket_address> to;
  if (found != nullptr) to = port_beside(*found, verbs_port_distance);
  if (!to) return close(down_reason::unreachable);
  phase_ = phase::connecting;
  if (rdma_create_id(home_.cm_events(), &id_, static_cast<cm_listener*>(this), RDMA_PS_TCP) != 0 ||
      rdma_resolve_addr(id_, nullptr, to->raw(), resolve_ms) != 0)
    return close(errno == ENODEV ? down_reason::unreachable : down_reason::local_error);
  attempt_timer_ = loop_.call_after(attempt_ns, [weak = weak_from_this()] {
    const std::shared_ptr<verbs_connection> self = weak.lock();
    if (self && self->phase_ != phase::up) self->close(down_reason::timeout);
  });
}

void verbs_connection::on_cm_event(const cm_event& event) noexcept {
  if (phase_ == phase::closing || phase_ == phase::flushed) return;
  // The enumeration is the library's, and may grow.
  if (event.type == RDMA_CM_EVENT_ADDR_RESOLVED) {
    if (rdma_resolve_route(id_, resolve_ms) != 0) close(down_reason::unreachable);
  } else if (event.type == RDMA_CM_EVENT_ROUTE_RESOLVED) {
    connect_now();
  } else if (event.type == RDMA_CM_EVENT_ESTABLISHED) {
    if (!is_server_) take_answer(event);
  } else if (event.type == RDMA_CM_EVENT_ADDR_ERROR || event.type == RDMA_CM_EVENT_ROUTE_ERROR) {
    close(down_reason::unreachable);
  } else if (event.type == RDMA_CM_EVENT_CONNECT_ERROR ||
             event.type == RDMA_CM_EVENT_UNREACHABLE) {
    close(reason_of_error(-event.status));
  } else if (event.type == RDMA_CM_EVENT_REJECTED) {
    close(event.status == rejected_by_consumer ? down_reason::protocol : down_reason::refused);
  } else if (event.type == RDMA_CM_EVENT_DISCONNECTED) {
    poll();  // what the peer sent before it left
    close(down_reason::peer_closed);
  } else if (event.type == RDMA_CM_EVENT_DEVICE_REMOVAL) {
    close(down_reason::device_removed);
  } else if (event.type == RDMA_CM_EVENT_ADDR_CHANGE) {
    close(down_reason::address_change);
  }
}

// A lost packet is sent again after 67 ms or a little more, and given up after some seconds; the
// library's own choice is twenty times that.
bool verbs_connection::set_up() noexcept {
  std::uint8_t ack_timeout = 14;  // 4.096 us * 2^14
  (void)rdma_set_option(id_, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack_timeout,
                        sizeof ack_timeout);
  device_ = home_.device_of(id_);
  if (device_ == nullptr) return false;
  device_->attach(*this);
  const std::size_t size = (send_count + receive_count) * slot_size;
  void* mapped =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return false;
  memory_ = {static_cast<std::byte*>(mapped), size};
  registered_ =
      device_->register_one(memory_, device_->local_access(), home_.counts().connections);
  if (registered_ == nullptr || !make_queues()) return false;
  for (std::uint16_t i = 0; i < send_count; ++i) free_slots_.push_back(i);
  for (std::uint16_t i = 0; i < receive_count; ++i)
    if (!post_receive(i)) return false;
  return ibv_req_notify_cq(receives_, 0) == 0;
}

bool verbs_connection::make_queues() noexcept {
  const auto make = [this](std::size_t size) {
    return ibv_create_cq(device_->context(), static_cast<int>(size),
                         static_cast<queue_listener*>(this), device_->completions(), 0);
  };
  sends_ = make(posted_max);
  receives_ = make(receive_count);
  if (sends_ == nullptr || receives_ == nullptr) return false;
  ibv_qp_init_attr wanted{};
  wanted.qp_context = static_cast<queue_listener*>(this);
  wanted.send_cq = sends_;
  wanted.recv_cq = receives_;
  wanted.qp_type = IBV_QPT_RC;
  wanted.cap.max_send_wr = posted_max;
  wanted.cap.max_recv_wr = receive_count;
  wanted.cap.max_send_sge = wanted.cap.max_recv_sge = 1;
  wanted.cap.max_inline_data = 256;
  ibv_qp_init_attr attributes = wanted;
  if (rdma_create_qp(id_, device_->domain(), &attributes) != 0) {
    attributes = wanted;
    attributes.cap.max_inline_data = 0;  // not every device sends inline
    if (rdma_create_qp(id_, device_->domain(), &attributes) != 0) return false;
  }
  inline_max_ = attributes.cap.max_inline_data;
  pair_ = id_->qp;
  return true;
}

void verbs_connection::connect_now() noexcept {
  if (!set_up()) {
    log_warning("verbs: no queue pair to {}: {}", peer_, std::strerror(errno));
    return close(down_reason::local_error);
  }
  const std::array<std::byte, verbs_hello_size> data = encode(our_hello(receive_count));
  rdma_conn_param p{};
  p.private_data = data.data();
  p.private_data_len = data.size();
  p.responder_resources = p.initiator_depth = device_->reads_max();
  p.retry_count = 7;
  p.rnr_retry_count = 3;
  if (rdma_connect(id_, &p) != 0) close(reason_of_error(errno));
}

void verbs_connection::take_answer(const cm_event& event) noexcept {
  verbs_hello hello;
  if (parse_hello(event.private_data, hello) != hello_fault::none)
    return close(down_reason::protocol);
  credits_ = credits_max_ = hello.receive_count;
  phase_ = phase::up;
  queue_frame(frame_type::ready, {});
  came_up();
}

void verbs_connection::take_request(const cm_event& request) noexcept {
  id_ = request.fresh;
  id_->context = static_cast<cm_listener*>(this);
  is_server_ = true;
  phase_ = phase::accepted;
  verbs_hello hello;
  const hello_fault fault = parse_hello(request.private_data, hello);
  const bool may_read = request.initiator_depth != 0;
  if (fault != hello_fault::none || !may_read || !set_up()) {
    log_warning("verbs: {} is refused: {}", peer_,
                fault != hello_fault::none ? "not a client of this version"
                : !may_read                ? "it lets nobody read"
                                           : std::strerror(errno));
    (void)rdma_reject(id_, nullptr, 0);
    return close(down_reason::refused);
  }
  credits_ = credits_max_ = hello.receive_count;
  accept_now(request);
  attempt_timer_ = loop_.call_after(attempt_ns, [weak = weak_from_this()] {
    const std::shared_ptr<verbs_connection> self = weak.lock();
    if (self && self->phase_ == phase::accepted) self->close(down_reason::timeout);
  });
}

void verbs_connection::accept_now(const cm_event& request) noexcept {
  const std::array<std::byte, verbs_hello_size> data = encode(our_hello(receive_count));
  rdma_conn_param p{};
  p.private_data = data.data();
  p.private_data_len = data.size();
  p.responder_resources = std::min(request.responder_resources, device_->reads_max());
  p.initiator_depth = std::min(request.initiator_depth, device_->reads_max());
  p.rnr_retry_count = 3;
  if (rdma_accept(id_, &p) != 0) close(down_reason::unreachable);
}

// The client's side has its answer, or the server's its READY and its acceptor.
void verbs_connection::came_up() {
  if (phase_ == phase::accepted) phase_ = phase::up;
  if (phase_ != phase::up) return;
  loop_.cancel(std::exchange(attempt_timer_, 0));
  const verbs_counts& n = home_.counts();
  log_info("verbs: up with {} over {}; registered {} regions, {} connections, {} single, open {}",
           peer_, device_->name(), n.regions, n.connections, n.single, n.open);
  if (events_ != nullptr) events_->on_up();
  pump();
  deliver();
}

void verbs_connection::orphan() noexcept {
  events_ = nullptr;
  close(down_reason::admin);
}

void verbs_connection::close(down_reason reason) noexcept {
  if (phase_ == phase::closing || phase_ == phase::flushed) return;
  const bool linger = phase_ == phase::up && !posted_.empty() && !is_hopeless(reason);
  phase_ = phase::closing;
  reason_ = reason;
  loop_.cancel(std::exchange(attempt_timer_, 0));
  later(&verbs_connection::say_down);
  if (!posted_.empty()) wait_for_sends();
  if (linger) {
    later(&verbs_connection::cut, linger_ns);
  } else {
    cut();
  }
}

void verbs_connection::say_down() {
  down_said_ = true;
  if (events_ != nullptr) events_->on_down(reason_);
  try_flush();
}

void verbs_connection::cut() noexcept {
  if (phase_ != phase::closing || cut_) return;
  cut_ = true;
  if (pair_ != nullptr) {
    (void)rdma_disconnect(id_);
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_ERR;
    (void)ibv_modify_qp(pair_, &attributes, IBV_QP_STATE);
  }
  if (posted_.empty()) {
    later(&verbs_connection::try_flush);
  } else {
    later(&verbs_connection::end_drain, drain_ns);
  }
}

void verbs_connection::end_drain() {
  if (phase_ != phase::closing) return;
  log_notice("verbs: {} of what was sent to {} did not complete", posted_.size(), peer_);
  drained_ = true;
  try_flush();
}

void verbs_connection::try_flush() noexcept {
  if (phase_ != phase::closing || !down_said_ || !cut_) return;
  if (!posted_.empty() && !drained_) return;
  if (!tear_down()) return;
  phase_ = phase::flushed;
  if (events_ != nullptr) events_->on_flushed();
  home_.flushed(*this);
}

// False: the device may still use the memory, which nobody gets back then.
bool verbs_connection::tear_down() noexcept {
  if (pair_ != nullptr) {
    const int error = ibv_destroy_qp(pair_);
    if (error != 0) {
      log_error("verbs: the queue pair to {} cannot be destroyed, its memory stays away: {}", peer_,
                std::strerror(error));
      return false;
    }
    id_->qp = pair_ = nullptr;
  }
  for (ibv_cq** queue : {&sends_, &receives_})
    if (*queue != nullptr) device_->bury(std::exchange(*queue, nullptr));
  drop_registrations();
  if (!memory_.empty()) (void)::munmap(memory_.data(), memory_.size());
  memory_ = {};
  if (id_ != nullptr) (void)rdma_destroy_id(std::exchange(id_, nullptr));
  if (device_ != nullptr) std::exchange(device_, nullptr)->detach(*this);
  return true;
}

void verbs_connection::drop_registrations() noexcept {
  for (const std::deque<work>* q : {&queue_, &posted_})
    for (const work& w : *q)
      if (w.single != nullptr) device_->deregister(w.single);
  queue_.clear();
  posted_.clear();
  for (const auto& [tag, single] : exposed_singly_) device_->deregister(single.registered);
  exposed_singly_.clear();
  if (registered_ != nullptr) device_->deregister(std::exchange(registered_, nullptr));
}

void verbs_connection::abandon() noexcept {
  events_ = nullptr;
  if (phase_ == phase::flushed) return;
  loop_.cancel(std::exchange(attempt_timer_, 0));
  phase_ = tear_down() ? phase::flushed : phase::closing;
}

}  // namespace tangelo
