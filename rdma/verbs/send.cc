// The sending half of verbs_connection: frames, RDMA Reads and Writes, in order.
#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "rdma/verbs/connection.h"

namespace tangelo {

namespace {

constexpr std::size_t control_slots = 2;  // for frames of the provider's own
constexpr std::uint32_t last_credit = 1;  // for CREDITS, or both ends could wait for each other
constexpr std::size_t credits_offset = 2;
constexpr std::uint64_t memory_wait_ns = 10 * ns_per_ms;

}  // namespace

bool verbs_connection::has_room() const noexcept {
  return free_slots_.size() > control_slots && queue_.size() < queued_max;
}

send_status verbs_connection::send(byte_span message) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (message.size() > wire_message_size_max ||
      message.size() < wire_header_size + wire_extension_size)
    return send_status::io_error;
  if (!has_room()) return no_buffers();
  const std::uint16_t slot = free_slots_.back();
  const mutable_byte_span at = {slot_at(slot) + verbs_header_size, message.size()};
  copy_bytes(at, message);
  if (!place_chunks(at)) return no_memory();
  ++stats_.messages_sent;
  queue_frame(frame_type::message, at);
  pump();
  return send_status::sent;
}

// `body` may lie in the free slot it goes into.
void verbs_connection::queue_frame(frame_type type, byte_span body) {
  CHECK(!free_slots_.empty());
  work w;
  w.slot = free_slots_.back();
  free_slots_.pop_back();
  w.size = static_cast<std::uint32_t>(verbs_header_size + body.size());
  std::byte* at = slot_at(w.slot);
  put_header({at, verbs_header_size},
             {type, 0, 0, static_cast<std::uint32_t>(body.size())});
  if (body.data() != at + verbs_header_size)
    copy_bytes({at + verbs_header_size, body.size()}, body);
  queue_.push_back(w);
}

const ibv_mr* verbs_connection::key_of(exposure& e) {
  if (const auto it = exposed_singly_.find(e.what.transfer_tag); it != exposed_singly_.end())
    return it->second.registered;
  const byte_span memory = e.memory.first(e.what.size);
  if (const ibv_mr* region = device_->region_of(memory, memory_use::exposed)) return region;
  const bool is_read =
      e.what.kind == chunk_kind::pull || e.what.kind == chunk_kind::call_body;
  single_exposure single;
  if (is_read) single.copy.assign(memory.begin(), memory.end());
  const mutable_byte_span at = is_read ? mutable_byte_span(single.copy) : e.memory;
  const int access =
      is_read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  single.registered =
      device_->register_one(at.first(e.what.size), access, home_.counts().single);
  if (single.registered == nullptr) return nullptr;
  e.memory = at;
  return exposed_singly_.emplace(e.what.transfer_tag, std::move(single))
      .first->second.registered;
}

// Tells the peer, in the message itself, where the memory it may read or write is.
bool verbs_connection::place_chunks(mutable_byte_span message) noexcept {
  std::array<chunk_place, wire_chunk_count_max> places{};
  std::size_t count = 0;
  bool ok = true;
  (void)for_each_chunk(message, [&](const chunk& c, std::size_t) {
    exposure* e = exposed_.find(c.transfer_tag);
    if (e == nullptr) return true;
    const ibv_mr* region = key_of(*e);
    ok = ok && region != nullptr;
    if (region == nullptr) return false;
    places[count++] = {c.transfer_tag, reinterpret_cast<std::uintptr_t>(e->memory.data()),
                       region->rkey};
    return true;
  });
  if (!ok) return false;
  for (std::size_t i = 0; i < count; ++i) (void)place_chunk(message, places[i]);
  if (count != 0) renew_crc(message);
  return true;
}

void verbs_connection::expose(const chunk& c, mutable_byte_span memory) {
  CHECK(memory.size() >= c.size);
  CHECK(exposed_.find(c.transfer_tag) == nullptr);
  exposed_.insert(c.transfer_tag, exposure{c, memory});
}

void verbs_connection::retract(std::uint64_t tag) {
  exposed_.erase(tag);
  const auto it = exposed_singly_.find(tag);
  if (it == exposed_singly_.end() || device_ == nullptr) return;
  device_->deregister(it->second.registered);
  exposed_singly_.erase(it);
}

send_status verbs_connection::read_remote(const chunk& c, mutable_byte_span into,
                                          std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  const announced_chunk* a = announced_.find(c.transfer_tag);
  if (a == nullptr || a->what.size != c.size) return send_status::io_error;
  if (!into.empty() && into.size() < c.size) return send_status::io_error;
  if (into.empty()) {
    eager_waiting_ -= a->eager ? 1 : 0;
    announced_.erase(c.transfer_tag);
    loop_.post([weak = weak_from_this(), cookie] {
      const std::shared_ptr<verbs_connection> self = weak.lock();
      if (!self || self->phase_ != phase::up) return;
      if (self->events_ != nullptr) self->events_->on_done(cookie, true);
      self->deliver();
    });
    return send_status::sent;
  }
  work w;
  w.kind = work_kind::read;
  w.eager = a->eager;
  w.local = into.data();
  w.cookie = cookie;
  const send_status status = queue_transfer(w, a->what);
  if (status == send_status::sent) announced_.erase(c.transfer_tag);
  return status;
}

send_status verbs_connection::write_remote(const chunk& c, byte_span from, std::uint64_t cookie) {
  if (phase_ != phase::up) return send_status::not_connected;
  if (from.size() > c.size || from.empty()) return send_status::io_error;
  work w;
  w.kind = work_kind::write;
  w.local = const_cast<std::byte*>(from.data());  // only read
  w.cookie = cookie;
  chunk part = c;
  part.size = static_cast<std::uint32_t>(from.size());
  return queue_transfer(w, part);
}

send_status verbs_connection::queue_transfer(work w, const chunk& c) {
  if (!has_room()) return no_buffers();
  const bool reads = w.kind == work_kind::read;
  w.size = c.size;
  const byte_span local = {w.local, w.size};
  if (device_->region_of(local, memory_use::local) == nullptr) {
    const int access = reads ? device_->local_access() : 0;
    w.single = device_->register_one(local, access, home_.counts().single);
    if (w.single == nullptr) return no_memory();
  }
  w.tag = c.transfer_tag;
  w.address = c.address;
  w.remote_key = c.remote_key;
  w.placed = c.address != 0;
  if (!w.placed) {
    std::array<std::byte, ask_frame_size> body{};
    wire_writer out(body);
    out(ask_frame{c.transfer_tag, c.size, reads ? 0u : 1u});
    queue_frame(frame_type::ask, body);
  }
  queue_.push_back(w);
  pump();
  return send_status::sent;
}

void verbs_connection::offer_memory(const ask_frame& ask) {
  exposure* e = exposed_.find(ask.transfer_tag);
  const bool is_read = e != nullptr && (e->what.kind == chunk_kind::pull ||
                                        e->what.kind == chunk_kind::call_body);
  const bool may = e != nullptr && ask.size <= e->what.size && is_read == (ask.writes == 0);
  if (!may || free_slots_.empty()) return close(down_reason::protocol);
  const ibv_mr* region = key_of(*e);
  if (region == nullptr) return close(down_reason::local_error);
  std::array<std::byte, offer_frame_size> body{};
  wire_writer out(body);
  out(offer_frame{ask.transfer_tag, reinterpret_cast<std::uintptr_t>(e->memory.data()),
                  region->rkey, e->what.size});
  queue_frame(frame_type::offer, body);
}

void verbs_connection::take_offer(const offer_frame& offer) {
  const auto it = std::find_if(queue_.begin(), queue_.end(), [&](const work& w) {
    return !w.placed && w.tag == offer.transfer_tag;
  });
  if (it == queue_.end() || offer.size < it->size) return close(down_reason::protocol);
  it->address = offer.address;
  it->remote_key = offer.remote_key;
  it->placed = true;
}

void verbs_connection::pump() noexcept {
  while (phase_ == phase::up && !queue_.empty()) {
    if (posted_.size() >= posted_max - 1) return wait_for_sends();  // the last is for CREDITS
    const std::size_t most =
        std::min({posted_max - 1 - posted_.size(), batch_max, queue_.size()});
    std::size_t count = 0;
    for (std::uint32_t credits = credits_; count < most; ++count) {
      const bool is_frame = queue_[count].kind == work_kind::frame;
      if (is_frame ? credits <= last_credit : !queue_[count].placed) break;
      credits -= is_frame ? 1 : 0;
    }
    if (count == 0) return;
    if (!post(count)) return close(down_reason::local_error);
  }
}

// Posts the first `count` of the queue with one call.
bool verbs_connection::post(std::size_t count) noexcept {
  std::array<ibv_send_wr, batch_max> requests;
  std::array<ibv_sge, batch_max> pieces;
  for (std::size_t i = 0; i < count; ++i) {
    const work& w = queue_[i];
    requests[i] = {};
    requests[i].wr_id = posted_first_ + posted_.size() + i;
    requests[i].sg_list = &pieces[i];
    requests[i].num_sge = 1;
    if (i + 1 < count) {
      requests[i].next = &requests[i + 1];
    } else {
      requests[i].send_flags = IBV_SEND_SIGNALED;
    }
    if (w.kind == work_kind::frame) {
      fill_frame(w, requests[i]);
    } else if (!fill_transfer(w, requests[i])) {
      return false;
    }
  }
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(pair_, requests.data(), &bad);
  std::size_t taken = error == 0 ? count : static_cast<std::size_t>(bad - requests.data());
  for (; taken != 0; --taken) {
    transfers_posted_ += queue_.front().kind == work_kind::frame ? 0u : 1u;
    posted_.push_back(queue_.front());
    queue_.pop_front();
  }
  return error == 0;
}

void verbs_connection::fill_frame(const work& w, ibv_send_wr& request) noexcept {
  std::byte* at = slot_at(w.slot);
  wire_writer(mutable_byte_span(at + credits_offset, sizeof owed_))(owed_);
  owed_ = 0;
  --credits_;
  stats_.bytes_sent += w.size;
  *request.sg_list = {reinterpret_cast<std::uintptr_t>(at), w.size, registered_->lkey};
  request.opcode = IBV_WR_SEND;
  if (w.size <= inline_max_) request.send_flags |= IBV_SEND_INLINE;
}

bool verbs_connection::fill_transfer(const work& w, ibv_send_wr& request) noexcept {
  const ibv_mr* region =
      w.single != nullptr ? w.single : device_->region_of({w.local, w.size}, memory_use::local);
  if (region == nullptr) return false;
  arm_sends();
  const bool reads = w.kind == work_kind::read;
  (reads ? stats_.bytes_received : stats_.bytes_sent) += w.size;
  *request.sg_list = {reinterpret_cast<std::uintptr_t>(w.local), w.size, region->lkey};
  request.opcode = reads ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
  request.send_flags |= IBV_SEND_SIGNALED;
  request.wr.rdma.remote_addr = w.address;
  request.wr.rdma.rkey = w.remote_key;
  return true;
}

// Gives receives back without a message, before the peer runs out of them.
void verbs_connection::post_credits() noexcept {
  if (phase_ != phase::up || owed_ < receive_count / 2 || credits_ == 0) return;
  if (free_slots_.empty() || posted_.size() == posted_max) return;
  queue_frame(frame_type::credits, {});
  queue_.push_front(queue_.back());
  queue_.pop_back();
  if (!post(1)) close(down_reason::local_error);
}

// What `wc` is of has ended, and all frames before it were sent. A read may end after what was
// posted behind it (siw).
void verbs_connection::sent(const ibv_wc& wc) noexcept {
  const std::uint64_t at = wc.wr_id - posted_first_;
  if (at >= posted_.size()) return;  // a frame that was known to be sent
  for (std::size_t i = 0; i < at; ++i)
    if (posted_[i].kind == work_kind::frame) end_work(i, IBV_WC_SUCCESS);
  end_work(at, wc.status);
  for (; !posted_.empty() && posted_.front().ended; ++posted_first_) posted_.pop_front();
  if (phase_ == phase::closing && posted_.empty())
    later(cut_ ? &verbs_connection::try_flush : &verbs_connection::cut);
}

void verbs_connection::end_work(std::size_t at, ibv_wc_status status) noexcept {
  if (std::exchange(posted_[at].ended, true)) return;
  const work w = posted_[at];
  if (w.single != nullptr) device_->deregister(w.single);
  posted_[at].single = nullptr;
  if (w.kind == work_kind::frame) return free_slots_.push_back(w.slot);
  --transfers_posted_;
  if (status != IBV_WC_SUCCESS || phase_ != phase::up) return;
  if (w.eager) --eager_waiting_;
  if (events_ != nullptr) events_->on_done(w.cookie, true);
}

send_status verbs_connection::no_buffers() noexcept {
  refused_ = true;
  wait_for_sends();
  return send_status::no_buffers;
}

// The device registers no more just now; that it may be tried again is said after a while.
send_status verbs_connection::no_memory() {
  refused_ = true;
  later(&verbs_connection::say_sendable, memory_wait_ns);
  return send_status::out_of_memory;
}

void verbs_connection::say_sendable() {
  if (!refused_ || phase_ != phase::up || !has_room()) return;
  refused_ = false;
  if (events_ != nullptr) events_->on_sendable();
}

}  // namespace tangelo
