// The receiving half of verbs_connection, and what completions mean.
#include <algorithm>
#include <array>
#include <utility>

#include "rdma/verbs/connection.h"

namespace tangelo {

namespace {

constexpr std::size_t announced_max = 65536;
constexpr int per_turn_max = 256;

down_reason reason_of(ibv_wc_status status) noexcept {
  if (status == IBV_WC_WR_FLUSH_ERR) return down_reason::peer_closed;
  if (status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RNR_RETRY_EXC_ERR)
    return down_reason::timeout;
  if (status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR ||
      status == IBV_WC_REM_OP_ERR || status == IBV_WC_LOC_LEN_ERR)
    return down_reason::protocol;
  return down_reason::local_error;
}

}  // namespace

// Of which of the two queues is not known, nor needed.
void verbs_connection::on_completions() noexcept {
  if (receives_ == nullptr) return;
  (void)ibv_req_notify_cq(receives_, 0);
  sends_armed_ = false;
  if (awaits_sends()) arm_sends();
  poll();
}

bool verbs_connection::awaits_sends() const noexcept {
  return transfers_posted_ != 0 || refused_ || phase_ == phase::closing ||
         posted_.size() >= posted_max - 1;
}

void verbs_connection::arm_sends() noexcept {
  if (std::exchange(sends_armed_, true)) return;
  (void)ibv_req_notify_cq(sends_, 0);
}

// For what was posted already: what completed before this does not wake us.
void verbs_connection::wait_for_sends() noexcept {
  if (sends_armed_ || sends_ == nullptr) return;
  arm_sends();
  later(&verbs_connection::poll);
}

bool verbs_connection::take_completions() noexcept {
  int taken = 0;
  while (sends_ != nullptr) {
    const int n = take_from(sends_) + take_from(receives_);
    taken += n;
    if (n == 0) break;
    if (taken < per_turn_max) continue;
    later(&verbs_connection::poll);
    break;
  }
  deliver();
  pump();
  post_credits();
  say_sendable();
  return taken != 0;
}

int verbs_connection::take_from(ibv_cq* queue) noexcept {
  std::array<ibv_wc, 16> batch;
  const int n = ibv_poll_cq(queue, static_cast<int>(batch.size()), batch.data());
  for (int i = 0; i < n; ++i) {
    const ibv_wc& wc = batch[static_cast<std::size_t>(i)];
    if (queue == sends_) sent(wc);
    if (wc.status != IBV_WC_SUCCESS) {
      close(reason_of(wc.status));
    } else if (queue == receives_) {
      take_frame(static_cast<std::uint16_t>(wc.wr_id), wc.byte_len);
    }
  }
  return std::max(n, 0);
}

bool verbs_connection::post_receive(std::uint16_t receive) noexcept {
  std::byte* at = slot_at(send_count + std::size_t{receive});
  ibv_sge piece{reinterpret_cast<std::uintptr_t>(at), slot_size, registered_->lkey};
  ibv_recv_wr request{};
  request.wr_id = receive;
  request.sg_list = &piece;
  request.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  return ibv_post_recv(pair_, &request, &bad) == 0;
}

void verbs_connection::give_back(std::uint16_t receive) {
  if (phase_ != phase::up && phase_ != phase::accepted) return;
  if (!post_receive(receive)) return close(down_reason::local_error);
  ++owed_;
}

void verbs_connection::take_frame(std::uint16_t receive, std::uint32_t size) {
  if (phase_ != phase::up && phase_ != phase::accepted) return;
  frame_header header;
  byte_span body;
  const byte_span frame = {slot_at(send_count + std::size_t{receive}),
                           std::min<std::size_t>(size, slot_size)};
  if (!parse_frame(frame, header, body)) return close(down_reason::protocol);
  stats_.bytes_received += size;
  credits_ += header.credits;
  const bool ready = header.type == frame_type::ready;
  if (credits_ > credits_max_ || ready != (phase_ == phase::accepted && !ready_))
    return close(down_reason::protocol);
  switch (header.type) {
    using enum frame_type;
    case message: inbox_.push_back({receive, header.size}); return;
    case ready:
      ready_ = true;
      home_.arrived(*this);
      later(&verbs_connection::came_up);
      break;
    case credits: break;
    case ask: {
      ask_frame asked;
      wire_reader in(body);
      in(asked);
      offer_memory(asked);
      break;
    }
    case offer: {
      offer_frame offered;
      wire_reader in(body);
      in(offered);
      take_offer(offered);
      break;
    }
  }
  give_back(receive);
}

// Hands on what has come, up to a message whose eager bytes are not read yet.
void verbs_connection::deliver() {
  if (delivering_) return;
  delivering_ = true;
  while (phase_ == phase::up && eager_waiting_ == 0 && !inbox_.empty()) {
    const received r = inbox_.front();
    inbox_.pop_front();
    const byte_span message = {slot_at(send_count + std::size_t{r.receive}) + verbs_header_size,
                               r.size};
    std::uint32_t size = 0;
    if (peek_size(message, size) != parse_fault::none || size != message.size() ||
        !announce(message)) {
      close(down_reason::protocol);
      break;
    }
    ++stats_.messages_received;
    if (events_ != nullptr) events_->on_message(message);
    give_back(r.receive);
  }
  delivering_ = false;
}

// Notes the chunks that are to be read; false: the message breaks the protocol.
bool verbs_connection::announce(byte_span message) {
  return for_each_chunk(message, [this](const chunk& c, std::size_t) {
    if (c.kind != chunk_kind::pull && c.kind != chunk_kind::call_body) return true;
    if (c.transfer_tag == 0 || c.size == 0 || c.size > wire_payload_size_max) return false;
    if (announced_.size() >= announced_max || announced_.find(c.transfer_tag) != nullptr)
      return false;
    const bool eager = (c.flags & chunk_flag::eager) != 0;
    announced_.insert(c.transfer_tag, {c, eager});
    eager_waiting_ += eager ? 1 : 0;
    return true;
  });
}

}  // namespace tangelo
