// send_queue: the messages and payloads one connection has still to hand to the kernel, and the
// scatter list of the next sendmsg.
//
// Messages are copied into a ring of fixed size; payloads are only referred to and go out from
// where they lie. Loop thread only; does no I/O itself.
//
// Invariants:
//   1. Bytes leave in the order pushed; an item is reported as done once, when all of it was taken.
//   2. Nothing that was gathered moves before advance().
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"

namespace tangelo {

enum class sent_kind : std::uint8_t { message, pulled, written };

struct sent_item {
  sent_kind kind{};
  std::uint64_t id = 0;  // written: the cookie of its on_done
};

class send_queue {
 public:
  static constexpr std::size_t byte_size = 256 * 1024;
  static constexpr std::size_t item_count = 2048;
  static constexpr std::size_t gather_count = 128;

  // Room for `items` items with `bytes` bytes of messages altogether, each at most 8 KiB.
  bool has_room(std::size_t bytes, std::size_t items) const noexcept;
  // Only after has_room().
  void push(byte_span message, byte_span payload, sent_item what);
  bool empty() const noexcept { return item_head_ == item_tail_; }

  // Adds to the scatter list what was pushed since; says how many entries it has.
  std::size_t gather() noexcept;
  iovec* entries() noexcept { return entries_.data(); }
  // The kernel took `n` bytes: forgets the scatter list and the items that are done. Call
  // pop_done() until it declines.
  void advance(std::size_t n) noexcept;
  bool pop_done(sent_item& out) noexcept;

 private:
  struct item {
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    std::uint32_t ring_end = 0;  // the ring's tail after it
    byte_span payload;
    sent_item what;
  };
  item& at(std::size_t i) noexcept { return items_[i % item_count]; }
  void add_entry(const std::byte* data, std::size_t size) noexcept;

  std::unique_ptr<std::byte[]> bytes_;
  std::vector<item> items_;
  std::size_t item_head_ = 0;  // counts up; index modulo item_count
  std::size_t item_tail_ = 0;
  std::size_t head_ = 0;  // of the ring, in [0, byte_size)
  std::size_t tail_ = 0;
  std::size_t sent_in_head_ = 0;  // bytes of the first item already taken
  std::size_t taken_ = 0;         // bytes taken and not yet attributed by pop_done()

  std::array<iovec, gather_count> entries_;
  std::size_t entry_count_ = 0;
  std::size_t gathered_ = 0;  // items in the list, counted from item_head_
};

}  // namespace tangelo
