#include "server/mem_objects.h"

#include <algorithm>

namespace tangelo {

namespace {
constexpr std::uint64_t page_size = 4096;
constexpr std::uint64_t blocks_per_page = 8;
}  // namespace

void mem_objects::later(std::function<void()> f) {
  (void)time_.call_after(delay_ns_, std::move(f));
}

const std::vector<std::byte>* mem_objects::bytes_of_object(std::uint64_t inode) const {
  const auto at = now_.find(inode);
  return at == now_.end() ? nullptr : &at->second.bytes;
}

std::uint64_t mem_objects::blocks_of(std::uint64_t inode) const {
  const auto at = now_.find(inode);
  return at == now_.end() ? 0 : at->second.pages.size() * blocks_per_page;
}

std::uint64_t mem_objects::take(std::uint64_t inode, std::uint64_t offset,
                                mutable_byte_span into) const {
  const std::vector<std::byte>* o = bytes_of_object(inode);
  if (o == nullptr || offset >= o->size()) return 0;
  return copy_bytes(into, byte_span(*o).subspan(offset));
}

bool mem_objects::read_now(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into) {
  return cached_ && take(inode, offset, into) == into.size();
}

void mem_objects::read(std::uint64_t inode, std::uint64_t offset, mutable_byte_span into,
                       count_done f) {
  const std::uint64_t n = take(inode, offset, into);
  later([n, f = std::move(f)] { f(n); });
}

op_result<std::uint64_t> mem_objects::load_now(std::uint64_t inode, std::uint64_t offset,
                                               mutable_byte_span into) {
  return take(inode, offset, into);
}

error_code mem_objects::write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) {
  object& o = now_[inode];
  if (o.bytes.size() < offset + from.size()) o.bytes.resize(offset + from.size());
  copy_bytes(mutable_byte_span(o.bytes).subspan(offset), from);
  for (std::uint64_t p = offset / page_size; p * page_size < offset + from.size(); ++p)
    o.pages.insert(p);
  return error_code::ok;
}

void mem_objects::write(std::uint64_t inode, std::uint64_t offset, byte_span from, bool durably,
                        count_done f) {
  if (write_error_count_ > 0) {
    --write_error_count_;
    (void)write_now(inode, offset, from.first(from.size() / 2));  // cannot fail
    later([e = write_error_, f = std::move(f)] { f(failure{e}); });
    return;
  }
  (void)write_now(inode, offset, from);  // cannot fail
  const std::uint64_t blocks = blocks_of(inode);
  later([this, inode, durably, blocks, f = std::move(f)] {
    if (durably) flush(inode);
    f(blocks);
  });
}

error_code mem_objects::truncate_now(std::uint64_t inode, std::uint64_t size) {
  const auto at = now_.find(inode);
  if (at == now_.end() || at->second.bytes.size() <= size) return error_code::ok;
  return change_space_now(space_change::trim, inode, size, 0);
}

error_code mem_objects::change_space_now(space_change what, std::uint64_t inode,
                                         std::uint64_t offset, std::uint64_t size) {
  if (what != space_change::allocate && !now_.contains(inode)) return error_code::ok;
  object& o = now_[inode];
  const std::uint64_t end = offset + size;
  if (what == space_change::allocate) {
    std::uint64_t missing = 0;
    for (std::uint64_t p = offset / page_size; p * page_size < end; ++p)
      if (!o.pages.contains(p) && ++missing > space_.blocks_available) return error_code::no_space;
    for (std::uint64_t p = offset / page_size; p * page_size < end; ++p) o.pages.insert(p);
  } else if (what == space_change::trim) {
    if (o.bytes.size() > offset) o.bytes.resize(offset);
    o.pages.erase(o.pages.lower_bound((offset + page_size - 1) / page_size), o.pages.end());
  } else {
    for (std::uint64_t at = offset; at < end && at < o.bytes.size(); ++at)
      o.bytes[at] = std::byte{0};
    const std::uint64_t first = (offset + page_size - 1) / page_size;
    if (what == space_change::punch && first < end / page_size)
      o.pages.erase(o.pages.lower_bound(first), o.pages.lower_bound(end / page_size));
  }
  return error_code::ok;
}

error_code mem_objects::remove_now(std::uint64_t inode) {
  now_.erase(inode);
  return error_code::ok;
}

error_code mem_objects::sync_now() {
  if (flush_) durable_ = now_;
  return error_code::ok;
}

void mem_objects::truncate(std::uint64_t inode, std::uint64_t size, done f) {
  (void)truncate_now(inode, size);  // cannot fail
  later([f = std::move(f)] { f(error_code::ok); });
}

void mem_objects::change_space(space_change what, std::uint64_t inode, std::uint64_t offset,
                               std::uint64_t size, count_done f) {
  const error_code e = change_space_now(what, inode, offset, size);
  later([e, blocks = blocks_of(inode), f = std::move(f)] {
    if (e == error_code::ok)
      f(blocks);
    else
      f(failure{e});
  });
}

std::uint64_t mem_objects::blocks_in(std::uint64_t inode, std::uint64_t offset,
                                     std::uint64_t size) const {
  const std::uint64_t first = (offset + page_size - 1) / page_size;
  const std::uint64_t last = size > INT64_MAX - offset ? INT64_MAX : (offset + size) / page_size;
  std::uint64_t blocks = 0;
  if (const auto at = now_.find(inode); at != now_.end())
    for (const std::uint64_t p : at->second.pages)
      if (p >= first && p < last) blocks += blocks_per_page;
  return blocks;
}

void mem_objects::blocks_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                count_done f) {
  later([blocks = blocks_in(inode, offset, size), f = std::move(f)] { f(blocks); });
}

void mem_objects::blocks_outside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                 count_done f) {
  later([blocks = blocks_of(inode) - blocks_in(inode, offset, size), f = std::move(f)] {
    f(blocks);
  });
}

void mem_objects::writable_inside(std::uint64_t inode, std::uint64_t offset, std::uint64_t size,
                                  count_done f) {
  std::uint64_t bytes = 0;
  if (const auto at = now_.find(inode); at != now_.end())
    for (const std::uint64_t p : at->second.pages) {
      const std::uint64_t from = std::max(offset, p * page_size);
      const std::uint64_t end = std::min(offset + size, (p + 1) * page_size);
      if (from < end) bytes += end - from;
    }
  later([bytes, f = std::move(f)] { f(bytes); });
}

void mem_objects::seek(std::uint64_t inode, std::uint64_t offset, bool hole, count_done f) {
  op_result<std::uint64_t> found = failure{error_code::no_device_address};
  const auto at = now_.find(inode);
  const std::uint64_t end = at == now_.end() ? 0 : at->second.bytes.size();
  std::uint64_t place = offset;
  while (place < end && at->second.pages.contains(place / page_size) == hole)
    place = (place / page_size + 1) * page_size;
  if (hole)
    found = std::max(offset, std::min(place, end));
  else if (place < end)
    found = place;
  later([found, f = std::move(f)] { f(found); });
}

void mem_objects::copy(std::uint64_t from, std::uint64_t from_offset, std::uint64_t to,
                       std::uint64_t to_offset, std::uint64_t size, count_done f) {
  std::vector<std::byte> bytes;
  if (const std::vector<std::byte>* source = bytes_of_object(from);
      source != nullptr && from_offset < source->size())
    bytes.resize(std::min<std::uint64_t>(size, source->size() - from_offset));
  const std::uint64_t n = take(from, from_offset, bytes);
  if (n != 0) (void)write_now(to, to_offset, bytes);  // cannot fail
  later([n, f = std::move(f)] { f(n); });
}

void mem_objects::remove(std::uint64_t inode, done f) {
  (void)remove_now(inode);  // cannot fail
  later([f = std::move(f)] { f(error_code::ok); });
}

void mem_objects::sync(std::uint64_t inode, done f) {
  later([this, inode, f = std::move(f)] {
    flush(inode);
    f(error_code::ok);
  });
}

void mem_objects::flush(std::uint64_t inode) {
  if (!flush_) return;
  const auto at = now_.find(inode);
  if (at == now_.end())
    durable_.erase(inode);
  else
    durable_[inode] = at->second;
  if (log_ != nullptr) log_->push_back({flush_event::kind::object, inode});
}

bool mem_objects::flip(std::uint64_t inode, std::uint64_t offset) {
  const auto at = now_.find(inode);
  if (at == now_.end() || offset >= at->second.bytes.size()) return false;
  at->second.bytes[offset] ^= std::byte{1};
  return true;
}

void mem_objects::power_cut(bool keep_unflushed) {
  if (keep_unflushed)
    durable_ = now_;
  else
    now_ = durable_;
}

}  // namespace tangelo
