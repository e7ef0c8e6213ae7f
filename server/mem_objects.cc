#include "server/mem_objects.h"

#include <algorithm>

namespace tangelo {

void mem_objects::later(std::function<void()> f) {
  (void)time_.call_after(delay_ns_, std::move(f));
}

const std::vector<std::byte>* mem_objects::bytes_of_object(std::uint64_t inode) const {
  const auto at = now_.find(inode);
  return at == now_.end() ? nullptr : &at->second;
}

std::uint64_t mem_objects::take(std::uint64_t inode, std::uint64_t offset,
                                mutable_byte_span into) const {
  const object* o = bytes_of_object(inode);
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

error_code mem_objects::write_now(std::uint64_t inode, std::uint64_t offset, byte_span from) {
  object& o = now_[inode];
  if (o.size() < offset + from.size()) o.resize(offset + from.size());
  copy_bytes(mutable_byte_span(o).subspan(offset), from);
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
  const std::uint64_t blocks = (now_[inode].size() + 4095) / 4096 * 8;
  later([this, inode, durably, blocks, f = std::move(f)] {
    if (durably) flush(inode);
    f(blocks);
  });
}

error_code mem_objects::truncate_now(std::uint64_t inode, std::uint64_t size) {
  const auto at = now_.find(inode);
  if (at != now_.end() && at->second.size() > size) at->second.resize(size);
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

void mem_objects::power_cut(bool keep_unflushed) {
  if (keep_unflushed)
    durable_ = now_;
  else
    now_ = durable_;
}

}  // namespace tangelo
