// buffer_pool: page-aligned memory for the payloads of calls, in three sizes.
//
// Owned by export_host; loop thread only. Buffers are made when first needed, kept while there is
// traffic, and given back to the system by trim() when they were not used since the last one, so
// that an idle server is small. The small size is not limited here (credits bound it); of the
// others there are at most `large_count_max` and four times as many medium ones.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "rdma/provider.h"

namespace tangelo {

class buffer_pool {
 public:
  static constexpr std::array<std::size_t, 3> class_size = {4096, 64 * 1024, 1024 * 1024};

  // `fabric` is told of the memory while it exists; nullptr: nobody is.
  explicit buffer_pool(std::size_t large_count_max, provider* fabric = nullptr) noexcept;
  ~buffer_pool();
  buffer_pool(const buffer_pool&) = delete;
  buffer_pool& operator=(const buffer_pool&) = delete;

  // At least `size` bytes; empty when the limit is reached and `force` is not set.
  mutable_byte_span acquire(std::size_t size, bool force);
  void release(mutable_byte_span buffer) noexcept;
  // Gives back what stayed free since the last trim; false when nothing is kept any more.
  bool trim() noexcept;
  std::size_t kept_bytes() const noexcept;
  std::size_t used_count() const noexcept;

 private:
  struct size_class {
    std::vector<std::byte*> free;
    std::size_t used = 0;
    std::size_t used_max = 0;
    std::size_t free_least = 0;  // since the last trim
  };
  void unmap(std::byte* memory, std::size_t size) noexcept;

  provider* fabric_;
  std::array<size_class, 3> classes_;
};

}  // namespace tangelo
