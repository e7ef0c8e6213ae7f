#include "rdma/verbs/device.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/log.h"

namespace tangelo {

namespace {

bool make_non_blocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

// What an event of the device means for a connection; none: nothing.
down_reason reason_of(ibv_event_type type) noexcept {
  // NOLINTNEXTLINE: the library may know more events than its header did
  if (type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_CQ_ERR) return down_reason::local_error;
  if (type == IBV_EVENT_QP_ACCESS_ERR || type == IBV_EVENT_QP_REQ_ERR)
    return down_reason::protocol;
  if (type == IBV_EVENT_DEVICE_FATAL) return down_reason::device_removed;
  if (type == IBV_EVENT_PORT_ERR) return down_reason::unreachable;
  return down_reason::none;
}

// The removal of a device waits in the kernel until its last user has closed it, if the driver does
// not know how to take it away (rdma_rxe, siw). librdmacm 44 keeps it open, as long as no other
// device appears: so what it has open becomes something else. It closes that when it finds out.
void close_for_library(const ibv_context& context) noexcept {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {context.async_fd, context.cmd_fd})
    if (nothing >= 0 && ::dup3(nothing, fd, O_CLOEXEC) < 0)
      log_warning("verbs: a device that is removed stays open: {}", std::strerror(errno));
  if (nothing >= 0) (void)::close(nothing);
}

bool is_of_queue_pair(ibv_event_type type) noexcept {
  return type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR ||
         type == IBV_EVENT_QP_ACCESS_ERR;
}

}  // namespace

verbs_device::verbs_device(loop& l, verbs_counts& counts, ibv_context* context)
    : loop_(l),
      counts_(counts),
      context_(context),
      name_(ibv_get_device_name(context->device)),
      is_iwarp_(context->device->transport_type == IBV_TRANSPORT_IWARP) {}

std::unique_ptr<verbs_device> verbs_device::open(loop& l, rdma_event_channel* events,
                                                 rdma_cm_id* over, verbs_counts& counts) {
  std::unique_ptr<verbs_device> d(new verbs_device(l, counts, over->verbs));
  if (d->set_up(events, over)) return d;
  log_warning("verbs: device {} cannot be used: {}", d->name_, std::strerror(errno));
  return nullptr;
}

bool verbs_device::set_up(rdma_event_channel* events, rdma_cm_id* over) {
  ibv_device_attr attributes{};
  if (ibv_query_device(context_, &attributes) != 0) return false;
  reads_max_ = static_cast<std::uint8_t>(
      std::clamp(std::min(attributes.max_qp_rd_atom, attributes.max_qp_init_rd_atom), 1, 16));
  domain_ = ibv_alloc_pd(context_);
  if (domain_ == nullptr) return false;
  completions_ = ibv_create_comp_channel(context_);
  if (completions_ == nullptr || !make_non_blocking(completions_->fd) ||
      !make_non_blocking(context_->async_fd))
    return false;
  if (rdma_create_id(events, &keeper_, static_cast<cm_listener*>(this), RDMA_PS_TCP) != 0)
    return false;
  sockaddr_storage local{};
  const sockaddr* own = rdma_get_local_addr(over);
  const bool v6 = own->sa_family == AF_INET6;
  std::memcpy(&local, own, v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  (v6 ? reinterpret_cast<sockaddr_in6&>(local).sin6_port
      : reinterpret_cast<sockaddr_in&>(local).sin_port) = 0;
  if (rdma_bind_addr(keeper_, reinterpret_cast<sockaddr*>(&local)) != 0) return false;
  completion_poller_ =
      std::make_unique<poller>(loop_, completions_->fd, [this] { take_completions(); });
  trouble_poller_ =
      std::make_unique<poller>(loop_, context_->async_fd, [this] { take_troubles(); });
  loop_.attach(*this);
  return true;
}

verbs_device::~verbs_device() {
  loop_.detach(*this);
  CHECK(users_.empty());
  loop_.cancel(bury_timer_);
  for (const auto& [when_ns, queue] : buried_) (void)ibv_destroy_cq(queue);
  for (auto& [begin, r] : regions_)
    if (r.registered != nullptr) deregister(r.registered);
  if (completions_ != nullptr) (void)ibv_destroy_comp_channel(completions_);
  if (domain_ != nullptr) (void)ibv_dealloc_pd(domain_);
  if (removed_) close_for_library(*context_);  // the keeper keeps it alive
  if (keeper_ != nullptr) (void)rdma_destroy_id(keeper_);
}

// Memory that RDMA Reads place bytes in has to be remotely writable on iWARP. The key is told to
// nobody.
int verbs_device::local_access() const noexcept {
  return IBV_ACCESS_LOCAL_WRITE | (is_iwarp_ ? IBV_ACCESS_REMOTE_WRITE : 0);
}

void verbs_device::add_region(mutable_byte_span memory, memory_use use) {
  CHECK(regions_.emplace(memory.data(), region{memory.size(), use}).second);
}

void verbs_device::remove_region(mutable_byte_span memory) {
  const auto it = regions_.find(memory.data());
  if (it == regions_.end()) return;
  if (it->second.registered != nullptr) deregister(it->second.registered);
  regions_.erase(it);
}

const ibv_mr* verbs_device::region_of(byte_span memory, memory_use use) noexcept {
  auto it = regions_.upper_bound(memory.data());
  if (it == regions_.begin()) return nullptr;
  auto& [begin, r] = *--it;
  const auto offset = static_cast<std::size_t>(memory.data() - begin);
  if (offset > r.size || memory.size() > r.size - offset) return nullptr;
  if (use == memory_use::exposed && r.use == memory_use::local) return nullptr;
  if (r.registered != nullptr || r.refused) return r.registered;
  const int access = r.use == memory_use::local ? local_access()
                                                : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
                                                      IBV_ACCESS_REMOTE_WRITE;
  r.registered = register_one({begin, r.size}, access, counts_.regions);
  r.refused = r.registered == nullptr;
  if (r.refused)
    log_warning("verbs: {} does not register {} bytes: {}", name_, r.size, std::strerror(errno));
  return r.registered;
}

ibv_mr* verbs_device::register_one(byte_span memory, int access, std::uint64_t& count) noexcept {
  auto* begin = const_cast<std::byte*>(memory.data());
  ibv_mr* out = ibv_reg_mr(domain_, begin, memory.size(), static_cast<unsigned>(access));
  if (out == nullptr) return nullptr;
  ++count;
  ++counts_.open;
  return out;
}

void verbs_device::deregister(ibv_mr* one) noexcept {
  const int error = ibv_dereg_mr(one);
  if (error != 0) log_error("verbs: {} keeps a registration: {}", name_, std::strerror(error));
  --counts_.open;
}

void verbs_device::detach(queue_listener& user) { std::erase(users_, &user); }

void verbs_device::bury(ibv_cq* queue) {
  constexpr std::uint64_t moment_ns = 100 * ns_per_ms;
  buried_.emplace_back(loop_.now_ns() + moment_ns, queue);
  if (bury_timer_ == 0)
    bury_timer_ = loop_.call_at(buried_.front().first, [this] { destroy_buried(); });
}

void verbs_device::destroy_buried() noexcept {
  bury_timer_ = 0;
  for (; !buried_.empty() && buried_.front().first <= loop_.now_ns(); buried_.pop_front())
    (void)ibv_destroy_cq(buried_.front().second);
  if (!buried_.empty())
    bury_timer_ = loop_.call_at(buried_.front().first, [this] { destroy_buried(); });
}

bool verbs_device::look() noexcept {
  bool found = false;
  for (std::size_t i = 0; i < users_.size(); ++i)  // an event may end one
    found |= users_[i]->take_completions();
  return found;
}

void verbs_device::take_completions() noexcept {
  ibv_cq* queue = nullptr;
  void* user = nullptr;
  while (!retired_ && ibv_get_cq_event(completions_, &queue, &user) == 0) {
    ibv_ack_cq_events(queue, 1);
    auto* listener = static_cast<queue_listener*>(user);  // gone, if the queue is buried
    if (std::find(users_.begin(), users_.end(), listener) != users_.end())
      listener->on_completions();
  }
}

void verbs_device::take_troubles() noexcept {
  ibv_async_event event{};
  while (!retired_ && ibv_get_async_event(context_, &event) == 0) {
    const ibv_event_type type = event.event_type;
    queue_listener* user = is_of_queue_pair(type)
                               ? static_cast<queue_listener*>(event.element.qp->qp_context)
                               : nullptr;
    ibv_ack_async_event(&event);  // before a queue pair can be destroyed
    const down_reason reason = reason_of(type);
    if (reason == down_reason::none) continue;
    log_notice("verbs: {}: {}", name_, ibv_event_type_str(type));
    if (user != nullptr) {
      user->on_trouble(reason);
    } else {
      if (reason == down_reason::device_removed) removed_ = true;
      tell_all(reason);
    }
  }
}

void verbs_device::tell_all(down_reason reason) noexcept {
  for (queue_listener* user : std::vector<queue_listener*>(users_)) user->on_trouble(reason);
}

void verbs_device::on_cm_event(const cm_event& event) noexcept {
  if (event.type != RDMA_CM_EVENT_DEVICE_REMOVAL || removed_) return;
  log_notice("verbs: device {} is removed", name_);
  removed_ = true;
  tell_all(down_reason::device_removed);
}

void verbs_device::retire() noexcept {
  removed_ = retired_ = true;
  if (completion_poller_) completion_poller_->cancel();
  if (trouble_poller_) trouble_poller_->cancel();
}

bool verbs_device::is_idle() const noexcept {
  return (!completion_poller_ || completion_poller_->is_idle()) &&
         (!trouble_poller_ || trouble_poller_->is_idle());
}

}  // namespace tangelo
