#include "rdma/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace tangelo {

namespace {

std::size_t class_of(std::size_t size) noexcept {
  for (std::size_t i = 0; i < buffer_pool::class_size.size(); ++i)
    if (size <= buffer_pool::class_size[i]) return i;
  CHECK(size <= buffer_pool::class_size.back());
  return 0;
}

std::byte* map_pages(std::size_t size) noexcept {
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  return static_cast<std::byte*>(p);
}

}  // namespace

buffer_pool::buffer_pool(std::size_t large_count_max, provider* fabric) noexcept
    : fabric_(fabric) {
  classes_[0].used_max = std::numeric_limits<std::size_t>::max();
  classes_[1].used_max = large_count_max * 4;
  classes_[2].used_max = large_count_max;
}

buffer_pool::~buffer_pool() {
  for (std::size_t i = 0; i < classes_.size(); ++i)
    for (std::byte* p : classes_[i].free) unmap(p, class_size[i]);
}

void buffer_pool::unmap(std::byte* memory, std::size_t size) noexcept {
  if (fabric_ != nullptr) fabric_->forget_memory({memory, size});
  (void)::munmap(memory, size);
}

mutable_byte_span buffer_pool::acquire(std::size_t size, bool force) {
  const std::size_t i = class_of(size);
  size_class& c = classes_[i];
  if (c.used >= c.used_max && !force) return {};
  ++c.used;
  if (c.free.empty()) {
    const mutable_byte_span fresh = {map_pages(class_size[i]), class_size[i]};
    if (fabric_ != nullptr) fabric_->register_memory(fresh, memory_use::local);
    return fresh;
  }
  std::byte* p = c.free.back();
  c.free.pop_back();
  c.free_least = std::min(c.free_least, c.free.size());
  return {p, class_size[i]};
}

void buffer_pool::release(mutable_byte_span buffer) noexcept {
  size_class& c = classes_[class_of(buffer.size())];
  CHECK(c.used != 0);
  --c.used;
  c.free.push_back(buffer.data());
}

bool buffer_pool::trim() noexcept {
  bool kept = false;
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    size_class& c = classes_[i];
    for (; c.free_least != 0; --c.free_least) {
      unmap(c.free.back(), class_size[i]);
      c.free.pop_back();
    }
    c.free_least = c.free.size();
    kept = kept || !c.free.empty() || c.used != 0;
  }
  return kept;
}

std::size_t buffer_pool::kept_bytes() const noexcept {
  std::size_t n = 0;
  for (std::size_t i = 0; i < classes_.size(); ++i)
    n += (classes_[i].free.size() + classes_[i].used) * class_size[i];
  return n;
}

std::size_t buffer_pool::used_count() const noexcept {
  std::size_t n = 0;
  for (const size_class& c : classes_) n += c.used;
  return n;
}

}  // namespace tangelo
