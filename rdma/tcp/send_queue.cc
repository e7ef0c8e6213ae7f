#include "rdma/tcp/send_queue.h"

#include "base/check.h"
#include "protocol/wire.h"

namespace tangelo {

bool send_queue::has_room(std::size_t bytes, std::size_t items) const noexcept {
  if (item_tail_ - item_head_ + items > item_count) return false;
  const std::size_t used = (tail_ + byte_size - head_) % byte_size;
  // One message may have to leave the end of the ring unused.
  return used + bytes + wire_message_size_max + 1 <= byte_size;
}

void send_queue::push(byte_span message, byte_span payload, sent_item what) {
  if (bytes_ == nullptr) {
    bytes_.reset(new std::byte[byte_size]);
    items_.resize(item_count);
  }
  if (empty()) head_ = tail_ = 0;
  if (byte_size - tail_ < message.size()) tail_ = 0;
  copy_bytes({bytes_.get() + tail_, message.size()}, message);
  item& it = at(item_tail_++);
  it.offset = static_cast<std::uint32_t>(tail_);
  it.size = static_cast<std::uint32_t>(message.size());
  tail_ = (tail_ + message.size()) % byte_size;
  it.ring_end = static_cast<std::uint32_t>(tail_);
  it.payload = payload;
  it.what = what;
}

void send_queue::add_entry(const std::byte* data, std::size_t size) noexcept {
  if (entry_count_ != 0) {
    iovec& last = entries_[entry_count_ - 1];
    if (static_cast<const std::byte*>(last.iov_base) + last.iov_len == data) {
      last.iov_len += size;
      return;
    }
  }
  entries_[entry_count_++] = iovec{const_cast<std::byte*>(data), size};
}

std::size_t send_queue::gather() noexcept {
  while (item_head_ + gathered_ != item_tail_ && entry_count_ + 2 <= gather_count) {
    const item& it = at(item_head_ + gathered_);
    const std::size_t skip = gathered_ == 0 ? sent_in_head_ : 0;
    if (skip < it.size) add_entry(bytes_.get() + it.offset + skip, it.size - skip);
    const std::size_t payload_skip = skip > it.size ? skip - it.size : 0;
    if (payload_skip < it.payload.size())
      add_entry(it.payload.data() + payload_skip, it.payload.size() - payload_skip);
    ++gathered_;
  }
  return entry_count_;
}

void send_queue::advance(std::size_t n) noexcept {
  entry_count_ = 0;
  gathered_ = 0;
  taken_ += n;
}

bool send_queue::pop_done(sent_item& out) noexcept {
  if (empty()) {
    CHECK(taken_ == 0);
    return false;
  }
  const item& it = at(item_head_);
  const std::size_t left = it.size + it.payload.size() - sent_in_head_;
  if (taken_ < left) {
    sent_in_head_ += taken_;
    taken_ = 0;
    return false;
  }
  taken_ -= left;
  sent_in_head_ = 0;
  head_ = it.ring_end;
  out = it.what;
  ++item_head_;
  return true;
}

}  // namespace tangelo
